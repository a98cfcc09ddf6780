"""What an edit of the resource repeats, and why. It compares what two identities of a stage depend on.

A closed iteration is never reopened. Its results are taken from the run's record as they are; only the open iteration
(and iteration 0, which prepares it) is compared with the resource.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import Field

from moaa.api import MoAA
from moaa.api.base import Spec
from moaa.plan.fingerprint import identify
from moaa.plan.graph import build
from moaa.plan.ids import BASE_EVALUATE, RESOLVE, STAGE_DATA, stage_id
from moaa.plan.result import Output, StageResult
from moaa.plan.slices import pinned_sources, tables
from moaa.plan.stage import Graph, Kind

INHERITED = ("inputs", "student", "refModel", "candidates")
"""Parts of a document that come from other stages' results, not from the resource."""
REPRODUCIBLE = (RESOLVE, STAGE_DATA)
"""Stages that, done again under an edit, often give what they gave before: an edit of a benchmark changes no row of
training. Then what rests on them is not repeated."""
BLANK = "0" * 64
OTHER_INPUTS = "its inputs are other rows or weights"


class IterationRecord(Spec):
    """`runs/<run>/iterations/<i>.json`: what an iteration's stages made, rewritten as they finish.

    The iteration is closed once its promotion is in it; the record is final then. Iteration 0 has none and is never
    closed: it prepares whatever is open. `start` keeps what of iteration 0 this iteration was closed on, for the
    report.
    """

    iteration: int = Field(ge=0)
    stages: dict[str, StageResult]
    """By stage id."""
    resource: dict[str, object] = {}
    """The MoAA as it was resolved when the iteration closed."""
    start: dict[str, StageResult] = {}
    """Results of iteration 0 when the iteration closed, by stage id; nothing is planned by them."""

    @property
    def is_closed(self) -> bool:
        return stage_id(self.iteration, Kind.PROMOTE) in self.stages


@dataclass(frozen=True)
class Change:
    """One difference between two documents; None stands for absence."""

    path: str
    before: object
    after: object

    def __str__(self) -> str:
        if self.before is None:
            return f"{self.path} {_short(self.after)} is new"
        if self.after is None:
            return f"{self.path} {_short(self.before)} is gone"
        return f"{self.path} {_short(self.before)} → {_short(self.after)}"


@dataclass(frozen=True)
class Repeat:
    """A stage that was done and is to be done again."""

    stage: str
    changes: tuple[Change, ...]
    """What makes it another stage; empty when only its inputs are made again."""
    because: tuple[str, ...]
    """Stages before it that are repeated."""
    unknown: tuple[str, ...] = ()
    """Stages before it that are still to be done, with unknown earlier results. It is repeated only if their results
    differ from the earlier ones."""

    @property
    def has_other_inputs(self) -> bool:
        """Its input is there already and differs from what it read before."""
        return not (self.changes or self.because or self.unknown)

    def __str__(self) -> str:
        if self.changes:
            return "; ".join(map(str, self.changes))
        if self.has_other_inputs:
            return OTHER_INPUTS
        return f"its input is made again by {', '.join(self.because or self.unknown)}"


def pin_closed(graph: Graph, records: Mapping[int, IterationRecord]) -> tuple[Graph, dict[str, StageResult]]:
    """The graph and results to go on with: closed iterations as they were recorded.

    A stage that an edit has added to a closed iteration leaves the graph; one that an edit has taken away keeps its
    result, since later stages may name it.
    """
    closed = {i: record for i, record in records.items() if record.is_closed}
    results = {name: result for record in closed.values() for name, result in record.stages.items()}
    stages = {name: stage for name, stage in graph.stages.items() if stage.iteration not in closed or name in results}
    return Graph(stages), results


