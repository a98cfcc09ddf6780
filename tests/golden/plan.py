"""Golden values of the plan: the graph, fingerprints and inputs digests, and why stages wait."""

from typing import Any

from moaa.api import MoAA
from moaa.plan.canonical import digest_of
from moaa.plan.digests import answering_digest
from moaa.plan.fingerprint import identify
from moaa.plan.graph import build
from moaa.plan.history.repeats import IterationRecord, pin_closed, repeats, sentences, without_effect
from moaa.plan.kinds.table import KINDS, shards_of
from moaa.plan.ready import Decision, Failure, World, decide, servers_ahead
from moaa.plan.result import Identity, StageResult, ledger_path
from moaa.plan.stage import Graph, Stage
from tests.golden.resources import BENCHMARKS, METHODS, VARIANTS, rich
from tests.plan_helpers import finish

SHOWN = 16
"""Characters of a digest: enough to tell any two apart."""


def graphs() -> dict[str, Any]:
    """Every stage of every shape of resource, as the graph has it, a line each."""
    return {name: [_line(stage) for stage in build(owner).stages.values()] for name, owner in _all().items()}


def fingerprints() -> dict[str, Any]:
    """Fingerprint and inputs digest of every stage. Results depend on the stage's name alone, so that one stage's
    change does not show in all stages after it."""
    return {
        "revisions": {str(kind): row.revision for kind, row in KINDS.items()},
        "stages": {name: _identities(owner) for name, owner in _all().items()},
        "folders": {
            name: [identity.path, ledger_path(identity.stage.kind, identity.inputs)]
            for name, identity in walk(rich("Mixture", "exact"))[1].items()
        },
    }


def documents() -> dict[str, Any]:
    """What is hashed, whole, of one resource a judge method and benchmark: to see what a fingerprint differs in."""
    chosen = zip(METHODS, BENCHMARKS, strict=True)
    return {f"{m} {b}": {name: i.document for name, i in walk(rich(m, b))[1].items()} for m, b in chosen}


def decisions() -> dict[str, Any]:
    """What may start and why the others wait: as results come in one by one, and where something is the matter."""
    owners = {"served at once": rich("Mixture", "exact"), "in turn": rich("Single", "base", VARIANTS["served in turn"])}
    found: dict[str, Any] = {}
    for name, owner in owners.items():
        results: dict[str, StageResult] = {}
        graph, steps = build(owner), []
        for done, result in walk(owner)[0].items():
            steps.append(_decision(decide(graph, owner, World(results))) | {"servers": _servers(graph, owner, results)})
            results[done] = result
        found[name] = steps
    return found | {f"trouble: {name}": _decision(made) for name, made in _troubles().items()}


def _decision(made: Decision) -> dict[str, Any]:
    found: dict[str, Any] = {"start": " ".join(identity.stage.id for identity in made.start)}
    found |= {"stop": " ".join(made.stop), "failed": dict(made.failed), "waiting": dict(made.waiting)}
    found |= {"finished": made.is_finished, "stuck": made.is_stuck}
    return {name: value for name, value in found.items() if value}


def _servers(graph: Graph, owner: MoAA, results: dict[str, StageResult]) -> str:
    return " ".join(servers_ahead(graph, owner, results))


def _troubles() -> dict[str, Decision]:
    owner = rich("Mixture", "exact")
    graph, (results, identities) = build(owner), walk(owner)
    before = dict(list(results.items())[: list(results).index("i1-sft")])
    sft = identities["i1-sft"].fingerprint
    suspended = rich("Mixture", "exact", {"spec__suspend": True})
    return {
        "permanent": decide(graph, owner, World(before, failures={sft: Failure(1, True, "out of memory")})),
        "retried": decide(graph, owner, World(before, failures={sft: Failure(1, False, "lost a node")})),
        "exhausted": decide(graph, owner, World(before, failures={sft: Failure(99, False, "lost a node")})),
        "running": decide(graph, owner, World(before, running={"i1-sft": sft})),
        "outdated": decide(graph, owner, World(before, running={"i1-sft": "f" * 64})),
        "suspended": decide(build(suspended), suspended, World(before, running={"i1-sft": sft})),
        "finished": decide(graph, owner, World(results)),
    }


def edits() -> dict[str, Any]:
    """What each edit of a run repeats in its second iteration, and what has no effect on its closed first one."""
    before = rich("Mixture", "exact")
    results, identities = walk(before)
    documents = {name: identity.document for name, identity in identities.items()}
    first = {name: result for name, result in results.items() if name.startswith("i1-")}
    records = {1: IterationRecord(iteration=1, stages=first)}
    return {
        name: _edited(rich("Mixture", "exact", changes), results, documents, records)
        for name, changes in VARIANTS.items()
    }


def _edited(
    owner: MoAA,
    last: dict[str, StageResult],
    documents: dict[str, Any],
    records: dict[int, IterationRecord],
) -> dict[str, Any]:
    """Finds under present identities what was done before, stage by stage, as executors do."""
    graph, held = pin_closed(build(owner), records)
    fingerprints = {result.fingerprint: result for result in last.values()}
    for stage in graph.stages.values():
        identity = None if stage.id in held else identify(stage, owner, held)
        if identity is not None and digest_of(documents.get(stage.id)) == digest_of(identity.document):
            held[stage.id] = fingerprints[digest_of(stage.id)]
    repeated = repeats(graph, owner, held, last=last, documents=documents)
    return {
        "repeats": sentences(repeated),
        "each": [f"{repeat.stage}: {repeat}" for repeat in repeated],
        "withoutEffect": without_effect(owner, held, records, documents),
    }


def walk(owner: MoAA) -> tuple[dict[str, StageResult], dict[str, Identity]]:
    """Results and identities of all stages in graph order."""
    results: dict[str, StageResult] = {}
    identities: dict[str, Identity] = {}
    for stage in build(owner).stages.values():
        identity = identify(stage, owner, results)
        assert identity is not None, stage.id
        identities[stage.id] = identity
        results[stage.id] = finish(Identity(stage, identity.inputs, digest_of(stage.id), {}), owner)
    return results, identities


def _all() -> dict[str, MoAA]:
    crossed = {f"{method} x {benchmark}": rich(method, benchmark) for method in METHODS for benchmark in BENCHMARKS}
    return crossed | {name: rich("Mixture", "exact", changes) for name, changes in VARIANTS.items()}


def _identities(owner: MoAA) -> dict[str, Any]:
    results, identities = walk(owner)
    found: dict[str, Any] = {
        name: {
            "fingerprint": identity.fingerprint[:SHOWN],
            "inputs": identity.inputs[:SHOWN],
            "shards": shards_of(identity.stage, owner, results) or "none",
        }
        for name, identity in identities.items()
    }
    found["models"] = {m.name: answering_digest(m, digest_of(m.name))[:SHOWN] for m in owner.spec.models}
    return found


def _line(stage: Stage) -> str:
    """What it has of everything, in words: `i1-sft (sft, 1) needs i1-generate; student base`."""
    parts = {
        "needs": " ".join(stage.needs),
        "serves": " ".join(stage.serves),
        "student": stage.student or "",
        "refModel": stage.ref_model or "",
        "candidates": " ".join(stage.candidates),
    }
    told = "; ".join(f"{name} {text}" for name, text in parts.items() if text)
    return f"{stage.id} ({stage.kind}, {stage.iteration}) {told}"
