"""Reads what a run left in its store, for its report: manifests, tables, and the run's records (`moaa.run.records`).

Large tables are read and counted shard by shard; only a few rows are kept. An output that cannot be read does not stop
the report: `RunView.unreadable` names it. A manifest that cannot be read does, since everything after that stage
depends on it.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar, cast

from moaa.api import MoAA
from moaa.errors import StoreError
from moaa.plan.graph import build
from moaa.plan.history.repeats import IterationRecord
from moaa.plan.history.survey import survey
from moaa.plan.ids import BASE_EVALUATE
from moaa.plan.kinds.table import TRAINING
from moaa.plan.ready import failed_again
from moaa.plan.result import Identity, StageResult
from moaa.plan.stage import Kind, Stage
from moaa.plan.subjects import BASE
from moaa.rows import AnchorRow, AnswerRow, ConversationRow, PairRow, RankingRow, ScoreRow
from moaa.run import closed as closed_on
from moaa.run.contrast import benchmark_shown, largest_changes
from moaa.run.read_trail import of_answers, of_rankings, read_trail
from moaa.run.records import Attempt, read_attempts, read_iterations
from moaa.run.spending import read_account
from moaa.run.students import promoted, scores_of, start_scores
from moaa.run.tally import Tally, tally_pairs, tally_rankings
from moaa.run.trail import Compared, Trail
from moaa.run.unchanged import unchanged
from moaa.run.view import Contrast, CurveRow, RunView, StageStatus, StageView
from moaa.store.objects.base import Store
from moaa.store.stages.manifest import StageManifest
from moaa.store.stages.shards import iter_table, read_manifest, read_published, read_table

CONVERSATIONS_SHOWN = 2
"""Of every generate stage, spread over the first shard that has rows."""
Part = TypeVar("Part")
Judged = tuple[Tally, Mapping[str, PairRow], tuple[Compared, ...]]


@dataclass(frozen=True)
class Look:
    """How manifests and attempts are read. Who reads again and again may keep what cannot change."""

    manifest: Callable[[str], Awaitable[StageManifest | None]]
    """Of a stage, by its folder; None while it is not done. Raises StoreError: it is unreadable."""
    attempts: Callable[[str], Awaitable[int]]
    """The highest attempt of any shard, by the stage's folder; 0 without any."""


@dataclass(frozen=True)
class Outline:
    """A run without what takes long to read."""

    view: RunView
    closed: Mapping[int, IterationRecord]
    started_from: Mapping[int, StageManifest] = field(default_factory=dict)
    """By closed iteration: the evaluation of iteration 0 that it was closed on; empty until `with_figures`."""


async def collect(resource: MoAA, store: Store, run: str) -> RunView:
    """Everything the report says about `run`.

    Raises:
        StoreError: the store cannot be reached, or a stage's manifest is there but unreadable.
        StageError: a manifest lacks an output that a later stage reads.
    """
    found = await with_figures(store, await outline(resource, store, run))
    view, started_from = found.view, found.started_from
    if resource.spec.budget.is_given:
        made = {s.stage.id: s.manifest.result() for s in view.stages if s.manifest is not None}
        view = replace(view, account=await read_account(store, run, resource, made, found.closed))
    view, anchored = await _read(view, {Kind.ANCHORS}, lambda m: _anchored(store, m))
    partly, unread = await _anchored_so_far(store, view)
    view = replace(view, anchors=anchored | partly, unreadable=(*view.unreadable, *unread))
    view, trails = await _read(
        view, {Kind.JUDGE, Kind.EVALUATE}, lambda m: read_trail(store, m, seed=resource.spec.seed)
    )
    view = replace(view, trails=trails)
    view, judged = await _read(view, {Kind.JUDGE}, lambda m: _judged(store, m, trails.get(m.stage)))
    evaluated, unread = await of_answers(store, view, started_from)
    view, talks = await _read(view, {Kind.GENERATE}, lambda m: _conversations(store, m))
    view = replace(
        view,
        tallies={stage: tally for stage, (tally, _, _) in judged.items()},
        pairs={stage: pairs for stage, (_, pairs, _) in judged.items()},
        compared={**{stage: compared for stage, (_, _, compared) in judged.items()}, **evaluated},
        unreadable=(*view.unreadable, *unread),
        conversations=talks,
    )
    same, unread = await unchanged(store, view, started_from)
    view = replace(view, unchanged=same, unreadable=(*view.unreadable, *unread))
    try:
        return replace(view, contrasts=await _contrasts(store, view, started_from))
    except StoreError as error:
        return replace(view, unreadable=(*view.unreadable, f"Answers could not be read: {str(error).rstrip('.')}."))


async def outline(resource: MoAA, store: Store, run: str, look: Look | None = None) -> Outline:
    """The stages of a run and how far each is: manifests and records, no table.

    Raises:
        StoreError: the store cannot be reached, or a stage's manifest is there but unreadable.
        StageError: a manifest lacks an output that a later stage reads.
    """
    attempts, problems = await read_attempts(store, run)
    closed = {i: record for i, record in (await read_iterations(store, run)).items() if record.is_closed}
    resources, unknown = closed_on.resources_of(run, closed)
    stages = await _stages(resource, look or look_into(store), attempts, closed, resources)
    return Outline(RunView(resource, run, stages, unreadable=(*problems, *unknown)), closed)