def repeats(
    graph: Graph,
    resource: MoAA,
    results: Mapping[str, StageResult],
    *,
    last: Mapping[str, StageResult],
    documents: Mapping[str, Mapping[str, object]],
) -> list[Repeat]:
    """Stages that were done in this run and are not done under the resource as it is now, in graph order.

    `results` are those that hold now (`pin_closed`, and the manifests found under present identities); `last` and
    `documents` are the last known results of this run's stages and what their manifests say they depended on, by
    stage id. A stage is compared on its last known inputs, so that only what the resource changed is its own cause.
    """
    found: dict[str, Repeat] = {}
    known = _comparable(resource, last, results)
    for stage in graph.stages.values():
        before = documents.get(stage.id)
        if before is None or stage.id in results:
            continue
        identity = identify(stage, resource, known)
        changes = () if identity is None else _own_changes(before, identity.document)
        because = tuple(need for need in stage.needs if need in found)
        unknown = tuple(need for need in stage.needs if need not in found and need not in results)
        found[stage.id] = Repeat(stage.id, changes, because, unknown)
    return list(found.values())


def _comparable(
    resource: MoAA, last: Mapping[str, StageResult], results: Mapping[str, StageResult]
) -> dict[str, StageResult]:
    """Results to compare documents on. What an edit has added (a source, a benchmark, a model) has none yet, and
    iteration 0 may have no record. Made-up digests fill these gaps; they stand only in inherited parts, which are left
    out of the comparison."""
    staged = [table for table, _ in tables(resource)]
    pinned = [name for name, _ in pinned_sources(resource)]
    known = {**last, **results}
    if RESOLVE in known:  # without it the models' own digests would be made up
        models = {model.name: BLANK for model in resource.spec.models} | known[RESOLVE].models
        known[RESOLVE] = _with_outputs(known[RESOLVE], pinned).with_(models=models)
    for name, kind, outputs in (
        (STAGE_DATA, Kind.STAGE_DATA, staged),
        (BASE_EVALUATE, Kind.EVALUATE, ["answers", "scores"]),
    ):
        result = known.get(name) or StageResult(stage=name, kind=kind, inputs=BLANK, fingerprint=BLANK)
        known[name] = _with_outputs(result, outputs)
    return known


def _with_outputs(result: StageResult, names: list[str]) -> StageResult:
    return result.with_(outputs={name: Output(digest=BLANK) for name in names} | result.outputs)


def _own_changes(before: Mapping[str, object], after: Mapping[str, object]) -> tuple[Change, ...]:
    """Without those that other stages' results bring."""
    return tuple(change for change in differences(before, after) if not _is_inherited(change.path))


def _is_inherited(path: str) -> bool:
    return path.split(".")[0] in INHERITED or path.startswith("models.@")


def sentences(found: list[Repeat]) -> list[str]:
    """One line for each cause, naming all it repeats: `i1-generate: mixture.aggregator.temperature 0.7 → 0.5; repeats
    i1-generate, i1-sft`. A stage that is repeated only if stage-data gives other rows is listed as such."""
    lines: list[str] = []
    told: set[str] = set()  # what is repeated for certain
    causes: dict[str, set[str]] = {}
    for repeat in found:
        cause = "; ".join(map(str, repeat.changes)) or OTHER_INPUTS
        if not (repeat.changes or repeat.has_other_inputs) or repeat.stage in causes.get(cause, ()):
            continue
        certain = _closure([repeat.stage], found, past_reproducible=False)
        causes.setdefault(cause, set()).update(certain)
        told.update(certain)
        lines.append(f"{repeat.stage}: {cause}; repeats {', '.join(certain)}")
    for gates in dict.fromkeys(gates for repeat in found if (gates := _gates(repeat))):
        first = [repeat.stage for repeat in found if _gates(repeat) == gates and repeat.stage not in told]
        behind = [stage for stage in _closure(first, found) if stage not in told]
        told.update(behind)
        are, give = ("are", "they give") if len(gates) > 1 else ("is", "it gives")
        if behind:
            lines.append(
                f"{', '.join(gates)} {are} to be done again; unless {give} the same as before, "
                f"{', '.join(behind)} as well"
            )
    return lines


