"""Everything the operator would create for a resource, as YAML, without a cluster: for review and for GitOps.

What only a run can know (digests of data and weights, the resource's UID) is made up, so names and fingerprints are
placeholders; everything else is exact. Iteration 1 stands for all later ones.
"""

import hashlib
from collections.abc import Iterator, Mapping

import yaml

from moaa.api import MoAA
from moaa.contract.checks import check_job
from moaa.contract.job import stage_job
from moaa.errors import ResourceError
from moaa.plan.fingerprint import identify
from moaa.plan.graph import build
from moaa.plan.ids import made_by
from moaa.plan.kinds.table import KINDS, TRAINING, shards_of
from moaa.plan.result import Identity, Output, StageResult
from moaa.plan.slices import pinned_sources, slice_rows, tables
from moaa.plan.stage import Kind, Stage
from moaa.weights.served import servers_of
from moaa_operator.kube.objects import Manifest
from moaa_operator.kube.owner import Owner, Role
from moaa_operator.render import Rendered, bind
from moaa_operator.settings import Settings

UID = "00000000-0000-0000-0000-000000000000"
ROWS = 1000
"""Of a table without a limit."""


def preview(resource: MoAA, settings: Settings) -> Iterator[str]:
    """YAML documents in the order in which the operator makes them, each group under a comment.

    Raises:
        ResourceError: a template or a source that Kubernetes cannot carry out.
    """
    owner = Owner(resource.metadata.name, resource.metadata.namespace, UID)
    render = bind(resource, owner, settings)
    problems = render.refusals()
    if problems:
        raise ResourceError(f"MoAA {owner.namespace}/{owner.name}", problems)
    yield (
        f"# What the operator creates for MoAA {owner.namespace}/{owner.name}. UID, digests and what rests on them\n"
        "# (names' endings, fingerprints, numbers of shards without a limit) are placeholders.\n"
    )
    question = check_job(resource, {}, run=owner.run)
    yield from _documents(
        "before anything else: is the store sound?",
        render.check(question, Role.PREFLIGHT, attempt=1),
    )
    graph, results, shown = build(resource), dict[str, StageResult](), set[str]()
    for stage in graph.stages.values():
        if stage.iteration > 1:
            yield f"# iterations 2 to {resource.spec.iterations} are like iteration 1\n"
            return
        identity = identify(stage, resource, results)
        assert identity is not None, "stages come after those they need"
        yield from _stage(render, identity, results, shown)
        results[stage.id] = _made_up(identity, resource, results)


def _stage(render: Rendered, identity: Identity, results: Mapping[str, StageResult], shown: set[str]) -> Iterator[str]:
    """`shown` grows by the names of servers printed."""
    stage, resource = identity.stage, render.context.resource
    served = servers_of(stage.serves, resource, results)
    fresh = [server for server in served.values() if server.name not in shown]
    for server in fresh:
        shown.add(server.name)
        yield from _documents(f"{stage.id}: the server of {server.name}", render.servers([server]))
    job = stage_job(
        identity,
        resource,
        results,
        run=render.context.owner.run,
        endpoints={name: [render.server_url(server)] for name, server in served.items()},
        served_names={name: server.served_name for name, server in served.items()},
    )
    shards = shards_of(stage, resource, results)
    asks = f", asks {', '.join(stage.serves)}" if stage.serves else ""
    yield from _documents(
        f"{stage.id}: after {', '.join(stage.after) or 'nothing'}{asks}",
        render.stage(job, attempt=1, shards=shards),
    )
    if shards is not None or stage.kind in TRAINING:
        yield from _documents(f"{stage.id}: then its manifest", render.finalise(job, attempt=1))


def _documents(comment: str, manifests: list[Manifest]) -> Iterator[str]:
    """The comment stands above the first."""
    for i, manifest in enumerate(manifests):
        text = yaml.dump(manifest, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=120)
        yield f"---\n# {comment}\n{text}" if i == 0 else f"---\n{text}"


class _Plain(yaml.SafeDumper):
    """Without anchors: a value that stands in two places is written twice."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002  the base class asks
        return True


def _made_up(identity: Identity, resource: MoAA, results: Mapping[str, StageResult]) -> StageResult:
    """A result of the right shape: names and rows as declared, digests of nothing."""
    stage = identity.stage
    outputs = {
        name: Output(
            digest=_digest(f"{stage.id}/{name}"),
            rows=rows,
            uri=f"{identity.path}/out/1/{name}" if name == "model" else None,
        )
        for name, rows in _tables(stage, resource).items()
    }
    if stage.kind is Kind.PROMOTE:
        outputs["model"] = _winner(stage, results)
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


def _tables(stage: Stage, resource: MoAA) -> dict[str, int]:
    """Rows of what a stage leaves, by name; 0 where no later stage counts them."""
    if named := KINDS[stage.kind].outputs:
        sliced = slice_rows(resource, stage.kind, stage.iteration) if stage.kind in (Kind.GENERATE, Kind.SAMPLE) else ()
        return dict.fromkeys(named, sum(part.limit or ROWS for part in sliced))
    # Outputs that depend on the resource: resolve's and stage-data's, a table for each source.
    if stage.kind is Kind.STAGE_DATA:
        return {name: _staged(name, source.limit or ROWS, resource) for name, source in tables(resource)}
    return {name: 0 for name, _ in pinned_sources(resource)}


def _staged(table: str, rows: int, resource: MoAA) -> int:
    """Each iteration takes rows of its own; benchmarks are asked whole in each."""
    return rows * (1 if table.startswith("eval-") else resource.spec.iterations)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
