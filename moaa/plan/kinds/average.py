"""average: the mean of the weights before and after an iteration's training, a further candidate of its promotion."""

from moaa.api import MoAA
from moaa.api.base import decimal_text
from moaa.plan.digests import Document, Results, model_digest
from moaa.plan.kinds.kind import Alone, Group, Reads, StageKind, no_effort, no_rows
from moaa.plan.stage import Kind, Stage


def document(stage: Stage, resource: MoAA, results: Results) -> tuple[Document, Document]:
    share = resource.spec.training.average
    assert share is not None, "the graph has the stage only where there is a share"
    before, after = stage.candidates
    models: Document = {"before": model_digest(before, results), "after": model_digest(after, results)}
    return models, {"share": decimal_text(share)}


ROW = StageKind(
    kind=Kind.AVERAGE,
    revision=1,
    document=document,
    expected=no_rows,
    effort=no_effort,
    runs=Alone(),
    reads=frozenset({Reads.STUDENT}),
    outputs=("model",),
    is_quick=False,
    at_work="Averaging",
    group=Group.OTHER,
)
