"""promote: the gate decides which student goes on; that closes the iteration."""

from moaa.api import MoAA
from moaa.api.base import decimal_text
from moaa.plan.canonical import canonical
from moaa.plan.digests import Document, Results, model_digest
from moaa.plan.kinds.kind import Alone, Group, StageKind, no_effort, no_rows
from moaa.plan.stage import Kind, Stage


def document(stage: Stage, resource: MoAA, results: Results) -> tuple[Document, Document]:
    evaluation = resource.spec.evaluation
    body: Document = {"candidates": {name: model_digest(name, results) for name in stage.candidates}}
    if not evaluation.selection:
        return {}, body
    # A promotion from before there were selection benchmarks has no scores.
    inputs: Document = {
        need: results[need].outputs["scores"].digest for need in stage.needs if "scores" in results[need].outputs
    }
    body |= {
        "selection": [benchmark.name for benchmark in evaluation.selection],
        "gate": canonical(evaluation.gate),
        "bootstrap": evaluation.bootstrap,
        "confidence": decimal_text(evaluation.confidence),
        "seed": resource.spec.seed,
    }
    return inputs, body


ROW = StageKind(
    kind=Kind.PROMOTE,
    revision=4,  # the lower of the raw gain and that at equal length
    document=document,
    expected=no_rows,
    effort=no_effort,
    runs=Alone(),
    reads=frozenset(),
    outputs=("model", "scores"),
    is_quick=True,
    at_work="Promoting",
    group=Group.OTHER,
)
