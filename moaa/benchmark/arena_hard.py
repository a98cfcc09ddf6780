"""The ArenaHard benchmark: the win rate against fixed answers, by two games of five labels.

In the first game the baseline's answer is A, in the second it is B. Source: Li et al. 2024 (arXiv 2406.11939);
`gen_judgment.py` of arena-hard-auto at 3071ef9 (v0.1) and 196f6b8 (v2.0). Answers are judged whole: one that does not
fit into the judge's window costs its game. A reply that was cut has no label (our choice; the authors read it).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import assert_never

from pydantic import BaseModel

from moaa.api.evaluation import ArenaHard
from moaa.api.mixture import Judge, JudgeModel
from moaa.api.prompts import render
from moaa.asking.asker import Asker
from moaa.asking.caller import Reply
from moaa.asking.cut import shown
from moaa.asking.gather import gather_all, gather_calls
from moaa.asking.load import PROMPT_TOKENS, Load, written
from moaa.asking.reasons import Reason
from moaa.benchmark.arena_labels import Label, Version, games_of, is_labelled, label_of, win_rate
from moaa.benchmark.measure import NoVerdict, Scored, decider, reasons
from moaa.benchmark.style import Style, style_of
from moaa.conversation import Conversation, Message
from moaa.errors import CallError
from moaa.judge.ask import RETRY_KEY
from moaa.judge.prompts import Ordered, exchange
from moaa.judge.reading import Verdict
from moaa.judge.trail import UNREADABLE, Judgement, Role
from moaa.rows import PromptRow

GO_ON = "Please finish your judgement now. End with one of the five verdict labels and write nothing after it."
"""Asks a judge of v0.1 to go on that stopped without a label."""
INSTRUCTION_TOKENS = 420
JUDGEMENT_TOKENS = 700
"""A judge writes an answer of its own before it compares."""


class ArenaFacts(BaseModel):
    """What the question file says of a question, as JSON in `facts`."""

    category: str


class ArenaDetail(BaseModel):
    """What is kept of a question's two games, as JSON in `detail`."""

    category: str
    labels: tuple[Label | None, Label | None]
    """Of the game in which A is the baseline, and of the one in which A is the model; None: there was none."""
    style: Style
    """Of the model's answer, its length in characters."""
    baseline_style: Style


@dataclass(frozen=True)
class ArenaHardMeasure:
    benchmark: ArenaHard
    judge: Judge
    metric: str = "win rate"
    needs_gold: bool = False
    needs_given: bool = False
    prompts: tuple[str, ...] = ("arena_hard",)
    yardstick: str | None = None
    """None: the answers of `answers`, which stand in the rows."""

    def loads(self, answers: int) -> Iterator[Load]:
        model = decider(self.judge)
        read = PROMPT_TOKENS + 2 * written(self.benchmark.sampling.max_tokens) + INSTRUCTION_TOKENS
        yield Load(model.model, 2 * answers, read, written(model.max_tokens, JUDGEMENT_TOKENS))

    async def score(self, row: PromptRow, answered: Conversation, asker: Asker) -> Scored:
        """The weighted mean of the question's games. Calls are named `game1` and `game2`.

        Raises:
            CallError, NoVerdict, ModelAbsent: as `Measure.score`.
        """
        question, mine = exchange(answered)
        baseline, facts = row["answer"], row.get("facts")
        assert baseline is not None, f"row {row['id']}: stage-data refuses questions without the baseline's answer"
        assert facts is not None, f"row {row['id']}: stage-data gives every question its category"
        said = await self.play(question, mine, baseline, asker)
        first, second = (Label(one.label) if one.label else None for one in said)
        counted, _ = games_of({row["id"]: (first, second)}, self.version)
        if not counted:
            raise NoVerdict(f"row {row['id']}: {reasons(said)}", said=said)
        detail = ArenaDetail(
            category=ArenaFacts.model_validate_json(facts).category,
            labels=(first, second),
            style=style_of(mine, length=len(mine)),
            baseline_style=style_of(baseline, length=len(baseline)),
        )
        return Scored(win_rate(counted), said, baseline_length=len(baseline), detail=detail.model_dump(mode="json"))

    @property
    def version(self) -> Version:
        return Version(self.benchmark.version)

    async def play(self, question: str, answer: str, baseline: str, asker: Asker) -> tuple[Judgement, ...]:
        """Both games; in terms of the judgements' orders, a is `answer`.

        Raises:
            CallError: a failure that may pass.
            ModelAbsent: both raised after every call that can be made now was made.
        """
        games = (
            ("game1", Ordered(question, baseline, answer, "ba")),
            ("game2", Ordered(question, answer, baseline, "ab")),
        )
        return tuple(await gather_all(self._game(pair, asker.at(name)) for name, pair in games))

    async def _game(self, pair: Ordered, asker: Asker) -> Judgement:
        """One game. Raises CallError: a failure that may pass; ModelAbsent."""
        model = decider(self.judge)
        messages = game_messages(pair, asker.prompts, system=self.benchmark.judge_system)
        [reply] = await gather_calls([asker.ask(model.model, messages, model)])
        if isinstance(reply, CallError):
            return Judgement(pair.order, Role.VERDICT, model.model, "", failure=str(reply.reason))
        text = reply.text
        if self.version is Version.V0_1 and (reply.is_cut or not is_labelled(text)):
            again = await _go_on(messages, reply, model, asker)
            if isinstance(again, CallError):
                return Judgement(pair.order, Role.VERDICT, model.model, text, failure=str(again.reason))
            reply, text = again, f"{text}\n{again.text}"
        if reply.is_cut:
            return Judgement(pair.order, Role.VERDICT, model.model, text, failure=str(Reason.CUT_ANSWER))
        label = label_of(text, self.version)
        return Judgement(
            pair.order,
            Role.VERDICT,
            model.model,
            text,
            _side(label),
            failure="" if label else UNREADABLE,
            longer=pair.longer,
            label=label,
        )


def game_messages(pair: Ordered, prompts: Mapping[str, str], *, system: str | None) -> list[Message]:
    """What the judge is asked in one game; `system` is its system message, None: it has none."""
    values = {"question": pair.question, "answer_a": pair.first, "answer_b": pair.second}
    asked = Message(role="user", content=render(prompts["arena_hard"], values, prompts))
    return [Message(role="system", content=system), asked] if system else [asked]


async def _go_on(messages: Conversation, reply: Reply, model: JudgeModel, asker: Asker) -> Reply | CallError:
    """The judge's second reply, after its first, which is shortened where it does not fit; or why there is none."""

    def build(texts: Sequence[str]) -> Conversation:
        (text,) = texts
        return [*messages, Message(role="assistant", content=text), Message(role="user", content=GO_ON)]

    [found] = await gather_calls([asker.ask_fitted(model.model, [shown(reply)], build, model, key=RETRY_KEY)])
    return found if isinstance(found, CallError) else found.reply


def _side(label: Label | None) -> Verdict | None:
    """Whom a label prefers; None at a draw."""
    match label:
        case Label.A_MUCH | Label.A_BETTER:
            return "A"
        case Label.B_MUCH | Label.B_BETTER:
            return "B"
        case Label.EQUAL | None:
            return None
        case _:
            assert_never(label)
