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

A condition that does not apply is absent rather than False, so that an old one never speaks for the present. The
transition time moves only when the status does.
"""

from collections.abc import Iterable, Iterator
from typing import Literal

from moaa.api.status import SUCCEEDED, Condition, Phase
from moaa_operator.pods import Problem
from moaa_operator.view import View

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
    yield (STALLED, "True", *stalled) if stalled else (STALLED, "False", "Progressing", "")
    yield _succeeded(view)


def _storage(view: View) -> Said:
    entry = view.storage
    assert entry is not None
    if entry.is_checked:
        return STORAGE, "True", "PreflightPassed", ""
    if entry.failures and entry.step is None:
        return STORAGE, "False", entry.reason or "PreflightFailed", entry.message
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
        return why, f"{stage}: {error}. Mend the cause and edit the resource: every edit allows all attempts again"
    if view.blocked:
        return view.blocked[0].reason, view.blocked[0].message
    return None


def _succeeded(view: View) -> Said:
    if view.is_finished:
        return SUCCEEDED, "True", "AllStagesDone", f"{len(view.graph.stages)} stages are done"
    if view.is_stuck:
        lines = [f"{stage}: {error}" for stage, error in view.failed.items()]
        return SUCCEEDED, "False", "StageFailed", "; ".join(lines)
    if view.resource is not None and view.resource.spec.suspend:
        return SUCCEEDED, "Unknown", "Suspended", "spec.suspend is true"
    running = [entry for entry in view.attempts.values() if entry.step is not None]
    if view.blocked:
        return SUCCEEDED, "Unknown", view.blocked[0].reason, view.blocked[0].message
    if view.servers is not None and view.are_servers_ready is False:
        return SUCCEEDED, "Unknown", "WaitingForServers", view.servers.message
    if running:
        names = ", ".join(f"{entry.stage} ({entry.step})" for entry in running)
        return SUCCEEDED, "Unknown", "Running", names
    waits = "; ".join(f"{stage}: {why}" for stage, why in list(view.waiting.items())[:3])
    return SUCCEEDED, "Unknown", "Waiting", waits


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
    return Phase.RUNNING if has_begun else Phase.PENDING