async def with_figures(store: Store, found: Outline) -> Outline:
    """The same with scores and training curves, whose tables are small.

    Raises:
        StoreError: the manifest of an evaluation that an iteration was closed on is unreadable.
    """
    view, scores = await _read(found.view, {Kind.EVALUATE}, lambda m: _scores(store, m))
    started_from = await closed_on.start_manifests(store, found.closed)
    known = {s.manifest.fingerprint: scores.get(s.stage.id, ()) for s in view.stages if s.manifest}
    starts, unread = await closed_on.start_scores(store, started_from, known)
    view = replace(view, scores=scores, starts=starts, unreadable=(*view.unreadable, *unread))
    view, curves = await _read(view, TRAINING, lambda m: _curve(store, m))
    return Outline(replace(view, curves=curves), found.closed, started_from)


def look_into(store: Store) -> Look:
    """As the store has them at this moment."""
    return Look(lambda path: read_manifest(store, path), lambda path: _attempts(store, path))


async def _stages(
    resource: MoAA,
    look: Look,
    attempts: Sequence[Attempt],
    closed: Mapping[int, IterationRecord],
    resources: Mapping[int, MoAA],
) -> tuple[StageView, ...]:
    """Every stage of the graph; those of closed iterations as they were recorded, whatever was edited since."""
    manifests: dict[str, StageManifest] = {}
    identities: dict[str, Identity] = {}

    async def look_up(identity: Identity) -> StageResult | None:
        identities[identity.stage.id] = identity
        manifest = await look.manifest(identity.path)
        if manifest is None:
            return None
        manifests[identity.stage.id] = manifest
        return manifest.result()

    graph, results = await survey(closed_on.graph_of(resource, resources), resource, look_up, records=closed)
    start = {name: (i, result) for i, record in sorted(closed.items()) for name, result in record.start.items()}
    found = []
    for asked in closed_on.with_start(graph, resources, closed).stages.values():
        stage = asked
        manifest, result = manifests.get(stage.id), results.get(stage.id)
        made_with, is_outdated = resources.get(stage.iteration), False
        if result is None and stage.id in start:
            number, result = start[stage.id]
            made_with, is_outdated = resources.get(number), True
            stage = build(made_with).stages.get(stage.id, stage) if made_with else stage
        if manifest is None and result is not None:
            manifest = await look.manifest(result.path)
        path = result.path if result else identities[stage.id].path if stage.id in identities else None
        mine = [attempt for attempt in attempts if attempt.stage == stage.id]
        view = await _stage(look, stage, path, manifest, mine, retries=resource.spec.failures.retries)
        found.append(replace(view, resource=made_with, is_outdated=is_outdated and manifest is not None))
    return tuple(found)


async def _stage(
    look: Look,
    stage: Stage,
    path: str | None,
    manifest: StageManifest | None,
    records: Sequence[Attempt],
    *,
    retries: int,
) -> StageView:
    """`path` is the stage's folder; None while its inputs are not known."""
    wall = sum(r.seconds for r in records) if records else None
    if path is None:
        return StageView(stage, "waiting", wall_seconds=wall)
    attempts = await look.attempts(path)
    if manifest is not None:
        spared = sum(r.spared_gpu_seconds for r in records if r.fingerprint == manifest.fingerprint)
        tries = max(attempts, manifest.attempt)
        return StageView(stage, "done", manifest, path, tries, wall_seconds=wall, spared_gpu_seconds=spared)
    present = [r for r in records if r.fingerprint.startswith(path.rpartition("/")[2])]
    status = _status(present, attempts=attempts, retries=retries)
    problem = present[-1].error if present else ""
    return StageView(stage, status, path=path, attempts=attempts, wall_seconds=wall, problem=problem)


def _status(records: Sequence[Attempt], *, attempts: int, retries: int) -> StageStatus:
    """Of a stage without a manifest, from the attempts under its present fingerprint, as `moaa.plan.ready` counts."""
    failed, reached = 0, 0
    for record in records:
        if record.outcome == "Crashed":
            failed = failed_again(failed, before=reached, reached=record.reached)
            reached = max(reached, record.reached)
    if any(r.outcome == "Permanent" for r in records) or failed > retries:
        return "failed"
    return "started" if attempts or records else "waiting"


async def _attempts(store: Store, stage_path: str) -> int:
    """The highest attempt number of any shard (`<stage>/attempts/<shard>/<n>.json`); 0 without any."""
    prefix = f"{stage_path}/attempts/"
    names = [found.key.rpartition("/")[2].removesuffix(".json") async for found in store.list(prefix)]
    return max((int(name) for name in names if name.isdecimal()), default=0)


