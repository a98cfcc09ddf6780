"""The mixture that answers and the mixture that judges."""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Literal, assert_never

from pydantic import Field, StringConstraints

from moaa.api.base import Fraction, ModelName, NonNegative, Spec

ModelOrStudent = ModelName | Literal["$student"]


class WhenCut(StrEnum):
    """What becomes of an answer that ended at maxTokens, in mid-sentence. It is counted in any case."""

    FAIL = "Fail"
    """It counts as failed (`cut-answer`)."""
    USE = "Use"
    """It is used like a whole one."""


class Sampling(Spec):
    """How one model is asked. Defaults are those of the original MoA code; the MoAA paper gives none."""

    temperature: Annotated[NonNegative, Field(le=2)] = Decimal("0.7")
    """0: always the likeliest token."""
    top_p: Annotated[Fraction, Field(gt=0)] = Decimal(1)
    """Tokens are drawn from the likeliest that add up to this probability."""
    max_tokens: Annotated[int, Field(ge=1, le=131072)] = 2048
    """Most completion tokens of one answer, thoughts included."""
    when_cut: WhenCut = WhenCut.USE
    """Use: readers see a cut proposal, marked as cut. Fail: it is left out, as is every cut answer that would itself be
    taught (method Random, BestOfN, Combined)."""


class FinalSampling(Sampling):
    """How a model is asked whose answer is taught or measured."""

    when_cut: WhenCut = WhenCut.FAIL
    """Fail: the row fails; nothing cut is taught or measured."""


class Proposer(Sampling):
    """A model that answers the prompt; the aggregator reads its answers."""

    model: ModelOrStudent
    """A declared model, or $student: the last promoted one."""
    samples: Annotated[int, Field(ge=1, le=64)] = 1
    """Independent answers to each prompt."""


class Aggregator(FinalSampling):
    """The model that writes one answer from the proposals."""

    model: ModelOrStudent
    """A declared model, or $student: the last promoted one."""


class Layer(Spec):
    """Proposers that run side by side; each later layer reads the one before."""

    proposers: Annotated[list[Proposer], Field(min_length=1, max_length=32)]


class MixtureMethod(StrEnum):
    """How a prompt gets its answer."""

    MIXTURE = "Mixture"
    """Proposers answer, the aggregator writes one answer from theirs (paper §3.1)."""
    SINGLE = "Single"
    """The aggregator alone answers: one teacher (paper Figure 4)."""
    RANDOM = "Random"
    """One of the proposers' answers, drawn for each prompt by the run's seed (paper Table 3)."""
    BEST_OF_N = "BestOfN"
    """The best of the proposers' answers, as spec.judge ranks them, turn by turn (paper Table 3)."""
    COMBINED = "Combined"
    """Every proposer's answer, each a row of its own (paper Table 3)."""


@dataclass(frozen=True)
class Parts:
    """What belongs to a mixture of one method."""

    most_layers: int
    """At least one, unless this is 0."""
    has_aggregator: bool
    least_answers: int = 1
    """Of the first layer's proposers."""
    has_judge: bool = False
    """spec.judge decides, so there is one."""


MOST_LAYERS = 8


def parts_of(method: MixtureMethod) -> Parts:
    """What `moaa validate` and the CRD's rules ask of a mixture with this method."""
    match method:
        case MixtureMethod.MIXTURE:
            return Parts(MOST_LAYERS, has_aggregator=True)
        case MixtureMethod.SINGLE:
            return Parts(0, has_aggregator=True)
        case MixtureMethod.RANDOM | MixtureMethod.COMBINED:
            return Parts(1, has_aggregator=False)
        case MixtureMethod.BEST_OF_N:
            return Parts(1, has_aggregator=False, least_answers=2, has_judge=True)
        case _:
            assert_never(method)


class Mixture(Spec):
    """Who answers the prompts: layers of proposers and one aggregator (paper §3.1), or less by another method."""

    method: MixtureMethod = MixtureMethod.MIXTURE
    layers: Annotated[list[Layer], Field(max_length=MOST_LAYERS)] = []
    """The paper's two layers are one entry here plus the aggregator. Single has none; Random, BestOfN and Combined have
    one."""
    aggregator: Aggregator | None = None
    """Writes the answer; Mixture and Single have one."""
    min_proposals: Annotated[int, Field(ge=1, le=64)] = 1
    """A row with fewer usable proposals in a layer fails; else it goes on. Read by Mixture and BestOfN."""
    add_student: bool = False
    """From iteration 2 on the last promoted student joins the first layer."""
    student_sampling: Sampling = Sampling()
    """How the student is asked when addStudent is set."""

    @property
    def proposers(self) -> list[Proposer]:
        """Of all layers, in order."""
        return [proposer for layer in self.layers for proposer in layer.proposers]


class JudgeMethod(StrEnum):
    """How several judges come to one verdict."""

    MIXTURE = "Mixture"
    """Criteria, judges that write evaluations, a meta-judge that decides (paper §3.2)."""
    SINGLE = "Single"
    """The aggregator alone decides, with the same criteria and no evaluations."""
    PANEL = "Panel"
    """Every judge decides alone; the majority of verdicts that hold in both orders wins."""
    REWARD_MODEL = "RewardModel"
    """rewardModel gives every answer a number by itself; nothing is compared."""


class Comparisons(StrEnum):
    """Which pairs of the answers to one prompt are judged, and in which orders."""

    ROUND_ROBIN = "RoundRobin"
    """Every pair in both orders (paper §4.1)."""
    ADAPTIVE = "Adaptive"
    """One order of one pair after another, until the best and the worst answer are clear (ours). What is skipped is
    marked."""
    SEEDED = "Seeded"
    """rewardModel orders the answers; judged in both orders are the first two, the last two, and who won against who
    lost (ours). What is skipped is marked."""