def _gates(repeat: Repeat) -> tuple[str, ...]:
    """Stages whose outputs decide whether a later stage is repeated: their earlier results are unknown, or they often
    give the same again."""
    if repeat.changes or any(stage not in REPRODUCIBLE for stage in repeat.because):
        return ()
    return tuple(dict.fromkeys([*repeat.because, *repeat.unknown]))


def _closure(first: list[str], found: list[Repeat], *, past_reproducible: bool = True) -> list[str]:
    """These stages and all that are repeated because of them, in graph order."""
    reached = list(first)
    for repeat in found:
        through = [stage for stage in repeat.because if past_reproducible or stage not in REPRODUCIBLE]
        if repeat.stage not in reached and set(through) & set(reached):
            reached.append(repeat.stage)
    return [repeat.stage for repeat in found if repeat.stage in reached]


def without_effect(
    resource: MoAA,
    results: Mapping[str, StageResult],
    records: Mapping[int, IterationRecord],
    documents: Mapping[str, Mapping[str, object]],
) -> list[str]:
    """Where the resource differs from what closed iterations were made with; one line for all iterations with the same
    difference.

    `documents` are what the manifests of closed stages say they depended on, by stage id. Until the models are resolved
    under the present resource, only stages that it adds or takes away are listed.
    """
    graph = build(resource)
    lines: dict[tuple[str, ...], list[int]] = {}
    for number, record in sorted(records.items()):
        if not record.is_closed:
            continue
        stages = {name: stage for name, stage in graph.stages.items() if stage.iteration == number}
        phrases = [f"{_short_id(name)} is new" for name in stages if name not in record.stages]
        phrases += [f"{_short_id(name)} is gone" for name in record.stages if name not in stages]
        for name, stage in stages.items():
            identity = identify(stage, resource, results) if name in documents else None
            changes = [] if identity is None else _own_changes(documents[name], identity.document)
            phrases += [f"{_short_id(name)}: {change}" for change in changes]
        if phrases:
            lines.setdefault(tuple(phrases), []).append(number)
    return [f"{_closed(numbers)} without effect there: {'; '.join(phrases)}" for phrases, numbers in lines.items()]


def _short_id(name: str) -> str:
    """`i1-evaluate-sft` gives `evaluate-sft`."""
    return name.split("-", 1)[1]


def _closed(numbers: list[int]) -> str:
    if len(numbers) == 1:
        return f"iteration {numbers[0]} is closed and keeps what it made;"
    return f"iterations {', '.join(map(str, numbers))} are closed and keep what they made;"


def differences(before: object, after: object, path: str = "") -> list[Change]:
    """Leaves in which two documents differ, by dotted path with list indexes."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        steps = [(f"{path}.{key}" if path else str(key), key) for key in dict.fromkeys([*before, *after])]
        return [c for step, key in steps for c in differences(before.get(key), after.get(key), step)]
    if isinstance(before, list) and isinstance(after, list):
        return list(_list_differences(before, after, path))
    return [] if before == after else [Change(path, before, after)]


def _list_differences(before: list[object], after: list[object], path: str) -> Iterator[Change]:
    for i in range(max(len(before), len(after))):
        left = before[i] if i < len(before) else None
        right = after[i] if i < len(after) else None
        yield from differences(left, right, f"{path}[{i}]")


def _short(value: object) -> str:
    """A leaf as text, or a summary of a part; digests by their first characters."""
    if isinstance(value, Mapping):
        return str(value.get("model") or value.get("name") or f"({len(value)} fields)")
    if isinstance(value, list):
        return f"({len(value)} entries)"
    text = str(value)
    return text[:12] if len(text) == 64 and all(c in "0123456789abcdef" for c in text) else text
