"""anchors: every judge decides pairs whose better answer is known, before anything rests on it."""

from moaa.anchors.own import own_digest, own_pairs
from moaa.anchors.pairs import most_pairs
from moaa.api import MoAA
from moaa.api.anchors import Anchors
from moaa.asking.load import ANSWER_TOKENS
from moaa.plan.canonical import canonical
from moaa.plan.digests import (
    Document,
    Results,
    judge_document,
    models_document,
    output_digest,
    prompts_document,
)
from moaa.plan.graph import anchored_judges
from moaa.plan.ids import STAGE_DATA
from moaa.plan.kinds.kind import Alone, Asked, Counts, Group, Reads, StageKind
from moaa.plan.slices import ANCHORED
from moaa.plan.stage import Kind, Stage


def declared(resource: MoAA) -> Anchors:
    """Raises ValueError: the resource has no anchors, and so no such stage."""
    if resource.spec.anchors is None:
        raise ValueError("spec.anchors: stage anchors needs it and there is none; declare it")
    return resource.spec.anchors


def document(stage: Stage, resource: MoAA, results: Results) -> tuple[Document, Document]:
    """The floors count: a stage that failed under one is tried again under another, from its ledger."""
    said, judges = declared(resource), anchored_judges(resource)
    inputs: Document = {"pairs": own_digest() if said.source is None else output_digest(results, STAGE_DATA, ANCHORED)}
    floors = {name: value for name, value in canonical(said).items() if name != "source"}
    body: Document = {
        "judges": {one.name: one.manner | judge_document(one.judge, resource, stage) for one in judges},
        "floors": floors,
        "prompts": prompts_document(resource, sorted({name for one in judges for name in one.prompts})),
        "models": models_document(stage.serves, resource, results),
        "seed": resource.spec.seed,
    }
    return inputs, body


def expected(_stage: Stage, resource: MoAA, counts: Counts) -> int | None:
    """Pairs at most; None while the rows of a source are not known."""
    source = declared(resource).source
    if source is None:
        return most_pairs(len(own_pairs()))
    labelled = counts.get(ANCHORED, source.limit)
    return None if labelled is None else most_pairs(labelled)


def effort(stage: Stage, resource: MoAA, counts: Counts) -> Asked:
    pairs = expected(stage, resource, counts) or 0
    return Asked(
        tuple(load for one in anchored_judges(resource) for load in one.loads(pairs, answer_tokens=ANSWER_TOKENS))
    )


ROW = StageKind(
    kind=Kind.ANCHORS,
    revision=1,
    document=document,
    expected=expected,
    effort=effort,
    runs=Alone(),
    reads=frozenset({Reads.HUB_MODELS, Reads.ENDPOINTS}),
    outputs=("verdicts", "judgements"),
    is_quick=False,
    at_work="MeasuringJudges",
    group=Group.JUDGE,
)
