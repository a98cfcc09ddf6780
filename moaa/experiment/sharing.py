"""What the runs of an experiment share, and what each adds, before anything is spent.

Stages are equal when their fingerprints are, and these need the results of the stages before. Where a result is not
there yet, a stand-in takes its place whose digests follow from what the stage depends on: equal stages have equal
stand-ins, so what follows from them is equal too. Stand-ins are never written.

A stage counts as new where it is not surely the same, so figures are upper bounds: two promotions may choose the same
student, and an added benchmark may drop no row of training.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from moaa.experiment.expand import Run
from moaa.experiment.proposals import Ledgers
from moaa.plan.canonical import digest_of
from moaa.plan.fingerprint import identify
from moaa.plan.forecast.estimate import Estimate, estimate, total
from moaa.plan.graph import build, wanted
from moaa.plan.ids import RESOLVE, STAGE_DATA
from moaa.plan.kinds.sliced import counted_turns
from moaa.plan.kinds.table import KINDS
from moaa.plan.result import Identity, Output, StageResult
from moaa.store.stages.manifest import StageManifest

LookUp = Callable[[str], Awaitable[StageManifest | None]]
"""Reads the manifest of the stage in this folder of the store; None where there is none."""
Digests = dict[str, str]
"""Digest of a model or table, by the digest of all that it follows from."""


@dataclass(frozen=True)
class Share:
    """One run, as it lies beside those before it."""

    run: Run
    done: tuple[str, ...]
    """Stages that the store holds."""
    shared: Mapping[str, Run]
    """Stages that are to be done, with the earlier run that does them."""
    adds: tuple[str, ...]
    """Stages that this run does."""
    parts: tuple[Estimate, ...]
    """What each of `adds` takes, without the calls that are found."""
    found_calls: int
    """Calls of `adds` that an earlier run makes over the same rows (`moaa.experiment.proposals`)."""

    @property
    def estimate(self) -> Estimate:
        """What all of `adds` take."""
        return total(self.parts)


async def shares(
    runs: Sequence[Run], look_up: LookUp, counts: Mapping[str, int], *, until: str | None = None
) -> list[Share]:
    """Every run in order, each beside all before it. `counts` are rows of tables that are not staged yet.

    `until` is the last stage that is wanted; None: all. Raises UsageError: a run has no such stage.
    """
    look_up = _once(look_up)
    known: Digests = {}
    for run in runs:  # first, since a run's own stand-ins take what a later run's results say
        await _identities(run, look_up, known, until)
    makers: dict[str, Run] = {}
    ledgers = Ledgers()
    found = []
    for run in runs:
        identities, there = await _identities(run, look_up, known, until)
        shared, adds = {}, []
        for name, identity in identities.items():
            if name in there:
                continue
            maker = makers.setdefault(identity.fingerprint, run)
            if maker is run:
                adds.append(name)
            else:
                shared[name] = maker
        rows = {**counts, **_counted(run, there)}
        parts = {part.stage: part for part in estimate(run.resource, rows)}
        whole = [parts[name] for name in adds]
        ledgers.note(identity for name, identity in identities.items() if name in there)
        left = [ledgers.without(identities[part.stage], run.resource, part, rows) for part in whole]
        saved = sum((part.calls or 0) - (rest.calls or 0) for part, rest in zip(whole, left, strict=True))
        found.append(Share(run, tuple(there), shared, tuple(adds), tuple(left), saved))
    return found


def _once(look_up: LookUp) -> LookUp:
    """The same, asking the store once for each folder."""
    found: dict[str, StageManifest | None] = {}

    async def remembered(path: str) -> StageManifest | None:
        if path not in found:
            found[path] = await look_up(path)
        return found[path]

    return remembered


def _counted(run: Run, there: Mapping[str, StageManifest]) -> dict[str, int]:
    """Rows and user turns of the tables that are staged."""
    if STAGE_DATA not in there:
        return {}
    staged = there[STAGE_DATA]
    return {name: output.rows for name, output in staged.outputs.items()} | counted_turns(run.resource, staged.metrics)


async def _identities(
    run: Run, look_up: LookUp, known: Digests, until: str | None
) -> tuple[dict[str, Identity], dict[str, StageManifest]]:
    """Every stage of a run with its identity, and the manifests that are there. What they hold joins `known`."""
    identities: dict[str, Identity] = {}
    there: dict[str, StageManifest] = {}
    results: dict[str, StageResult] = {}
    for stage in wanted(build(run.resource), until).stages.values():
        identity = identify(stage, run.resource, results)
        assert identity is not None, "every stage before has a result or a stand-in"
        identities[stage.id] = identity
        manifest = await look_up(
            identity.path
        )  # under a stand-in's digests nothing is found, under real ones it may be
        if manifest is None:
            results[stage.id] = _stand_in(identity, known)
            continue
        there[stage.id], results[stage.id] = manifest, manifest.result()
        _learn(identity, results[stage.id], known)
    return identities, there


def _learn(identity: Identity, result: StageResult, known: Digests) -> None:
    models, tables = _sources(identity)
    known.update({source: result.models[name] for name, source in models.items() if name in result.models})
    known.update({source: result.outputs[name].digest for name, source in tables.items() if name in result.outputs})


def _stand_in(identity: Identity, known: Digests) -> StageResult:
    """A result as the stage might have, with digests that follow from what it depends on."""
    kind, (models, tables) = identity.stage.kind, _sources(identity)
    outputs = {name: known.get(source, source) for name, source in tables.items()}
    for name in KINDS[kind].outputs:
        outputs[name] = digest_of({"fingerprint": identity.fingerprint, "output": name})
    return StageResult(
        stage=identity.stage.id,
        kind=kind,
        inputs=identity.inputs,
        fingerprint=identity.fingerprint,
        outputs={name: Output(digest=digest) for name, digest in outputs.items()},
        models={name: known.get(source, source) for name, source in models.items()},
    )


def _sources(identity: Identity) -> tuple[dict[str, str], dict[str, str]]:
    """Of resolve and stage-data: what each model and each table alone follows from, as digests. Nothing of other
    stages, whose outputs follow from all that they depend on."""
    document = identity.document
    if identity.stage.id == RESOLVE:
        models = {name: digest_of({"model": entry}) for name, entry in _part(document, "models").items()}
        return models, {name: digest_of({"pinned": entry}) for name, entry in _part(document, "data").items()}
    return {}, _tables(document) if identity.stage.id == STAGE_DATA else {}


def _tables(document: Mapping[str, object]) -> dict[str, str]:
    """A benchmark's table follows from its own source; one of training also from those before it, by which it is
    deduplicated, and from every benchmark, whose questions it must not hold."""
    tables, pinned = _part(document, "tables"), _part(document, "inputs")
    rest = {name: value for name, value in document.items() if name not in ("tables", "inputs", "kind")}

    def entries(prefix: str) -> list[object]:
        return [[name, entry, pinned[name]] for name, entry in tables.items() if name.startswith(prefix)]

    found = {}
    for name, entry in tables.items():
        group = name.partition("-")[0]
        further = [digest for pin, digest in sorted(pinned.items()) if pin.startswith(f"{name}.")]
        own: list[object] = [entry, pinned[name], *further, document["seed"]]
        around = [] if group == "eval" else [name, *entries(f"{group}-"), *entries("eval-"), rest]
        found[name] = digest_of([own, around])
    return found


def _part(document: Mapping[str, object], name: str) -> Mapping[str, object]:
    part = document[name]
    assert isinstance(part, Mapping), f"{name} of this kind's document is a mapping"
    return part
