"""Students: the stages that made them, their names for readers, which one a promotion chose, and their scores."""

from typing import assert_never

from moaa.api.mixture import Mixture, MixtureMethod
from moaa.plan.ids import BASE_EVALUATE
from moaa.plan.stage import Kind
from moaa.plan.subjects import AGGREGATOR, BASE, MIXTURE, label_of
from moaa.rows import ScoreRow
from moaa.run.view import RunView, StageView

PROMOTE_SUFFIX = f"-{Kind.PROMOTE}"


def winner(view: RunView, promote: StageView) -> str | None:
    """The student that a finished promotion chose, as a declared name or `@<sft or dpo stage>`; None while it is open.

    The choice is read off the weights: the candidate whose model digest is the promotion's. Candidates that are equal
    to the byte are chosen by their order, the previous student first.
    """
    candidate = _choice(view, promote)
    return None if candidate is None else origin(view, candidate)


def _choice(view: RunView, promote: StageView) -> str | None:
    """The winner as the promotion names it; its document pins the weights of all candidates."""
    output = promote.manifest.outputs.get("model") if promote.manifest else None
    if promote.manifest is None or output is None:
        return None
    pinned = promote.manifest.document.get("candidates")
    digests = pinned if isinstance(pinned, dict) else {}
    for candidate in promote.stage.candidates:
        if (digests.get(candidate) or digest(view, candidate)) == output.digest:
            return candidate
    return None


def digest(view: RunView, student: str) -> str | None:
    """Digest of a student's weights; None until they are there."""
    if student.startswith("@"):
        made = view.of(student[1:])
        output = made.manifest.outputs.get("model") if made and made.manifest else None
        return output.digest if output else None
    for stage in view.stages:
        if stage.stage.kind is Kind.RESOLVE and stage.manifest:
            return stage.manifest.models.get(student)
    return None


def weights_of(view: RunView, student: str) -> str | None:
    """Folder of a trained student's weights in the store; None for declared ones, and until it is there."""
    made = view.of(student[1:]) if student.startswith("@") else None
    output = made.manifest.outputs.get("model") if made and made.manifest else None
    return output.uri if output else None


def origin(view: RunView, student: str) -> str | None:
    """A student named by a promotion as the stage that trained it; others are returned as they are."""
    while student.startswith("@") and student.endswith(PROMOTE_SUFFIX):
        promote = view.of(student[1:])
        chosen = winner(view, promote) if promote else None
        if chosen is None:
            return None
        student = chosen
    return student


def promotions(view: RunView) -> list[StageView]:
    """Promote stages that are done, in order."""
    return [s for s in view.stages if s.stage.kind is Kind.PROMOTE and s.manifest is not None]


def promoted(view: RunView) -> str:
    """The student that the last closed iteration left; the declared student before the first."""
    for stage in reversed(promotions(view)):
        chosen = winner(view, stage)
        if chosen is not None:
            return chosen
    return view.resource.spec.student


def student_label(student: str | None, start: str) -> str:
    """`@i2-sft` is "iteration 2 SFT", the declared student `llama` is "start (llama)"."""
    if student is None:
        return "an earlier student"
    if not student.startswith("@"):
        return f"start ({student})" if student == start else student
    iteration, _, kind = student[1:].partition("-")
    return f"iteration {iteration[1:]} {_kind_label(kind)}"


def _kind_label(kind: str) -> str:
    return kind.upper() if kind in (Kind.SFT, Kind.DPO) else kind


def model_label(view: RunView, stage: StageView, model: str) -> str:
    """The `model` of a score for readers."""
    spec = view.resource.spec
    if stage.stage.iteration > 0:
        return f"iteration {stage.stage.iteration} {_kind_label(model)}"
    if model == BASE:
        return student_label(spec.student, spec.student)
    if model == MIXTURE and spec.mixture is not None:
        return mixture_label(spec.mixture)
    if model == AGGREGATOR and spec.mixture is not None and spec.mixture.aggregator is not None:
        return f"{spec.mixture.aggregator.model} (aggregator)"
    return next((m.name for m in spec.models if label_of(m.name) == model), model)


def mixture_label(mixture: Mixture) -> str:
    """What teaches the student, for readers; the count is that of the proposers' answers."""
    number = sum(proposer.samples for proposer in mixture.proposers)
    match mixture.method:
        case MixtureMethod.MIXTURE:
            return "the mixture"
        case MixtureMethod.SINGLE:
            return f"{mixture.aggregator.model if mixture.aggregator else ''} (teacher)"
        case MixtureMethod.RANDOM:
            return f"random of {number}"
        case MixtureMethod.BEST_OF_N:
            return f"best of {number}"
        case MixtureMethod.COMBINED:
            return f"all of {number}"
        case _:
            assert_never(mixture.method)


def scores_of(view: RunView, student: str) -> list[ScoreRow]:
    """Rows of a trained student on every benchmark; empty when it was not measured, or not yet."""
    label = student.rpartition("-")[2]
    stages = [s for s in view.stages if s.stage.kind is Kind.EVALUATE and s.stage.student == student]
    return [r for s in stages for r in view.scores.get(s.stage.id, ()) if r["model"] == label]


def start_scores(view: RunView, label: str, *, iteration: int) -> list[ScoreRow]:
    """Rows of one label of iteration 0, such as `base`, that students of the iteration are compared with.

    An edit may have measured iteration 0 again since the iteration was closed; these rows are from before.
    Empty when it was not measured.
    """
    rows = view.starts.get(iteration, view.scores.get(BASE_EVALUATE, ()))
    return [r for r in rows if r["model"] == label]


def candidate_scores(view: RunView, promote: StageView, candidate: str) -> list[ScoreRow]:
    """Rows of one of a promotion's candidates, as the promotion read them."""
    while candidate.endswith(PROMOTE_SUFFIX):
        earlier = view.of(candidate[1:])
        chosen = _choice(view, earlier) if earlier else None
        if earlier is None or chosen is None:
            return []
        promote, candidate = earlier, chosen
    if candidate.startswith("@"):
        return scores_of(view, candidate)
    return start_scores(view, BASE, iteration=promote.stage.iteration)


def iteration_of(student: str) -> int:
    """The iteration that trained the student: `@i3-sft` gives 3, a declared student 0."""
    return int(student[2 : student.index("-")]) if student.startswith("@") else 0