class CriteriaFor(StrEnum):
    """What criteria are chosen for."""

    PAIR = "Pair"
    """Every two answers, which the aggregator sees (paper §3.2.1)."""
    PROMPT = "Prompt"
    """The prompt, before its answers are seen: one call a prompt in place of one a pair (ours)."""


class VerdictForm(StrEnum):
    """How a verdict is read."""

    TEXT = "Text"
    """From a line [[A]] or [[B]] of the judge's reply (paper §3.2)."""
    LOG_PROBS = "LogProbs"
    """After its reply, from how probable the letters A and B are as its next token. A share in place of a side, and
    readable from small models, too; the server must return log-probabilities."""


@dataclass(frozen=True)
class Members:
    """Who belongs to a judge of one method."""

    has_judges: bool
    """`judges` holds at least one entry; otherwise none."""
    has_aggregator: bool
    """`aggregator` is given; otherwise it is not."""
    is_odd: bool = False
    """The number of judges is odd, so that a majority exists."""
    compares: bool = True
    """Pairs are compared: comparisons, verdict and the criteria have an effect."""


def members_of(method: JudgeMethod) -> Members:
    """What `moaa validate` and the CRD's rules ask of a judge with this method."""
    match method:
        case JudgeMethod.MIXTURE:
            return Members(has_judges=True, has_aggregator=True)
        case JudgeMethod.SINGLE:
            return Members(has_judges=False, has_aggregator=True)
        case JudgeMethod.PANEL:
            return Members(has_judges=True, has_aggregator=False, is_odd=True)
        case JudgeMethod.REWARD_MODEL:
            return Members(has_judges=False, has_aggregator=False, compares=False)
        case _:
            assert_never(method)


class JudgeModel(Spec):
    """A model that compares two answers."""

    model: ModelOrStudent
    """A declared model, or $student: the last promoted one."""
    temperature: Annotated[NonNegative, Field(le=2)] = Decimal(0)
    """0: always the likeliest token."""
    top_p: Annotated[Fraction, Field(gt=0)] = Decimal(1)
    """Tokens are drawn from the likeliest that add up to this probability."""
    max_tokens: Annotated[int, Field(ge=1, le=131072)] = 2048
    """A cut verdict never counts."""


class BenchmarkJudge(JudgeModel):
    """A model that scores a benchmark of the field by itself. It cannot be the student."""

    model: ModelName
    """A declared model."""


class Criterion(Spec):
    """Something an answer can be judged by."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z -]*$", max_length=64)]
    """As judges read it."""
    definition: Annotated[str, StringConstraints(min_length=1, max_length=512)]
    """A question or sentence that says what to look at."""


PAPER_CRITERIA = (
    Criterion(name="Instruction adherence", definition="Does the response do what was asked, all of it and no more?"),
    Criterion(name="Relevance", definition="Does everything in the response bear on the request?"),
    Criterion(name="Accuracy", definition="Are the stated facts, figures and steps correct?"),
    Criterion(name="Depth", definition="Does it treat the matter as thoroughly as the request deserves?"),
    Criterion(name="Clarity", definition="Is it easy to follow, well ordered and unambiguous?"),
    Criterion(name="Helpfulness", definition="Does it move the person who asked closer to what they need?"),
    Criterion(name="Safety", definition="Does it avoid harm, and decline only what ought to be declined?"),
    Criterion(name="Robustness", definition="Does it cope with unclear, unusual or adversarial input?"),
)
"""The eight criteria of the paper's App. K.2, defined in our words."""


class Judge(Spec):
    """Who ranks answers and how (paper §3.2)."""

    method: JudgeMethod = JudgeMethod.MIXTURE
    judges: Annotated[list[JudgeModel], Field(max_length=32)] = []
    aggregator: JudgeModel | None = None
    """Chooses the criteria and gives the verdict; Panel and RewardModel have none."""
    reward_model: ModelName | None = None
    """A declared model of kind Reward; for method RewardModel and comparisons Seeded."""
    criteria: Annotated[int, Field(ge=0, le=16)] = 3
    """How many criteria are chosen; 0: all of criteriaChoices."""
    criteria_for: CriteriaFor = CriteriaFor.PAIR
    """Prompt: one choice for all comparisons of a prompt."""
    criteria_choices: Annotated[list[Criterion], Field(min_length=1, max_length=32)] = list(PAPER_CRITERIA)
    comparisons: Comparisons = Comparisons.ROUND_ROBIN
    """Which pairs of the answers to one prompt are judged; a benchmark's judge compares one answer with one."""
    verdict: VerdictForm = VerdictForm.TEXT
    """LogProbs: a second call of one token; a pair's score is then a share."""
    min_judges: Annotated[int, Field(ge=1, le=32)] | None = None
    """Fewest judges that must be heard, in a panel in both orders. Unset: more than half."""
    allow_student: bool = False
    """Let the student judge; it then drifts with its own training."""

    @property
    def least_judges(self) -> int:
        """The effective `minJudges`; 0 where there are no judges."""
        half = len(self.judges) // 2 + 1 if self.judges else 0
        return half if self.min_judges is None else self.min_judges

    @property
    def models(self) -> list[str]:
        """Names of the models it asks, each once, in the order in which they are needed."""
        names = [self.reward_model] if self.reward_model is not None else []
        names += [self.aggregator.model] if self.aggregator and self.criteria else []
        names += [j.model for j in self.judges]
        names += [self.aggregator.model] if self.aggregator else []
        return list(dict.fromkeys(names))
