"""The conditions of a run: observations, each with one word for programs and a sentence a person can act on. Pure.

| type | True | False | Unknown | absent |
|---|---|---|---|---|
| Accepted | the resource can be planned | it cannot; says why | – | never |
| StorageReady | preflight passed | it failed | it runs | nothing needs the store |
| ServersReady | all models that are asked answer | one does not; the scheduler's words | – | none is asked |
| Training | the RayJob runs | it should and does not | – | none is due |
| Suspended | spec.suspend | – | – | not suspended |
| Repeating | an edit makes stages run again; which and why | – | – | nothing is repeated |
| Stalled | something waits for a person | nothing does | – | never |
| Succeeded | every stage is done | a stage failed for good and nothing else can be done | not yet | never |

The reason of Succeeded is the column REASON: what is at work (`AT_WORK`), what is waited for (WaitingForServers,
GPUsUnavailable, NoMachine, Queued, Retrying, AskingTheStore), or what a person has to mend (as in Stalled). The phase
follows from it: Running while a stage is at work, else Waiting.

A condition that does not apply is absent rather than False, so that an old one never speaks for the present. The
transition time moves only when the status does.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

from moaa.api.attempts import StageAttempts, Step
from moaa.api.status import SUCCEEDED, Condition, Phase
from moaa.plan.stage import Kind
from moaa_operator.decide.attempts import NO_MACHINE
from moaa_operator.observe.pods import Problem
from moaa_operator.tell.progress import sentence, share
from moaa_operator.tell.run_state import View

ACCEPTED, STORAGE, SERVERS, TRAINING = "Accepted", "StorageReady", "ServersReady", "Training"
SUSPENDED, STALLED, REPEATING = "Suspended", "Stalled", "Repeating"
Status = Literal["True", "False", "Unknown"]
Said = tuple[str, Status, str, str]
"""Type, status, reason, message."""
MAX_MESSAGE = 4000


def conditions(view: View, before: Iterable[Condition]) -> list[Condition]:
    earlier = {condition.type: condition for condition in before}
    found: list[Condition] = []
    for kind, status, reason, message in _said(view):
        last = earlier.get(kind)
        kept = last is not None and last.status == status
        found.append(
            Condition(
                type=kind,
                status=status,
                reason=word(reason),
                message=message[:MAX_MESSAGE],
                observed_generation=view.generation,
                last_transition_time=last.last_transition_time if last is not None and kept else view.now,
            )
        )
    return found


def word(reason: str) -> str:
    """A reason as Kubernetes wants it: CamelCase, letters and digits."""
    kept = "".join(c for c in reason if c.isascii() and c.isalnum())[:64].lstrip("0123456789")
    return kept[:1].upper() + kept[1:] or "Unknown"


def _said(view: View) -> Iterator[Said]:
    if view.resource is None:
        yield ACCEPTED, "False", "Invalid", view.refusal
        yield STALLED, "True", "Invalid", "the resource is refused; edit it (condition Accepted says what is wrong)"
        yield SUCCEEDED, "Unknown", "Invalid", "what runs goes on, nothing new starts until the resource is mended"
        return
    yield ACCEPTED, "True", "Valid", ""
    if view.storage is not None:
        yield _storage(view)
    if view.are_servers_ready is not None:
        said = view.servers or Problem("Starting", "")
        yield (
            (SERVERS, "True", "Ready", "") if view.are_servers_ready else (SERVERS, "False", said.reason, said.message)
        )
    if view.is_training or view.training is not None:
        yield _training(view)
    if view.resource.spec.suspend:
        yield SUSPENDED, "True", "Suspended", "spec.suspend is true; nothing runs and no GPU is held"
    if view.repeating:
        yield REPEATING, "True", "Edited", "; ".join(f"{entry.stage}: {entry.why}" for entry in view.repeating)
    stalled = _stalled(view)
    calm = "Finished" if view.is_finished else "Suspended" if view.resource.spec.suspend else "Progressing"
    yield (STALLED, "True", *stalled) if stalled else (STALLED, "False", calm, "")
    yield _succeeded(view)


def _storage(view: View) -> Said:
    entry = view.storage
    assert entry is not None
    if entry.is_checked:
        return STORAGE, "True", "PreflightPassed", ""
    if entry.failures and entry.step is None:
        return STORAGE, "False", "PreflightFailed", entry.message
    return STORAGE, "Unknown", "Checking", entry.message


def _training(view: View) -> Said:
    if view.training is not None:
        return TRAINING, "False", view.training.reason, view.training.message
    return TRAINING, "True", "Running", ""


def _stalled(view: View) -> tuple[str, str] | None:
    """What nobody but a person will change, the most telling first."""
    if view.failed:
        stage, error = next(iter(view.failed.items()))
        entry = view.attempts.get(stage)
        why = "PermanentFailure" if entry is not None and entry.is_permanent else "RetriesExhausted"
        return why, f"{_of(stage, error)}. Then edit the resource: every edit allows all attempts again"
    if view.blocked:
        return view.blocked[0].reason, view.blocked[0].message
    return None


def _succeeded(view: View) -> Said:
    if view.is_finished:
        return SUCCEEDED, "True", "AllStagesDone", f"{len(view.graph.stages)} stages are done"
    if view.is_stuck:
        return SUCCEEDED, "False", "StageFailed", "; ".join(_of(stage, error) for stage, error in view.failed.items())
    if view.resource is not None and view.resource.spec.suspend:
        return SUCCEEDED, "Unknown", "Suspended", "spec.suspend is true"
    return SUCCEEDED, "Unknown", *_going_on(view)


def _of(stage: str, words: str) -> str:
    """Words about a stage; a job's own begin with its name."""
    return words if words.startswith(f"{stage}:") else f"{stage}: {words}"


