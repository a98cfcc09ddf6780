"""The mixture that answers and the mixture that judges."""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Literal, Self, assert_never

from pydantic import Field, StringConstraints, model_validator

from moaa.api.base import STUDENT, Fraction, ModelName, NonNegative, Spec

ModelOrStudent = ModelName | Literal["$student"]


class Sampling(Spec):
    """How one model is asked. Defaults are those of the original MoA code; the MoAA paper gives none."""

    temperature: Annotated[NonNegative, Field(le=2)] = Decimal("0.7")
    top_p: Annotated[Fraction, Field(gt=0)] = Decimal(1)
    max_tokens: Annotated[int, Field(ge=1, le=131072)] = 2048
    """Most completion tokens of one answer."""


class Proposer(Sampling):
    """A model that answers the prompt; the aggregator reads its answers."""

    model: ModelOrStudent
    samples: Annotated[int, Field(ge=1, le=64)] = 1
    """Independent answers to each prompt."""


class Aggregator(Sampling):
    """The model that writes one answer from the proposals."""

    model: ModelOrStudent


class Layer(Spec):
    """Proposers that run side by side; from the second layer on they read the layer before."""

    proposers: Annotated[list[Proposer], Field(min_length=1, max_length=32)]


class Mixture(Spec):
    """A Mixture of Agents: layers of proposers and one aggregator (paper §3.1)."""

    layers: Annotated[list[Layer], Field(min_length=1, max_length=8)]
    """The paper's two layers are one entry here plus the aggregator."""
    aggregator: Aggregator
    min_proposals: Annotated[int, Field(ge=1, le=64)] = 1
    """A row with fewer usable proposals in a layer fails; above it, it goes on with those it has."""
    add_student: bool = False
    """From the second iteration on the last promoted student joins the first layer's proposers."""
    student_sampling: Sampling = Sampling()
    """How the student is asked when addStudent is set."""

    @model_validator(mode="after")
    def _enough(self) -> Self:
        for i, layer in enumerate(self.layers):
            total = sum(p.samples for p in layer.proposers)
            if self.min_proposals > total:
                raise ValueError(
                    f"minProposals {self.min_proposals} is more than layers[{i}] can give ({total}); lower it or add "
                    "proposers or samples"
                )
        return self


class JudgeMethod(StrEnum):
    MIXTURE = "Mixture"
    """Criteria, judges that write evaluations, a meta-judge that decides (paper §3.2)."""
    SINGLE = "Single"
    """The aggregator alone decides, with the same criteria and no evaluations."""
    PANEL = "Panel"
    """Every judge decides alone; the majority of verdicts that hold in both orders wins."""


@dataclass(frozen=True)
class Members:
    """Who belongs to a judge of one method."""

    has_judges: bool
    """`judges` holds at least one entry; otherwise none."""
    has_aggregator: bool
    """`aggregator` is given; otherwise it is not."""
    is_odd: bool = False
    """The number of judges is odd, so that a majority exists."""


def members_of(method: JudgeMethod) -> Members:
    """What `moaa validate` and the CRD's rules ask of a judge with this method."""
    match method:
        case JudgeMethod.MIXTURE:
            return Members(has_judges=True, has_aggregator=True)
        case JudgeMethod.SINGLE:
            return Members(has_judges=False, has_aggregator=True)
        case JudgeMethod.PANEL:
            return Members(has_judges=True, has_aggregator=False, is_odd=True)
        case _:
            assert_never(method)


class JudgeModel(Spec):
    """A model that compares two answers."""

    model: ModelOrStudent
    temperature: Annotated[NonNegative, Field(le=2)] = Decimal(0)
    top_p: Annotated[Fraction, Field(gt=0)] = Decimal(1)
    max_tokens: Annotated[int, Field(ge=1, le=131072)] = 2048


class Criterion(Spec):
    """Something an answer can be judged by."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z -]*$", max_length=64)]
    definition: Annotated[str, StringConstraints(min_length=1, max_length=512)]


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
    """Who ranks answers and how (paper §3.2; where it is silent, docs/architecture.md says what we chose)."""

    method: JudgeMethod = JudgeMethod.MIXTURE
    judges: Annotated[list[JudgeModel], Field(max_length=32)] = []
    aggregator: JudgeModel | None = None
    """Chooses the criteria and gives the verdict; Panel has none and chooses no criteria."""
    criteria: Annotated[int, Field(ge=0, le=16)] = 3
    """How many criteria are chosen for each pair; 0 gives the judges all of criteriaChoices."""
    criteria_choices: Annotated[list[Criterion], Field(min_length=1, max_length=32)] = list(PAPER_CRITERIA)
    comparisons: Literal["RoundRobin"] = "RoundRobin"
    """RoundRobin compares every pair of answers (paper §4.1)."""
    min_judges: Annotated[int, Field(ge=1, le=32)] | None = None
    """Fewest judges that have to be heard: evaluations a meta-judge reads, or votes of a panel with both orders. With
    fewer a comparison has no result. Unset: more than half of judges."""
    allow_student: bool = False
    """A student that judges drifts with its own training; it must be asked for."""

    @model_validator(mode="after")
    def _shape(self) -> Self:
        members, named = members_of(self.method), f"method {self.method}"
        if members.has_judges and not self.judges:
            raise ValueError(f"{named} needs at least one entry in judges")
        if members.has_aggregator and self.aggregator is None:
            raise ValueError(f"{named} needs an aggregator, the model that gives the verdict")
        if self.judges and not members.has_judges:
            raise ValueError(f"{named} asks the aggregator only; remove judges")
        if self.aggregator is not None and not members.has_aggregator:
            raise ValueError(f"{named} has no aggregator; remove it")
        if members.is_odd and len(self.judges) % 2 == 0:
            raise ValueError(f"{named} needs an odd number of judges so that a majority exists, not {len(self.judges)}")
        if self.min_judges is not None and self.min_judges > len(self.judges):
            raise ValueError(
                f"minJudges {self.min_judges} is more than there are judges, {len(self.judges)}; lower it or add one"
            )
        if self.criteria > len(self.criteria_choices):
            raise ValueError(f"criteria {self.criteria} is more than the {len(self.criteria_choices)} criteriaChoices")
        names = [c.name.lower() for c in self.criteria_choices]
        if len(set(names)) != len(names):
            raise ValueError("criteriaChoices: two have the same name")
        if not self.allow_student and STUDENT in self.models:
            raise ValueError("$student would judge its own training; name another model or set allowStudent: true")
        return self

    @property
    def least_judges(self) -> int:
        """The effective `minJudges`; 0 where there are no judges."""
        half = len(self.judges) // 2 + 1 if self.judges else 0
        return half if self.min_judges is None else self.min_judges

    @property
    def models(self) -> list[str]:
        """Names of the models it asks, each once, in the order in which they are needed."""
        names = [self.aggregator.model] if self.aggregator and self.criteria else []
        names += [j.model for j in self.judges]
        names += [self.aggregator.model] if self.aggregator else []
        return list(dict.fromkeys(names))
