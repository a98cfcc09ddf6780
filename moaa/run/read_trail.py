"""Reads the trail of verdicts (`moaa.run.trail`) and what the drawn comparisons compared, table part by part."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

from moaa.api import MoAA
from moaa.api.prompts import PLACEHOLDERS
from moaa.benchmark.measure import Measure
from moaa.errors import StoreError
from moaa.judge.reading import parse_criteria
from moaa.judge.trail import Role
from moaa.plan.graph import benchmarks, build
from moaa.plan.ids import BASE_EVALUATE
from moaa.plan.stage import Kind, Stage
from moaa.plan.students import measure
from moaa.plan.subjects import How, subjects
from moaa.rows import AnswerRow, JudgementRow, RankingRow
from moaa.run.trail import Compared, Drawn, Trail
from moaa.run.view import RunView, StageView
from moaa.store.objects.base import Store
from moaa.store.stages.manifest import StageManifest
from moaa.store.stages.shards import iter_table


class Answered(NamedTuple):
    """Which row of a table `answers`."""

    benchmark: str
    model: str
    id: str
    sample: int


async def read_trail(store: Store, manifest: StageManifest, *, seed: int) -> Trail:
    """Raises StoreError: the table is not there, or damaged."""
    trail = Trail(f"{seed}/{manifest.stage}")
    async for rows in iter_table(store, manifest, "judgements"):
        trail.add(cast("Sequence[JudgementRow]", rows))
    return trail


def of_rankings(drawn: Iterable[Drawn], rankings: Mapping[str, RankingRow]) -> tuple[Compared, ...]:
    """The drawn comparisons of a judge stage, with their rows of the table `rankings`, by id."""
    return tuple(_ranked(one, rankings.get(one.place.id)) for one in drawn)


def _ranked(drawn: Drawn, row: RankingRow | None) -> Compared:
    if row is None:
        return Compared(drawn)
    a, b = drawn.place.a, drawn.place.b
    found = next(one for one in row["comparisons"] if (one["a"], one["b"]) == (a, b))
    return Compared(
        drawn=drawn,
        prompt=next((m["content"] for m in reversed(row["messages"]) if m["role"] == "user"), None),
        answers=(row["samples"][a], row["samples"][b]),
        score=found["score"],
        criteria=tuple(found["criteria"]),
        is_chosen=found["chosen"],
    )


@dataclass(frozen=True)
class _Wanted:
    """A drawn comparison of an evaluation, and where its two answers are."""

    stage: StageView
    drawn: Drawn
    own: Answered
    other: Answered | None
    """None: the row's own answer, which stands beside `own`."""
    start: StageManifest | None
    """Of the evaluation that has `other`."""


async def of_answers(
    store: Store, view: RunView, starts: Mapping[int, StageManifest]
) -> tuple[dict[str, tuple[Compared, ...]], list[str]]:
    """The drawn comparisons of every evaluate stage of `view.trails`, and sentences on tables that cannot be read.

    `starts` are the evaluations of iteration 0 that closed iterations were closed on. Every table is read once.
    """
    wanted = [one for stage in view.stages if stage.stage.kind is Kind.EVALUATE for one in _wanted(view, stage, starts)]
    tables: dict[str, tuple[StageManifest, set[Answered]]] = {}
    for one in wanted:
        for manifest, key in ((one.stage.manifest, one.own), (one.start, one.other)):
            if manifest is not None and key is not None:
                tables.setdefault(manifest.fingerprint, (manifest, set()))[1].add(key)
    found: dict[tuple[str, Answered], AnswerRow] = {}
    problems = []
    for name, (manifest, keys) in tables.items():
        try:
            found |= {(name, key): row for key, row in (await _answers(store, manifest, keys)).items()}
        except StoreError as error:
            problems.append(f"Answers of {manifest.stage} could not be read: {str(error).rstrip('.')}.")
    made: dict[str, list[Compared]] = {}
    for one in wanted:
        made.setdefault(one.stage.stage.id, []).append(_evaluated(view, one, found))
    return {name: tuple(some) for name, some in made.items()}, problems


def _wanted(view: RunView, stage: StageView, starts: Mapping[int, StageManifest]) -> Iterator[_Wanted]:
    trail = view.trails.get(stage.stage.id)
    resource = stage.resource or view.resource
    base = view.of(BASE_EVALUATE)
    start = starts.get(stage.stage.iteration) or (base.manifest if base else None)
    declared = {benchmark.name for benchmark in benchmarks(resource.spec)}
    for benchmark, drawn in (trail.drawn if trail else {}).items():
        if benchmark not in declared:  # of a closed iteration whose resource is not known, and edited since
            continue
        label = baseline_label(benchmark, resource, stage.stage)
        for one in drawn:
            _, model, row, sample, _, _ = one.place
            other = Answered(benchmark, label, row, sample) if label is not None else None
            yield _Wanted(stage, one, Answered(benchmark, model, row, sample), other, start)


def _evaluated(view: RunView, wanted: _Wanted, found: Mapping[tuple[str, Answered], AnswerRow]) -> Compared:
    assert wanted.stage.manifest is not None, "its trail was read"
    own = found.get((wanted.stage.manifest.fingerprint, wanted.own))
    if own is None:
        return Compared(wanted.drawn)
    if wanted.other is None:
        text = own["gold"]
    else:
        other = found.get((wanted.start.fingerprint, wanted.other)) if wanted.start else None
        text = other["text"] if other else None
    criteria, is_chosen = _criteria(view, wanted)
    return Compared(wanted.drawn, own["prompt"], (own["text"], text), own["score"], criteria, is_chosen)


def _criteria(view: RunView, wanted: _Wanted) -> tuple[tuple[str, ...], bool]:
    """Read again from the reply that chose them; all there are where none were to be chosen or it could not be read.
    None where no prompt shows any."""
    measured = _measure(wanted.own.benchmark, wanted.stage.resource or view.resource, wanted.stage.stage)
    judge = measured.judge
    assert judge is not None, "judges were asked"
    if not any("criteria" in held for name in measured.prompts for held in PLACEHOLDERS[name]):
        return (), False
    replies = [row["text"] for row in wanted.drawn.said if row["role"] == Role.CRITERIA and not row["failure"]]
    found = parse_criteria(replies[0], judge.criteria_choices, count=judge.criteria) if replies else None
    return tuple(one.name for one in found or judge.criteria_choices), found is not None


def baseline_label(benchmark: str, resource: MoAA, stage: Stage) -> str | None:
    """Under which label iteration 0 has the answers that a stage's are held against; None: they are the rows' own."""
    yardstick = _measure(benchmark, resource, stage).yardstick
    if yardstick is None:
        return None
    measured = subjects(resource, build(resource).stages[BASE_EVALUATE])
    return next(one.label for one in measured if one.how is How.ALONE and one.model == yardstick)


def _measure(benchmark: str, resource: MoAA, stage: Stage) -> Measure:
    return next(measure(one, resource, stage) for one in benchmarks(resource.spec) if one.name == benchmark)


async def _answers(store: Store, manifest: StageManifest, wanted: Collection[Answered]) -> dict[Answered, AnswerRow]:
    found: dict[Answered, AnswerRow] = {}
    async for rows in iter_table(store, manifest, "answers"):
        for row in (cast(AnswerRow, r) for r in rows):
            if (key := Answered(row["benchmark"], row["model"], row["id"], row["sample"])) in wanted:
                found[key] = row
    return found
