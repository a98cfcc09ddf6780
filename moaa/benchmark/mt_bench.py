"""The MtBench benchmark: every reply of a conversation is graded from 1 to 10.

Source: Zheng et al. 2023 (arXiv 2306.05685); `gen_judgment.py` of FastChat at 0e6d3e4b, mode single. A turn is graded
by one call, which shows the conversation up to it; in math, reasoning and coding also the references. A reply without
a grade is asked for once more. A question one of whose turns has no grade has no score (our choices: FastChat asks
once and drops the turn).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from pydantic import BaseModel

from moaa.api.evaluation import MtBench
from moaa.api.mixture import FinalSampling, Judge, JudgeModel
from moaa.api.prompts import render
from moaa.asking.asker import Asker, Fitting
from moaa.asking.caller import Reply
from moaa.asking.gather import gather_all
from moaa.asking.load import PROMPT_TOKENS, Load, written
from moaa.benchmark.measure import NoVerdict, Scored, decider, reasons
from moaa.conversation import Conversation, Message
from moaa.judge.ask import ask_twice
from moaa.judge.trail import Judgement, Role
from moaa.rows import PromptRow

REFERENCE_CATEGORIES = frozenset({"math", "reasoning", "coding"})
"""Judged with a reference answer. By category: nine questions of others hold a reference that no judge is shown."""
LOWEST, HIGHEST = 1.0, 10.0
_DOUBLE = re.compile(r"\[\[(\d+\.?\d*)\]\]")
_SINGLE = re.compile(r"\[(\d+\.?\d*)\]")
Turns = Sequence[tuple[str, str]]
"""What the user said and what was replied, turn by turn."""
TURNS = 2
"""Of a question, for the forecast."""
INSTRUCTION_TOKENS = 250
JUDGEMENT_TOKENS = 200
OTHER_TEMPERATURE = Decimal("0.7")
"""Of categories that FastChat does not list."""
TEMPERATURES = {
    "writing": Decimal("0.7"),
    "roleplay": Decimal("0.7"),
    "extraction": Decimal(0),
    "math": Decimal(0),
    "coding": Decimal(0),
    "reasoning": Decimal(0),
    "stem": Decimal("0.1"),
    "humanities": Decimal("0.1"),
}
"""At which FastChat asks for answers, by category."""


class MtFacts(BaseModel):
    """What the benchmark's files say of a question, as JSON in `facts`."""

    category: str
    references: list[str] | None
    """By turn; None in categories that are judged without."""


class MtDetail(BaseModel):
    """What is kept of a question, as JSON in `detail`."""

    category: str
    grades: list[float]
    """By turn, 1 to 10."""


def grade_of(reply: str) -> float | None:
    """The first number in double brackets, such as `[[7]]`, or else in single ones; None where there is none, or it is
    no grade.

    >>> grade_of("Fair. Rating: [[6.5]]"), grade_of("[8]"), grade_of("[[85]]")
    (6.5, 8.0, None)
    """
    found = _DOUBLE.search(reply) or _SINGLE.search(reply)
    grade = float(found[1]) if found else None
    return grade if grade is not None and LOWEST <= grade <= HIGHEST else None


def needs_reference(category: str) -> bool:
    return category in REFERENCE_CATEGORIES


