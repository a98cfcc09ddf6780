"""promote: the gate decides which student goes on; that closes the iteration."""

from moaa.api import MoAA
from moaa.api.base import decimal_text
from moaa.plan.canonical import canonical
from moaa.plan.digests import Document, Results, model_digest, output_rows
from moaa.plan.evidence import trial_of
from moaa.plan.ids import STAGE_DATA
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
        "confidence": decimal_text(evaluation.confidence),
        "iterations": resource.spec.iterations,
        "seed": resource.spec.seed,
    }
    sizes = {b.name: output_rows(results, STAGE_DATA, f"eval-{b.name}") for b in evaluation.selection}
    trial = trial_of(resource.spec, stage.iteration, sizes)
    if dealt := {name: shares for name, shares in trial.shares.items() if shares > 1}:
        body["share"] = {"of": dealt, "iteration": stage.iteration}
    return inputs, body


ROW = StageKind(
    kind=Kind.PROMOTE,
    revision=4,  # bounds share one error rate over the run; what forgets is not promoted; shares of questions
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