AT_WORK: Mapping[Kind, str] = {
    Kind.RESOLVE: "Resolving", Kind.STAGE_DATA: "StagingData", Kind.GENERATE: "Generating", Kind.SFT: "TrainingSFT",
    Kind.SAMPLE: "Sampling", Kind.JUDGE: "Judging", Kind.DPO: "TrainingDPO", Kind.EVALUATE: "Evaluating",
    Kind.PROMOTE: "Promoting",
}  # fmt: skip
"""Reasons of a run in which a stage of this kind is at work."""
FINALISING = "Finalising"


def _going_on(view: View) -> tuple[str, str]:
    """The word and the sentence for what the run does now, or waits for; what a person can change comes first."""
    if view.blocked:
        return view.blocked[0].reason, view.blocked[0].message
    running = [entry for entry in view.attempts.values() if entry.step is not None and entry.stage in view.graph.stages]
    at_work = [e for e in running if e.step is not Step.SERVERS and e.stage not in view.hindered]
    if at_work:
        first = at_work[0]
        kind = view.graph.stages[first.stage].kind
        return FINALISING if first.step is Step.FINALISE else AT_WORK[kind], "; ".join(_doing(view, e) for e in running)
    if view.hindered:
        stage, problem = next(iter(view.hindered.items()))
        return problem.reason, _of(stage, problem.message)
    if view.servers is not None and view.are_servers_ready is False:
        reason = view.servers.reason
        return "WaitingForServers" if reason == "Starting" else reason, view.servers.message
    return _between(view)


def _between(view: View) -> tuple[str, str]:
    """No stage is under way."""
    checks = [entry.stage for entry in view.attempts.values() if entry.step is not None]
    if checks:
        return "AskingTheStore", f"a Job in the run's namespace asks the store: {', '.join(checks)}"
    later = [entry for entry in view.attempts.values() if entry.retry_after and entry.retry_after > view.now]
    if later:
        soonest = min(later, key=lambda entry: entry.retry_after or view.now)
        reason = soonest.reason if soonest.reason == NO_MACHINE else "Retrying"
        return reason, f"{soonest.stage} {view.waiting.get(soonest.stage, soonest.message)}"
    return "Waiting", "; ".join([f"{stage}: {why}" for stage, why in view.waiting.items()][:3])


def _doing(view: View, entry: StageAttempts) -> str:
    progress = view.progress.get(entry.stage)
    doing = {Step.SERVERS: "waits for its servers", Step.FINALISE: "its manifest is being written"}
    if entry.stage in view.hindered:
        words = view.hindered[entry.stage].message
    elif entry.step in doing:
        words = doing[entry.step]
    else:
        words = "at work"
        if progress is not None:  # of stages beside the one in the status only what seldom changes
            words = sentence(progress) if entry.stage == view.stage else share(progress) or words
    return f"{entry.stage} attempt {entry.attempt}: {words}"


def phase(found: Iterable[Condition], *, has_begun: bool) -> Phase:
    """For display; derived from the conditions alone, but for whether anything was ever started."""
    by_type = {condition.type: condition for condition in found}
    succeeded = by_type.get(SUCCEEDED)
    if succeeded is not None and succeeded.status == "True":
        return Phase.SUCCEEDED
    if SUSPENDED in by_type:
        return Phase.SUSPENDED
    if succeeded is not None and succeeded.status == "False":
        return Phase.FAILED
    if not has_begun:
        return Phase.PENDING
    at_work = {*AT_WORK.values(), FINALISING}
    return Phase.RUNNING if succeeded is not None and succeeded.reason in at_work else Phase.WAITING
