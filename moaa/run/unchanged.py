"""Students that answer to the letter as the one they were trained from: nothing was learned that shows."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import cast

from moaa.errors import StoreError
from moaa.plan.ids import BASE_EVALUATE, made_by
from moaa.plan.stage import Kind
from moaa.plan.subjects import BASE
from moaa.rows import AnswerRow
from moaa.run.students import origin
from moaa.run.view import RunView, StageView, Unchanged
from moaa.store.objects.base import Store
from moaa.store.stages.manifest import StageManifest
from moaa.store.stages.shards import iter_table


@dataclass(frozen=True)
class _Answers:
    """Where one model's answers lie."""

    manifest: StageManifest
    model: str


@dataclass(frozen=True)
class _Compared:
    stage: str
    student: str
    before: str
    own: _Answers
    other: _Answers


async def unchanged(
    store: Store, view: RunView, starts: Mapping[int, StageManifest]
) -> tuple[tuple[Unchanged, ...], list[str]]:
    """Such students in graph order, and sentences on tables that cannot be read. Every table is read once.

    `starts` are the evaluations of iteration 0 that closed iterations were closed on.
    """
    compared = [one for stage in view.stages if (one := _compared(view, stage, starts)) is not None]
    manifests = {a.manifest.fingerprint: a.manifest for one in compared for a in (one.own, one.other)}
    said: dict[tuple[str, str], set[bytes]] = {}
    problems = []
    for name, manifest in manifests.items():
        try:
            said |= {(name, model): found for model, found in (await _said(store, manifest)).items()}
        except StoreError as error:
            problems.append(f"Answers of {manifest.stage} could not be compared: {str(error).rstrip('.')}.")
    return tuple(_same(compared, said)), problems


def _same(compared: list[_Compared], said: Mapping[tuple[str, str], set[bytes]]) -> Iterator[Unchanged]:
    for one in compared:
        own, other = (said.get((a.manifest.fingerprint, a.model)) for a in (one.own, one.other))
        if own and own == other:
            yield Unchanged(one.stage, one.student, one.before, len(own))


def _compared(view: RunView, stage: StageView, starts: Mapping[int, StageManifest]) -> _Compared | None:
    """None of a stage that measured no trained student, or whose student's predecessor is not measured."""
    student = stage.stage.student or ""
    maker = view.of(made_by(student) or "")
    if stage.stage.kind is not Kind.EVALUATE or stage.manifest is None or maker is None:
        return None
    named = maker.stage.candidates[-1] if maker.stage.kind is Kind.AVERAGE else maker.stage.student
    before = origin(view, named) if named is not None else None
    other = _answers_of(view, before, stage.stage.iteration, starts) if before is not None else None
    if before is None or other is None:
        return None
    return _Compared(stage.stage.id, student, before, _Answers(stage.manifest, str(maker.stage.kind)), other)


def _answers_of(view: RunView, student: str, iteration: int, starts: Mapping[int, StageManifest]) -> _Answers | None:
    """None where the student was not measured."""
    maker = view.of(made_by(student) or "")
    if maker is None:
        base = view.of(BASE_EVALUATE)
        manifest = starts.get(iteration) or (base.manifest if base else None)
        return _Answers(manifest, BASE) if manifest and student == view.resource.spec.student else None
    measured = (s.manifest for s in view.stages if s.stage.kind is Kind.EVALUATE and s.stage.student == student)
    manifest = next(measured, None)
    return _Answers(manifest, str(maker.stage.kind)) if manifest else None


async def _said(store: Store, manifest: StageManifest) -> dict[str, set[bytes]]:
    """By model: a digest of every answer with its place. Raises StoreError: the table is not there, or damaged."""
    found: dict[str, set[bytes]] = defaultdict(set)
    async for rows in iter_table(store, manifest, "answers"):
        for row in (cast(AnswerRow, r) for r in rows):
            place = f"{row['benchmark']}\0{row['id']}\0{row['sample']}\0{row['text']}"
            found[row["model"]].add(sha256(place.encode()).digest())
    return found
