"""Two evaluations question by question: which questions changed, and by how much. Pure but for reading answers."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from moaa.errors import UsageError
from moaa.plan.stage import Kind
from moaa.report.measure import by_id, gains, measured
from moaa.report.schema import GainSummary
from moaa.rows import ScoreRow
from moaa.run.students import model_label
from moaa.store.objects.base import Store
from moaa.view.filters import Filter, Query, exactly
from moaa.view.masks import any_value, equals, is_among
from moaa.view.scan import Place, Row, page
from moaa.view.site import Absent, Found

SEPARATOR = "~"
Change = Literal["changed", "better", "worse", "same", "all"]


class Subject(NamedTuple):
    """Who was measured where. Names of runs, stages and models have no `~`."""

    run: str
    stage: str
    model: str

    def __str__(self) -> str:
        return SEPARATOR.join(self)


@dataclass(frozen=True)
class Question:
    """One question that both answered; scores between 0 and 1."""

    id: str
    before: float
    after: float

    @property
    def change(self) -> float:
        return self.after - self.before


@dataclass(frozen=True)
class Compared:
    """Two subjects on one benchmark."""

    gain: GainSummary | None
    """None: they share no question."""
    questions: Sequence[Question]
    """Those of the change that was asked for, the largest change first."""
    counts: Mapping[Change, int]
    only_before: int
    """Questions that only the first answered."""
    only_after: int


def subject_of(text: str) -> Subject:
    """Raises UsageError: it is not `<run>~<stage>~<model>`."""
    parts = text.split(SEPARATOR)
    if len(parts) != 3 or not all(parts):
        raise UsageError(f"{text!r} names no measured student; write RUN~STAGE~MODEL")
    return Subject(*parts)


def change_of(text: str) -> Change:
    """Raises UsageError: there is no such change."""
    for change in get_args(Change):
        if change == text:
            return change  # type: ignore[no-any-return] # get_args gives the literal's own values
    raise UsageError(f"change: {text!r} is none of {', '.join(get_args(Change))}")


def subjects(found: Found) -> dict[Subject, str]:
    """Every model of a run that was measured, with its name for readers."""
    view = found.view
    return {
        Subject(view.run, stage.stage.id, model): model_label(view, stage, model)
        for stage in view.stages
        if stage.stage.kind is Kind.EVALUATE
        for model in dict.fromkeys(row["model"] for row in view.scores.get(stage.stage.id, ()))
    }


def scores(found: Found, subject: Subject) -> list[ScoreRow]:
    """Raises Absent: the run has no scores of this subject."""
    rows = [row for row in found.view.scores.get(subject.stage, ()) if row["model"] == subject.model]
    if not rows:
        raise Absent(f"run {subject.run} has no scores of {subject.model!r} in stage {subject.stage!r}")
    return rows


def compare(
    found: Found,
    before: Sequence[ScoreRow],
    after: Sequence[ScoreRow],
    benchmark: str,
    change: Change,
    *,
    names: tuple[str, str],
) -> Compared:
    """`found` is the run of `after`, whose resource says how the interval is drawn."""
    old, new = by_id(before, benchmark), by_id(after, benchmark)
    shared = [Question(name, old[name], new[name]) for name in sorted(old.keys() & new.keys())]
    kinds: dict[Change, list[Question]] = {
        "changed": [q for q in shared if q.change],
        "better": [q for q in shared if q.change > 0],
        "worse": [q for q in shared if q.change < 0],
        "same": [q for q in shared if not q.change],
        "all": shared,
    }
    spec = found.view.resource.spec
    items = [item for item in measured(spec) if item.benchmark.name == benchmark]
    gained = gains(items, before, after, names=names, evaluation=spec.evaluation)
    return Compared(
        gain=gained[0] if gained else None,
        questions=sorted(kinds[change], key=lambda q: (-abs(q.change), q.id)),
        counts={name: len(some) for name, some in kinds.items()},
        only_before=len(old.keys() - new.keys()),
        only_after=len(new.keys() - old.keys()),
    )  # fmt: skip


@dataclass(frozen=True)
class Answers:
    """Answers to some questions, as far as one search comes (`moaa.view.scan`)."""

    rows: Sequence[tuple[Place, Row]]
    is_whole: bool
    """False: the search ended before the table did."""


async def first_answers(store: Store, found: Found, subject: Subject, benchmark: str, ids: Collection[str]) -> Answers:
    """The first answer to each of at most as many questions as a page has rows. Raises StoreError."""
    first = Filter("first", "", ("sample",), lambda table, _: any_value(table, "sample", equals(0)))
    among = Filter("ids", "", ("id",), lambda table, _: any_value(table, "id", is_among(sorted(ids))))
    of = exactly("answers", benchmark=benchmark, model=subject.model)
    query = Query((*of.conditions, (among, ""), (first, "")))
    return await _answers(store, found, subject, query, ("id", "prompt"))


async def answers(store: Store, found: Found, subject: Subject, benchmark: str, question: str) -> Answers:
    """All answers to one question. Raises StoreError."""
    query = exactly("answers", benchmark=benchmark, model=subject.model, id=question)
    return await _answers(store, found, subject, query, ("id", "sample", "prompt", "text", "gold", "score"))


async def _answers(store: Store, found: Found, subject: Subject, query: Query, columns: Sequence[str]) -> Answers:
    stage = found.stage(subject.stage)
    if "answers" not in found.tables(stage):
        return Answers((), is_whole=True)
    seen = await page(store, found.parts(stage, "answers"), Place(0, 0), columns, query)
    return Answers(seen.rows, seen.next is None)
