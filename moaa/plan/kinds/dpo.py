"""dpo: the student learns to prefer the best of several answers over the worst."""

from decimal import Decimal

from moaa.api import MoAA
from moaa.asking.load import PROMPT_TOKENS
from moaa.plan.canonical import canonical
from moaa.plan.digests import Document, Results, looks, model_digest, output_digest, taught
from moaa.plan.ids import stage_id
from moaa.plan.kinds import sample
from moaa.plan.kinds.kind import Counts, Group, OnRay, Reads, StageKind, Trained
from moaa.plan.stage import Kind, Stage
from moaa.plan.students import declared_dpo

USABLE_PAIRS = Decimal("0.9")
"""Part of the prompts whose best and worst answers differ (ours)."""
TOKENS_PER_S = 3000
"""Of chosen and rejected together (open-instruct: 2.0 to 5.3k on H100)."""


def document(stage: Stage, resource: MoAA, results: Results) -> tuple[Document, Document]:
    inputs: Document = {"pairs": output_digest(results, stage_id(stage.iteration, Kind.JUDGE), "pairs")}
    body: Document = {
        "student": model_digest(stage.student or "", results),
        "refModel": model_digest(stage.ref_model or "", results),
        "training": canonical(declared_dpo(resource)),
        "seed": resource.spec.seed,
        **looks(declared_dpo(resource)),
        **taught(resource),
    }
    return inputs, body


def expected(stage: Stage, resource: MoAA, counts: Counts) -> int | None:
    prompts = sample.expected(stage, resource, counts)
    return None if prompts is None else int(prompts * USABLE_PAIRS)


def effort(stage: Stage, resource: MoAA, counts: Counts) -> Trained:
    rows = expected(stage, resource, counts) or 0
    tokens = int(rows * declared_dpo(resource).epochs * 2 * (PROMPT_TOKENS + sample.sample_tokens(stage, resource)))
    return Trained(tokens, TOKENS_PER_S)


ROW = StageKind(
    kind=Kind.DPO,
    revision=2,  # answers are trained as they are served, without thoughts or stray control tokens
    document=document,
    expected=expected,
    effort=effort,
    runs=OnRay(),
    reads=frozenset({Reads.STUDENT}),
    outputs=("model", "curve"),
    is_quick=False,
    at_work="TrainingDPO",
    group=Group.DPO,
)
