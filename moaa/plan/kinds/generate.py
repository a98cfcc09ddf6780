"""generate: SFT prompts answered by the mixture; answers that the data give pass through."""

from collections.abc import Iterator
from typing import assert_never

from moaa.api import MoAA
from moaa.api.data import Answers
from moaa.plan.digests import Document, Results, mixture_document, models_document, output_rows, prompts_document
from moaa.plan.graph import uses_mixture
from moaa.plan.ids import STAGE_DATA
from moaa.plan.kinds.kind import Asked, Counts, Group, Reads, Sharded, StageKind
from moaa.plan.kinds.sliced import slice_document, taken, total, with_turns
from moaa.plan.slices import rows_taken, slice_rows
from moaa.plan.stage import Kind, Stage
from moaa.plan.students import mixture_method

WROTE = "wrote."
"""Before a model's name: the metric of generate's manifest that counts the assistant turns it wrote."""


def document(stage: Stage, resource: MoAA, results: Results) -> tuple[Document, Document]:
    spec = resource.spec
    body: Document = {"answers": [str(source.answers) for source in spec.data.sft]}
    if uses_mixture(spec):
        body |= {
            "mixture": mixture_document(resource, stage),
            "prompts": prompts_document(resource, mixture_method(resource, stage).prompts),
            "models": models_document(stage.serves, resource, results),
            "seed": spec.seed,
        }
    return slice_document(stage, resource, results), body


def expected(stage: Stage, resource: MoAA, counts: Counts) -> int | None:
    """Rows that it writes."""
    parts = zip(resource.spec.data.sft, slice_rows(resource, Kind.GENERATE, stage.iteration), strict=True)
    return total(
        None if (rows := taken(part, counts)) is None else rows * answers_to(source.answers, stage, resource)
        for source, part in parts
    )


def answers_to(answers: Answers, stage: Stage, resource: MoAA) -> int:
    """Rows that one prompt of a source becomes."""
    match answers:
        case Answers.GIVEN:
            return 1
        case Answers.MIXTURE:
            return len(mixture_method(resource, stage).names)
        case _:
            assert_never(answers)


def rows(stage: Stage, resource: MoAA, results: Results) -> int:
    """Raises StageError: a table is not staged."""
    parts = zip(resource.spec.data.sft, slice_rows(resource, Kind.GENERATE, stage.iteration), strict=True)
    return sum(
        rows_taken(part, output_rows(results, STAGE_DATA, part.table)) * answers_to(source.answers, stage, resource)
        for source, part in parts
    )


def effort(stage: Stage, resource: MoAA, counts: Counts) -> Asked:
    asked = [turns for answers, turns in user_turns(stage, resource, counts) if answers is Answers.MIXTURE]
    return Asked(tuple(mixture_method(resource, stage).loads(sum(asked))) if asked else ())


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
    runs=Sharded(rows_per_shard=512, rows=rows),
    reads=frozenset({Reads.HUB_MODELS, Reads.ENDPOINTS}),
    outputs=("conversations",),
    is_quick=False,
    at_work="Generating",
    group=Group.GENERATE,
)
