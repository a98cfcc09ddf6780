"""resolve: revisions and digests of models and data sources."""

from moaa.api import MoAA
from moaa.plan.digests import Document, Results
from moaa.plan.kinds.kind import Alone, Group, Reads, StageKind, no_effort, no_rows
from moaa.plan.slices import pinned_sources
from moaa.plan.stage import Kind, Stage


def document(_stage: Stage, resource: MoAA, _results: Results) -> tuple[Document, Document]:
    models = {
        model.name: {"endpoint": model.endpoint.url, "model": model.endpoint.model}
        if model.endpoint
        else {"source": model.source, "revision": model.revision}
        for model in resource.spec.models
    }
    data = {
        table: {"source": source.source, "split": source.split, "revision": source.revision}
        for table, source in pinned_sources(resource)
    }
    return {}, {"models": models, "data": data}


ROW = StageKind(
    kind=Kind.RESOLVE,
    revision=2,  # 2: `split` decides which files of a folder are pinned
    document=document,
    expected=no_rows,
    effort=no_effort,
    runs=Alone(),
    reads=frozenset({Reads.HUB_MODELS, Reads.DATA}),
    outputs=(),
    is_quick=True,
    at_work="Resolving",
    group=Group.OTHER,
)