@dataclass(frozen=True)
class MtBenchMeasure:
    benchmark: MtBench
    judge: Judge
    metric: str = "grade"
    needs_gold: bool = False
    needs_given: bool = False
    prompts: tuple[str, ...] = ("exchange", "expected", "grade", "grade_reference")
    yardstick: str | None = None

    def loads(self, answers: int) -> Iterator[Load]:
        """Turns grow: the second is judged with the first."""
        model = decider(self.judge)
        turn = PROMPT_TOKENS + written(self.benchmark.sampling.max_tokens)
        said = written(model.max_tokens, JUDGEMENT_TOKENS)
        for shown in range(1, TURNS + 1):
            yield Load(model.model, answers, shown * turn + INSTRUCTION_TOKENS, said)

    async def score(self, row: PromptRow, answered: Conversation, asker: Asker) -> Scored:
        """A tenth of the mean grade. Calls are named `grade<t>`, t from 1.

        Raises:
            CallError, NoVerdict, ModelAbsent: as `Measure.score`.
        """
        facts = _facts(row)
        turns = turns_of(answered)
        said = tuple(
            await gather_all(
                self._grade(turns[:number], facts.references, asker.at(f"grade{number}"))
                for number in range(1, len(turns) + 1)
            )
        )
        grades = [float(one.label) for one in said if one.label is not None]
        if len(grades) < len(said):
            raise NoVerdict(f"row {row['id']}: {reasons(said)}", said=said)
        detail = MtDetail(category=facts.category, grades=grades)
        return Scored(sum(grades) / len(grades) / HIGHEST, said, detail=detail.model_dump())

    async def _grade(self, turns: Turns, references: Sequence[str] | None, asker: Asker) -> Judgement:
        """Of the last turn. Raises CallError: a failure that may pass; ModelAbsent."""
        messages = grade_messages(turns, references, asker.prompts, system=self.benchmark.judge_system)

        async def ask(model: JudgeModel, key: str) -> Fitting:
            return Fitting(await asker.ask(model.model, messages, model, key=key), messages)

        model = decider(self.judge)
        grade, text, failure = await ask_twice(ask, model, _whole_grade)
        label = None if grade is None else f"{grade:g}"
        return Judgement(f"turn {len(turns)}", Role.GRADE, model.model, text, failure=failure, label=label)


def sampling_by_category(benchmark: MtBench, row: PromptRow) -> FinalSampling:
    """How a model is asked for its answer to a row: at the temperature of its category, unless `byCategory` is off."""
    if not benchmark.by_category:
        return benchmark.sampling
    temperature = TEMPERATURES.get(_facts(row).category, OTHER_TEMPERATURE)
    return benchmark.sampling.model_copy(update={"temperature": temperature})


def turns_of(answered: Conversation) -> list[tuple[str, str]]:
    """What the user said and what the subject replied, turn by turn. A system message stands before the first turn's
    text."""
    turns: list[tuple[str, str]] = []
    waiting: list[str] = []
    for message in answered:
        if message["role"] == "assistant":
            turns.append(("\n\n".join(waiting), message["content"]))
            waiting = []
        else:
            waiting.append(message["content"])
    return turns


def _facts(row: PromptRow) -> MtFacts:
    facts = row.get("facts")
    assert facts is not None, f"row {row['id']}: stage-data gives every question its category"
    return MtFacts.model_validate_json(facts)


def _whole_grade(reply: Reply) -> float | None:
    """None also for a reply that was cut: how it would have ended is unknown."""
    return None if reply.is_cut else grade_of(reply.text)


def grade_messages(
    turns: Turns,
    references: Sequence[str] | None,
    prompts: Mapping[str, str],
    *,
    system: str | None,
) -> list[Message]:
    """What the judge is asked of the last turn; `turns` are questions and replies up to it, `references` by turn, None
    where it is judged without; `system` is the judge's system message, None: it has none."""
    number = str(len(turns))
    conversation = "".join(
        render(prompts["exchange"], {"number": str(n), "question": question, "answer": answer}, prompts)
        for n, (question, answer) in enumerate(turns, start=1)
    )
    values = {"conversation": conversation, "number": number}
    if references is None:
        text = render(prompts["grade"], values, prompts)
    else:
        shown = "".join(
            render(prompts["expected"], {"number": str(n), "text": reference}, prompts)
            for n, reference in enumerate(references[: len(turns)], start=1)
        )
        text = render(prompts["grade_reference"], {**values, "references": shown}, prompts)
    asked = Message(role="user", content=text)
    return [Message(role="system", content=system), asked] if system else [asked]
