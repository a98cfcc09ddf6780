"""Small resources and made-up results for tests of the plan."""

import copy
import hashlib
from typing import Any

from moaa.api import MoAA
from moaa.api.models import Endpoint
from moaa.plan.fingerprint import identify
from moaa.plan.graph import build
from moaa.plan.kinds.table import KINDS
from moaa.plan.result import Identity, Output, StageResult
from moaa.plan.slices import pinned_sources, staged
from moaa.plan.stage import Graph, Kind

TREE: dict[str, Any] = {
    "apiVersion": "moaa.dev/v1alpha1",
    "kind": "MoAA",
    "metadata": {"name": "small"},
    "spec": {
        "storage": {"uri": "file:///store"},
        "models": [
            {"name": "a", "source": "hf://org/model-a-7b"},
            {"name": "b", "source": "hf://org/model-b-13b"},
            {"name": "agg", "source": "hf://org/model-agg-70b", "serving": {"gpus": 4}},
            {"name": "base", "source": "hf://org/student-8b"},
            {"name": "eva", "source": "hf://org/eva-70b"},
        ],
        "student": "base",
        "mixture": {"layers": [{"proposers": [{"model": "a"}, {"model": "b"}]}], "aggregator": {"model": "agg"}},
        "judge": {"method": "Mixture", "judges": [{"model": "a"}, {"model": "b"}], "aggregator": {"model": "agg"}},
        "data": {
            "sft": [{"source": "file:///sft.jsonl", "limit": 10}],
            "preference": [{"source": "file:///pref.jsonl", "limit": 4}],
        },
        "training": {"sft": {}, "dpo": {}},
        "evaluation": {
            "selection": [
                {
                    "name": "held",
                    "type": "Pairwise",
                    "source": "file:///held.jsonl",
                    "limit": 5,
                    "judge": {"method": "Single", "aggregator": {"model": "eva"}},
                }
            ]
        },
    },
}


def tree(**changes: Any) -> dict[str, Any]:
    """The small document with some places replaced: `spec__training__dpo=None` removes, a list index is its number."""
    root = copy.deepcopy(TREE)
    for path, value in changes.items():
        *parents, last = path.split("__")
        node: Any = root
        for step in parents:
            node = node[int(step)] if isinstance(node, list) else node.setdefault(step, {})
        if isinstance(node, list):
            node[int(last)] = value
        elif value is None:
            node.pop(last, None)
        else:
            node[last] = value
    return root


def resource(**changes: Any) -> MoAA:
    return MoAA.model_validate(tree(**changes))


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def finish(identity: Identity, owner: MoAA, salt: str = "") -> StageResult:
    """A result whose outputs depend on the fingerprint alone, as those of a stage do."""
    stage = identity.stage
    # What later stages and status read, in an order of their own; outputs of every other kind are in its row.
    written = {
        Kind.JUDGE: ("pairs", "rankings"),
        Kind.EVALUATE: ("answers", "scores"),
        Kind.PROMOTE: ("model", "gains", "scores"),
    }
    named = staged(owner) if stage.kind is Kind.STAGE_DATA else [name for name, _ in pinned_sources(owner)]
    names = written.get(stage.kind, KINDS[stage.kind].outputs) or tuple(named)
    # What a pinned source holds depends on the source, not on what else is resolved beside it.
    sources = {name: source.source for name, source in pinned_sources(owner)}
    models = {m.name: sha(f"{m.source}{_shown(m.endpoint)}") for m in owner.spec.models}
    score = f"{sum(map(ord, stage.id)) % 100}.0 ± 2.1" if stage.kind is Kind.EVALUATE else None
    return StageResult(
        stage=stage.id,
        kind=stage.kind,
        score=score,
        inputs=identity.inputs,
        fingerprint=identity.fingerprint,
        outputs={
            name: Output(
                digest=sha(salt + sources[name] + str(owner.spec.seed) * (stage.kind is Kind.STAGE_DATA))
                if name in sources
                else sha(salt + identity.fingerprint + name),
                rows=7,
            )
            for name in names
        },
        models=models if stage.kind is Kind.RESOLVE else {},
    )


def _shown(endpoint: Endpoint | None) -> str:
    """By the fields that golden values know; those that came later say how it is asked, not what it is."""
    known = ("url", "model", "secret", "max_model_len", "price")
    return str(endpoint and " ".join(f"{name}={getattr(endpoint, name)!r}" for name in known))


def run_all(owner: MoAA, graph: Graph | None = None) -> tuple[dict[str, StageResult], dict[str, Identity]]:
    """Every stage finished in graph order."""
    results: dict[str, StageResult] = {}
    identities: dict[str, Identity] = {}
    for stage in (graph or build(owner)).stages.values():
        identity = identify(stage, owner, results)
        assert identity is not None, stage.id
        identities[stage.id] = identity
        results[stage.id] = finish(identity, owner)
    return results, identities
