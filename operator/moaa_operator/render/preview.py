"""Everything the operator would create for a resource, as YAML, without a cluster: for review and for GitOps.

What only a run can know (digests of data and weights, the resource's UID) is made up, so names and fingerprints are
placeholders; everything else is exact. Iteration 1 stands for all later ones.
"""

import hashlib
from collections.abc import Iterator, Mapping
from types import MappingProxyType

import yaml

from moaa.api import MoAA
from moaa.contract.checks import check_job
from moaa.contract.job import stage_job
from moaa.errors import ResourceError
from moaa.plan.fingerprint import identify
from moaa.plan.graph import build
from moaa.plan.ids import made_by
from moaa.plan.kinds.table import TRAINING, shards_of
from moaa.plan.result import Identity, Output, StageResult
from moaa.plan.slices import slice_rows, tables
from moaa.plan.stage import Graph, Kind, Stage
from moaa_operator.decide.served import servers_of
from moaa_operator.kube.owner import Owner
from moaa_operator.render import (
    Manifest,
    finalise_children,
    preflight_children,
    refusals,
    server_url,
    servers,
    stage_children,
)
from moaa_operator.settings import Settings

UID = "00000000-0000-0000-0000-000000000000"
ROWS = 1000
"""Of a table whose length nobody has said."""
_OUTPUTS: Mapping[Kind, tuple[str, ...]] = MappingProxyType(
    {
        Kind.GENERATE: ("conversations",),
        Kind.SFT: ("model", "curve"),
        Kind.SAMPLE: ("samples",),
        Kind.JUDGE: ("rankings", "pairs"),
        Kind.DPO: ("model", "curve"),
        Kind.EVALUATE: ("answers", "scores"),
        Kind.PROMOTE: ("model", "scores"),
    }
)


def preview(resource: MoAA, settings: Settings) -> Iterator[str]:
    """YAML documents in the order in which the operator makes them, each group under a comment.

    Raises:
        ResourceError: a template or a source that Kubernetes cannot carry out.
    """
    problems = refusals(resource)
    if problems:
        raise ResourceError(f"MoAA {resource.metadata.namespace}/{resource.metadata.name}", problems)
    owner = Owner(resource.metadata.name, resource.metadata.namespace, UID)
    yield (
        f"# What the operator creates for MoAA {owner.namespace}/{owner.name}. UID, digests and what rests on them\n"
        "# (names' endings, fingerprints, numbers of shards without a limit) are placeholders.\n"
    )
    question = check_job(resource, {}, run=owner.run)
    yield from _documents(
        "before anything else: is the store sound?",
        preflight_children(question, resource, owner, attempt=1, settings=settings),
    )
    graph, results, shown = build(resource), dict[str, StageResult](), set[str]()
    for stage in graph.stages.values():
        if stage.iteration > 1:
            yield f"# iterations 2 to {resource.spec.iterations} are like iteration 1\n"
            return
        identity = identify(stage, resource, results)
        assert identity is not None, "stages come after those they need"
        yield from _stage(identity, resource, results, owner, settings, shown)
        results[stage.id] = _made_up(identity, graph, resource, results)


def _stage(
    identity: Identity,
    resource: MoAA,
    results: Mapping[str, StageResult],
    owner: Owner,
    settings: Settings,
    shown: set[str],
) -> Iterator[str]:
    """`shown` grows by the names of servers printed."""
    stage = identity.stage
    served = servers_of(stage.serves, resource, results)
    fresh = [server for server in served.values() if server.name not in shown]
    for server in fresh:
        shown.add(server.name)
        yield from _documents(f"{stage.id}: the server of {server.name}", servers([server], resource, owner, settings))
    job = stage_job(
        identity,
        resource,
        results,
        run=owner.run,
        endpoints={name: [server_url(server, owner)] for name, server in served.items()},
        served_names={name: server.served_name for name, server in served.items()},
    )
    shards = shards_of(stage, resource, results)
    asks = f", asks {', '.join(stage.serves)}" if stage.serves else ""
    yield from _documents(
        f"{stage.id}: after {', '.join(stage.needs) or 'nothing'}{asks}",
        stage_children(job, resource, owner, attempt=1, shards=shards, settings=settings),
    )
    if shards is not None or stage.kind in TRAINING:
        yield from _documents(
            f"{stage.id}: then its manifest", finalise_children(job, resource, owner, attempt=1, settings=settings)
        )


def _documents(comment: str, manifests: list[Manifest]) -> Iterator[str]:
    """The comment stands above the first."""
    for i, manifest in enumerate(manifests):
        text = yaml.dump(manifest, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=120)
        yield f"---\n# {comment}\n{text}" if i == 0 else f"---\n{text}"


class _Plain(yaml.SafeDumper):
    """Without anchors: a value that stands in two places is written twice."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002  the base class asks
        return True


def _made_up(identity: Identity, graph: Graph, resource: MoAA, results: Mapping[str, StageResult]) -> StageResult:
    """A result of the right shape: names and rows as declared, digests of nothing."""
    stage = identity.stage
    names = _OUTPUTS.get(stage.kind) or tuple(name for name, _ in tables(resource))
    outputs = {
        name: Output(
            digest=_digest(f"{stage.id}/{name}"),
            rows=_rows(stage, name, resource),
            uri=f"{identity.path}/out/1/{name}" if name == "model" else None,
        )
        for name in names
    }
    if stage.kind is Kind.PROMOTE:
        outputs["model"] = _winner(graph.stages[stage.id], results)
    return StageResult(
        stage=stage.id,
        kind=stage.kind,
        inputs=identity.inputs,
        fingerprint=identity.fingerprint,
        outputs=outputs,
        models={model.name: _digest(model.name) for model in resource.spec.models}
        if stage.kind is Kind.RESOLVE
        else {},
    )


def _winner(stage: Stage, results: Mapping[str, StageResult]) -> Output:
    """The last candidate that was trained: as if every training had helped."""
    maker = made_by(stage.candidates[-1])
    assert maker is not None, "an iteration trains something"
    return results[maker].outputs["model"]


def _rows(stage: Stage, table: str, resource: MoAA) -> int:
    if stage.kind is Kind.STAGE_DATA:
        limits = {name: source.limit for name, source in tables(resource)}
        return (limits[table] or ROWS) * (1 if table.startswith("eval-") else resource.spec.iterations)
    if stage.kind in (Kind.GENERATE, Kind.SAMPLE):
        return sum(part.limit or ROWS for part in slice_rows(resource, stage.kind, stage.iteration))
    return 0


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
