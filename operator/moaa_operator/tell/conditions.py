"""The conditions of a run: observations, each with one word for programs and a sentence to act on. Pure.

| type | True | False | Unknown | absent |
|---|---|---|---|---|
| Accepted | the resource can be planned | it cannot; says why | – | never |
| StorageReady | preflight passed | it failed | it runs | nothing needs the store |
| ServersReady | all models that are asked answer | one does not; the scheduler's words | – | none is asked |
| Training | the RayJob runs | it should and does not | – | none is due |
| Suspended | spec.suspend | – | – | not suspended |
| Repeating | an edit makes stages run again; which and why | – | – | nothing is repeated |
| BudgetExhausted | a limit of spec.budget holds stages; which, what is spent, what is left | – | – | none does |
| Stalled | something waits for a person | nothing does | – | never |
| Succeeded | every stage is done | a stage failed for good and nothing else can be done | not yet | never |

The reason of Succeeded is the column REASON: what is at work (`StageKind.at_work`), what is waited for
(WaitingForServers, GPUsUnavailable, NoMachine, Queued, Preempted, Retrying, AnotherRun, AskingTheStore), or what a
person has to mend (as in Stalled). The phase follows from it: Running while a stage is at work, else Waiting.

A condition that does not apply is absent rather than False, so that an old one never speaks for the present. The
transition time moves only when the status does.
"""

from collections.abc import Iterable, Iterator
from typing import Literal, assert_never

from moaa.api.attempts import StageAttempts, Step
from moaa.api.status import SUCCEEDED, Condition, Phase
from moaa.plan.kinds.table import KINDS
from moaa_operator.kube.kueue import PREEMPTED
from moaa_operator.kube.objects import Problem
from moaa_operator.tell.progress import sentence, share
from moaa_operator.tell.run_state import RunState

ACCEPTED, STORAGE, SERVERS, TRAINING = "Accepted", "StorageReady", "ServersReady", "Training"
SUSPENDED, STALLED, REPEATING = "Suspended", "Stalled", "Repeating"
BUDGET_EXHAUSTED = "BudgetExhausted"
"""A condition, and the reason of Stalled and Succeeded when nothing else can run."""
Status = Literal["True", "False", "Unknown"]
Said = tuple[str, Status, str, str]
"""Type, status, reason, message."""
MAX_MESSAGE = 4000
ANOTHER_RUN = "AnotherRun"
"""The reason of stages that another run of equal inputs works on."""
NO_MACHINE = "NoMachine"
"""The reason of attempts that found too few machines and gave back those they had."""


def conditions(state: RunState, before: Iterable[Condition]) -> list[Condition]:
    earlier = {condition.type: condition for condition in before}
    found: list[Condition] = []
    for kind, status, reason, message in _said(state):
        last = earlier.get(kind)
        kept = last is not None and last.status == status
        found.append(
            Condition(
                type=kind,
                status=status,
                reason=word(reason),
                message=message[:MAX_MESSAGE],
                observed_generation=state.generation,
                last_transition_time=last.last_transition_time if last is not None and kept else state.now,
            )
        )
    return found


def word(reason: str) -> str:
    """A reason as Kubernetes wants it: CamelCase, letters and digits."""
    kept = "".join(c for c in reason if c.isascii() and c.isalnum())[:64].lstrip("0123456789")
    return kept[:1].upper() + kept[1:] or "Unknown"


def _said(state: RunState) -> Iterator[Said]:
    if state.resource is None:
        yield ACCEPTED, "False", "Invalid", state.refusal
        yield STALLED, "True", "Invalid", "the resource is refused; edit it (condition Accepted says what is wrong)"
        yield SUCCEEDED, "Unknown", "Invalid", "what runs goes on, nothing new starts until the resource is mended"
        return
    yield ACCEPTED, "True", "Valid", ""
    if state.storage is not None:
        yield _storage(state)
    if state.servers is not None:
        yield _needed(SERVERS, state.servers.problem, "Ready")
    if state.training is not None:
        yield _needed(TRAINING, state.training.problem, "Running")
    if state.resource.spec.suspend:
        yield SUSPENDED, "True", "Suspended", "spec.suspend is true; nothing runs and no GPU is held"
    if state.repeating:
        yield REPEATING, "True", "Edited", "; ".join(f"{entry.stage}: {entry.why}" for entry in state.repeating)
    if state.over_budget:
        yield BUDGET_EXHAUSTED, "True", "LimitReached", state.over_budget
    stalled = _stalled(state)
    calm = "Finished" if state.decision.is_finished else "Suspended" if state.resource.spec.suspend else "Progressing"
    yield (STALLED, "True", *stalled) if stalled else (STALLED, "False", calm, "")
    yield _succeeded(state)


