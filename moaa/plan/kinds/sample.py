"""sample: several answers of the student to each preference prompt."""

from moaa.api import MoAA
from moaa.api.training import Dpo, sampling_of
from moaa.asking.load import PROMPT_TOKENS, Load, written
from moaa.plan.canonical import canonical
from moaa.plan.digests import Document, Results, models_document
from moaa.plan.kinds.kind import Asked, Counts, Group, Reads, Sharded, StageKind
from moaa.plan.kinds.sliced import expected_slice, slice_document, slice_length
from moaa.plan.stage import Kind, Stage


def declared_dpo(resource: MoAA) -> Dpo:
    """Raises ValueError: the resource has none (one whose graph has stages of DPO does)."""
    dpo = resource.spec.training.dpo
    if dpo is None:
        raise ValueError("spec.training.dpo: sample belongs to dpo and there is none")
    return dpo


def sample_tokens(resource: MoAA) -> int:
    """Tokens of one sample, for the forecast."""
    return written(declared_dpo(resource).max_tokens)


def document(stage: Stage, resource: MoAA, results: Results) -> tuple[Document, Document]:
    dpo = declared_dpo(resource)
    body: Document = {
        "samples": dpo.samples,
        "sampling": canonical(sampling_of(dpo)),
        "models": models_document(stage.serves, resource, results),
        "seed": resource.spec.seed,
    }
    return slice_document(stage, resource, results), body


def expected(stage: Stage, resource: MoAA, counts: Counts) -> int | None:
    return expected_slice(Kind.SAMPLE, stage, resource, counts)


def effort(stage: Stage, resource: MoAA, counts: Counts) -> Asked:
    rows = expected(stage, resource, counts) or 0
    calls = rows * declared_dpo(resource).samples
    return Asked((Load(stage.student or resource.spec.student, calls, PROMPT_TOKENS, sample_tokens(resource)),))


ROW = StageKind(
    kind=Kind.SAMPLE,
    revision=2,  # calls are sampled as declared, without what the model's generation_config.json says
    document=document,
    expected=expected,
    effort=effort,
    runs=Sharded(rows_per_shard=256, rows=slice_length),
    reads=frozenset({Reads.HUB_MODELS, Reads.ENDPOINTS}),
    outputs=("samples",),
    is_quick=False,
    at_work="Sampling",
    group=Group.SAMPLE,
)
