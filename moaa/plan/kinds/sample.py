"""sample: several answers to each preference prompt, of the student or of the mixture."""

from collections.abc import Iterator
from typing import assert_never

from moaa.api import MoAA
from moaa.api.training import SamplesFrom, sampling_of
from moaa.asking.load import PROMPT_TOKENS, Load, written
from moaa.mixture.samples import mixture_samples
from moaa.plan.canonical import canonical
from moaa.plan.digests import Document, Results, mixture_document, models_document, prompts_document
from moaa.plan.kinds.kind import Asked, Counts, Group, Reads, Sharded, StageKind
from moaa.plan.kinds.sliced import expected_slice, slice_document, slice_length
from moaa.plan.stage import Kind, Stage
from moaa.plan.students import declared_dpo, mixture_method


def sample_tokens(stage: Stage, resource: MoAA) -> int:
    """Tokens of one sample, for the forecast."""
    dpo = declared_dpo(resource)
    match dpo.samples_from:
        case SamplesFrom.STUDENT:
            return written(dpo.max_tokens)
        case SamplesFrom.MIXTURE:
            return written(mixture_method(resource, stage).answer_tokens)
        case _:
            assert_never(dpo.samples_from)


def sample_count(stage: Stage, resource: MoAA) -> int:
    """Samples of one prompt."""
    dpo = declared_dpo(resource)
    match dpo.samples_from:
        case SamplesFrom.STUDENT:
            return dpo.samples
        case SamplesFrom.MIXTURE:
            return mixture_samples(mixture_method(resource, stage), dpo.samples)
        case _:
            assert_never(dpo.samples_from)


def document(stage: Stage, resource: MoAA, results: Results) -> tuple[Document, Document]:
    dpo = declared_dpo(resource)
    body: Document = {
        "samples": sample_count(stage, resource),
        "models": models_document(stage.serves, resource, results),
        "seed": resource.spec.seed,
    }
    match dpo.samples_from:
        case SamplesFrom.STUDENT:
            body["sampling"] = canonical(sampling_of(dpo))
        case SamplesFrom.MIXTURE:
            body["mixture"] = mixture_document(resource, stage)
            body["prompts"] = prompts_document(resource, mixture_method(resource, stage).prompts)
        case _:
            assert_never(dpo.samples_from)
    return slice_document(stage, resource, results), body


def expected(stage: Stage, resource: MoAA, counts: Counts) -> int | None:
    return expected_slice(Kind.SAMPLE, stage, resource, counts)


def effort(stage: Stage, resource: MoAA, counts: Counts) -> Asked:
    return Asked(tuple(_loads(stage, resource, expected(stage, resource, counts) or 0)))


def _loads(stage: Stage, resource: MoAA, rows: int) -> Iterator[Load]:
    dpo, samples = declared_dpo(resource), sample_count(stage, resource)
    match dpo.samples_from:
        case SamplesFrom.STUDENT:
            student = stage.student or resource.spec.student
            yield Load(student, rows * samples, PROMPT_TOKENS, sample_tokens(stage, resource))
        case SamplesFrom.MIXTURE:
            method = mixture_method(resource, stage)
            yield from method.loads(rows * samples // len(method.names))
        case _:
            assert_never(dpo.samples_from)


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