def _storage(state: RunState) -> Said:
    entry = state.storage
    assert entry is not None
    if entry.is_checked:
        return STORAGE, "True", "PreflightPassed", ""
    if entry.failures and entry.step is None:
        return STORAGE, "False", "PreflightFailed", entry.message
    waits = state.hindered.get(entry.stage)
    if waits is not None:
        return STORAGE, "Unknown", waits.reason, waits.message
    return STORAGE, "Unknown", "Checking", entry.message


def _needed(kind: str, problem: Problem | None, reason: str) -> Said:
    """Of something that should run; `reason` where it does."""
    return (kind, "True", reason, "") if problem is None else (kind, "False", problem.reason, problem.message)


def _stalled(state: RunState) -> tuple[str, str] | None:
    """What only a person can change, the most important first."""
    if state.decision.failed:
        stage, error = next(iter(state.decision.failed.items()))
        entry = state.attempts.get(stage)
        why = "PermanentFailure" if entry is not None and entry.is_permanent else "RetriesExhausted"
        return why, f"{_of(stage, error)}. Then edit the resource: every edit allows all attempts again"
    if state.decision.is_out_of_budget:
        return BUDGET_EXHAUSTED, state.over_budget
    if state.blocked:
        return state.blocked[0].reason, state.blocked[0].message
    return None


def _succeeded(state: RunState) -> Said:
    if state.decision.is_finished:
        return SUCCEEDED, "True", "AllStagesDone", f"{len(state.held.graph.stages)} stages are done"
    if state.decision.is_stuck:
        return (
            SUCCEEDED,
            "False",
            "StageFailed",
            "; ".join(_of(stage, error) for stage, error in state.decision.failed.items()),
        )
    if state.resource is not None and state.resource.spec.suspend:
        return SUCCEEDED, "Unknown", "Suspended", "spec.suspend is true"
    return SUCCEEDED, "Unknown", *_going_on(state)


def _of(stage: str, words: str) -> str:
    """Words about a stage; a job's own begin with its name."""
    return words if words.startswith(f"{stage}:") else f"{stage}: {words}"


FINALISING = "Finalising"
"""The reason of a run in which the manifest of a stage is being written."""


def _going_on(state: RunState) -> tuple[str, str]:
    """The word and the sentence for what the run does now, or waits for; what a person can change comes first."""
    if state.decision.is_out_of_budget:
        return BUDGET_EXHAUSTED, state.over_budget
    if state.blocked:
        return state.blocked[0].reason, state.blocked[0].message
    stages = state.held.graph.stages
    running = [entry for entry in state.attempts.values() if entry.step is not None and entry.stage in stages]
    at_work = [e for e in running if e.step is not Step.SERVERS and e.stage not in state.hindered]
    if at_work:
        first = at_work[0]
        reason = FINALISING if first.step is Step.FINALISE else KINDS[stages[first.stage].kind].at_work
        return reason, "; ".join(_doing(state, entry) for entry in running)
    if state.hindered:
        stage, problem = next(iter(state.hindered.items()))
        return problem.reason, _of(stage, problem.message)
    missing = state.servers.problem if state.servers is not None else None
    if missing is not None:
        return "WaitingForServers" if missing.reason == "Starting" else missing.reason, missing.message
    return _between(state)


def _between(state: RunState) -> tuple[str, str]:
    """No stage is under way."""
    checks = [entry.stage for entry in state.attempts.values() if entry.step is not None]
    if checks:
        return "AskingTheStore", f"a Job in the run's namespace asks the store: {', '.join(checks)}"
    later = [entry for entry in state.attempts.values() if entry.retry_after and entry.retry_after > state.now]
    if later:
        soonest = min(later, key=lambda entry: entry.retry_after or state.now)
        is_told = soonest.reason in (ANOTHER_RUN, NO_MACHINE, PREEMPTED)
        reason = soonest.reason if is_told else "Retrying"
        return reason, f"{soonest.stage} {state.waiting.get(soonest.stage, soonest.message)}"
    return "Waiting", "; ".join([f"{stage}: {why}" for stage, why in state.waiting.items()][:3])


def _doing(state: RunState, entry: StageAttempts) -> str:
    return f"{entry.stage} attempt {entry.attempt}: {_words(state, entry)}"


def _words(state: RunState, entry: StageAttempts) -> str:
    if entry.stage in state.hindered:
        return state.hindered[entry.stage].message
    match entry.step:
        case Step.SERVERS:
            return "waits for its servers"
        case Step.FINALISE:
            return "its manifest is being written"
        case Step.WORK | None:
            progress = state.progress.get(entry.stage)
            if progress is None:
                return "at work"
            # Of stages beside the one in the status only what seldom changes.
            return sentence(progress) if entry.stage == state.stage else share(progress) or "at work"
        case _:
            assert_never(entry.step)


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
    at_work = {*(kind.at_work for kind in KINDS.values()), FINALISING}
    return Phase.RUNNING if succeeded is not None and succeeded.reason in at_work else Phase.WAITING