async def _read(
    view: RunView, kinds: Collection[Kind], read: Callable[[StageManifest], Awaitable[Part]]
) -> tuple[RunView, dict[str, Part]]:
    """`read` of every finished stage of these kinds; the view names those that could not be read."""
    found: dict[str, Part] = {}
    problems = []
    for stage in view.stages:
        if stage.manifest is None or stage.stage.kind not in kinds:
            continue
        try:
            found[stage.stage.id] = await read(stage.manifest)
        except StoreError as error:
            problems.append(f"{stage.stage.id} is done, but could not be read: {str(error).rstrip('.')}.")
    return replace(view, unreadable=(*view.unreadable, *problems)), found


async def _scores(store: Store, manifest: StageManifest) -> tuple[ScoreRow, ...]:
    return tuple(cast(ScoreRow, row) for row in await read_table(store, manifest, "scores"))


async def _anchored(store: Store, manifest: StageManifest) -> tuple[AnchorRow, ...]:
    return tuple(cast(AnchorRow, row) for row in await read_table(store, manifest, "verdicts"))


async def _anchored_so_far(store: Store, view: RunView) -> tuple[dict[str, tuple[AnchorRow, ...]], list[str]]:
    """Verdicts that a stage published which is not done, and sentences on those that cannot be read."""
    found: dict[str, tuple[AnchorRow, ...]] = {}
    problems = []
    for stage in view.stages:
        if stage.stage.kind is not Kind.ANCHORS or stage.manifest is not None or stage.path is None:
            continue
        try:
            rows = await read_published(store, stage.path, "verdicts")
        except StoreError as error:
            problems.append(f"Verdicts of {stage.stage.id} could not be read: {str(error).rstrip('.')}.")
            continue
        if rows:
            found[stage.stage.id] = tuple(cast(AnchorRow, row) for row in rows)
    return found, problems


async def _curve(store: Store, manifest: StageManifest) -> tuple[CurveRow, ...]:
    rows = [cast(CurveRow, row) for row in await read_table(store, manifest, "curve")]
    return tuple(sorted(rows, key=lambda row: row["step"]))


async def _judged(store: Store, manifest: StageManifest, trail: Trail | None) -> Judged:
    """The counts of one judge stage, the pairs of the prompts whose rankings are shown, and the drawn comparisons."""
    total = Tally()
    drawn = [one for some in trail.drawn.values() for one in some] if trail else []
    wanted = {one.place.id for one in drawn}
    ranked: dict[str, RankingRow] = {}
    async for rows in iter_table(store, manifest, "rankings"):
        rankings = [cast(RankingRow, row) for row in rows]
        total += tally_rankings(rankings)
        ranked |= {row["id"]: row for row in rankings if row["id"] in wanted}
    shown = {row["id"] for row in (total.clearest, total.closest) if row is not None}
    pairs: dict[str, PairRow] = {}
    async for rows in iter_table(store, manifest, "pairs"):
        part = [cast(PairRow, row) for row in rows]
        total += tally_pairs(part)
        pairs |= {row["id"]: row for row in part if row["id"] in shown}
    return total, pairs, of_rankings(drawn, ranked)


async def _conversations(store: Store, manifest: StageManifest) -> tuple[ConversationRow, ...]:
    """A few rows spread evenly over the first shard that has any; later shards are not read."""
    async for rows in iter_table(store, manifest, "conversations"):
        if rows:
            count = min(CONVERSATIONS_SHOWN, len(rows))
            return tuple(cast(ConversationRow, rows[i * len(rows) // count]) for i in range(count))
    return ()


async def _contrasts(store: Store, view: RunView, started_from: Mapping[int, StageManifest]) -> tuple[Contrast, ...]:
    """Answers of the start and the promoted student where their scores differ most."""
    now = promoted(view)
    after = next((s for s in view.stages if s.stage.kind is Kind.EVALUATE and s.stage.student == now), None)
    if now == view.resource.spec.student or after is None or after.manifest is None:
        return ()
    benchmark, iteration = benchmark_shown(view.spec_of(after)), after.stage.iteration
    present = view.of(BASE_EVALUATE)
    before = started_from.get(iteration) or (present.manifest if present else None)
    if benchmark is None or before is None:
        return ()
    wanted = largest_changes(start_scores(view, BASE, iteration=iteration), scores_of(view, now), benchmark)
    if not wanted:
        return ()
    old = await _answers(store, before, benchmark, BASE, set(wanted))
    new = await _answers(store, after.manifest, benchmark, now.rpartition("-")[2], set(wanted))
    return tuple(Contrast(old[i], new[i]) for i in wanted if i in old and i in new)


async def _answers(
    store: Store, manifest: StageManifest, benchmark: str, model: str, wanted: Collection[str]
) -> dict[str, AnswerRow]:
    """The first sample of each wanted prompt."""
    found: dict[str, AnswerRow] = {}
    async for rows in iter_table(store, manifest, "answers"):
        for row in (cast(AnswerRow, r) for r in rows):
            if row["benchmark"] == benchmark and row["model"] == model and row["id"] in wanted:
                found.setdefault(row["id"], row)
    return found
