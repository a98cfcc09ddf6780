"""generate: SFT prompts answered by the mixture; answers that the data give pass through."""

from moaa.api import MoAA
from moaa.api.data import Answers
from moaa.mixture.asks import MIXTURE_PROMPTS, mixture_loads
from moaa.plan.canonical import canonical
from moaa.plan.digests import Document, Results, models_document, prompts_document
from moaa.plan.graph import uses_mixture
from moaa.plan.kinds.kind import Asked, Counts, Group, Reads, Sharded, StageKind
from moaa.plan.kinds.sliced import expected_slice, slice_document, slice_length, taken
from moaa.plan.slices import slice_rows
from moaa.plan.stage import Kind, Stage
from moaa.plan.students import resolved_mixture

USER_TURNS = 1
"""UltraFeedback; a multi-turn source costs a mixture pass a turn."""


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
    parts = zip(resource.spec.data.sft, slice_rows(resource, Kind.GENERATE, stage.iteration), strict=True)
    asked = [part for source, part in parts if source.answers is Answers.MIXTURE]
    prompts = sum(taken(part, counts) or 0 for part in asked)
    return Asked(tuple(mixture_loads(resolved_mixture(resource, stage), prompts * USER_TURNS)) if asked else ())


ROW = StageKind(
    kind=Kind.GENERATE,
    revision=3,  # rows name the proposals that failed
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
