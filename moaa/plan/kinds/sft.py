"""sft: the student fine-tuned on the mixture's answers."""

from typing import assert_never

from moaa.api import MoAA
from moaa.api.data import Answers
from moaa.api.training import Sft
from moaa.asking.load import ANSWER_TOKENS, PROMPT_TOKENS, written
from moaa.plan.canonical import canonical
from moaa.plan.digests import Document, Results, looks, model_digest, output_digest, taught
from moaa.plan.ids import stage_id
from moaa.plan.kinds import generate
from moaa.plan.kinds.kind import Counts, Group, OnRay, Reads, StageKind, Trained
from moaa.plan.stage import Kind, Stage
from moaa.plan.students import mixture_method

TOKENS_PER_S = 6000
"""A GPU, 8B, packed BF16 (torchtitan's 5.8 to 6.7k on H100); other sizes in proportion."""


def declared_sft(resource: MoAA) -> Sft:
    """Raises ValueError: spec.training.sft is absent."""
    if resource.spec.training.sft is None:
        raise ValueError("spec.training.sft: the stage belongs to it and it is absent")
    return resource.spec.training.sft


def document(stage: Stage, resource: MoAA, results: Results) -> tuple[Document, Document]:
    sft = declared_sft(resource)
    inputs: Document = {
        "conversations": output_digest(results, stage_id(stage.iteration, Kind.GENERATE), "conversations")
    }
    body: Document = {
        "student": model_digest(stage.student or "", results),
        "training": canonical(sft),
        "seed": resource.spec.seed,
        **looks(sft),
        **taught(resource),
    }
    return inputs, body


def effort(stage: Stage, resource: MoAA, counts: Counts) -> Trained:
    tokens = 0
    for answers, turns in generate.user_turns(stage, resource, counts):
        taught = turns * generate.answers_to(answers, stage, resource)
        tokens += taught * (PROMPT_TOKENS + _answer_tokens(answers, stage, resource))
    return Trained(int(tokens * declared_sft(resource).epochs), TOKENS_PER_S)


def _answer_tokens(answers: Answers, stage: Stage, resource: MoAA) -> int:
    """Of one turn; how long answers are that the data give is not known."""
    match answers:
        case Answers.GIVEN:
            return ANSWER_TOKENS
        case Answers.MIXTURE:
            return written(mixture_method(resource, stage).answer_tokens)
        case _:
            assert_never(answers)


ROW = StageKind(
    kind=Kind.SFT,
    revision=2,  # answers are trained as they are served, without thoughts or stray control tokens
    document=document,
    expected=generate.expected,
    effort=effort,
    runs=OnRay(),
    reads=frozenset({Reads.STUDENT}),
    outputs=("model", "curve"),
    is_quick=False,
    at_work="TrainingSFT",
    group=Group.SFT,
)
