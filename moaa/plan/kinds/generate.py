"""generate: SFT prompts answered by the mixture; answers that the data give pass through."""

from collections.abc import Iterator

from moaa.api import MoAA
from moaa.api.data import Answers
from moaa.mixture.asks import MIXTURE_PROMPTS, mixture_loads
from moaa.plan.canonical import canonical
from moaa.plan.digests import Document, Results, models_document, prompts_document
from moaa.plan.graph import uses_mixture
from moaa.plan.kinds.kind import Asked, Counts, Group, Reads, Sharded, StageKind
from moaa.plan.kinds.sliced import expected_slice, slice_document, slice_length, taken, with_turns
from moaa.plan.slices import slice_rows
from moaa.plan.stage import Kind, Stage
from moaa.plan.students import resolved_mixture


def document(stage: Stage, resource: MoAA, results: Results) -> tuple[Document, Document]:
    spec = resource.spec
    body: Document = {"answers": [str(source.answers) for source in spec.data.sft]}
    if uses_mixture(spec):
        body |= {
            "mixture": canonical(resolved_mixture(resource, stage)),
            "prompts": prompts_document(resource, MIXTURE_PROMPTS),
            "models": models_document(stage.serves, resource, results),
            "seed": spec.seed,
        }
    return slice_document(stage, resource, results), body


def expected(stage: Stage, resource: MoAA, counts: Counts) -> int | None:
    return expected_slice(Kind.GENERATE, stage, resource, counts)


def effort(stage: Stage, resource: MoAA, counts: Counts) -> Asked:
    asked = [turns for answers, turns in user_turns(stage, resource, counts) if answers is Answers.MIXTURE]
    return Asked(tuple(mixture_loads(resolved_mixture(resource, stage), sum(asked))) if asked else ())


def user_turns(stage: Stage, resource: MoAA, counts: Counts) -> Iterator[tuple[Answers, int]]:
    """By source, who answers and how many user turns the iteration takes of it; a source of unknown length has none."""
    parts = slice_rows(resource, Kind.GENERATE, stage.iteration)
    for source, part in zip(resource.spec.data.sft, parts, strict=True):
        yield source.answers, with_turns(taken(part, counts) or 0, part.table, counts)


ROW = StageKind(
    kind=Kind.GENERATE,
    revision=4,  # an answer that copies the lines around drafts fails
    document=document,
    expected=expected,
    effort=effort,
    runs=Sharded(rows_per_shard=512, rows=slice_length),
    reads=frozenset({Reads.HUB_MODELS, Reads.ENDPOINTS}),
    outputs=("conversations",),
    is_quick=False,
    at_work="Generating",
    group=Group.GENERATE,
)
