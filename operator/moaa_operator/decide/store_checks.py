"""Ask the store whether it works and what is done already. Light Jobs in the run's namespace do the asking. Pure.

Before a stage that needs servers or a Ray cluster starts, the store is asked for its manifest: the status may be new
(a MoAA deleted and applied again, a backup) while the work is done. A check is tried until it succeeds, with growing
delays, since what makes it fail (a bucket, a key) is mended outside the resource.
"""

from collections.abc import Mapping
from typing import assert_never

from moaa.api.attempts import Step
from moaa.contract.checks import CheckAnswer, check_job
from moaa.plan.canonical import digest_of
from moaa.plan.result import Identity, StageResult
from moaa_operator.decide import attempts, outcomes, spending
from moaa_operator.decide.outcomes import Deferred, Done, Failed, Overtaken, Released, Worked
from moaa_operator.decide.scope import INSPECT, PREFLIGHT, Scope
from moaa_operator.kube import kueue
from moaa_operator.kube.objects import Problem
from moaa_operator.kube.owner import Check, Role

STORAGE_NOT_READY = "StorageNotReady"
"""The reason of a run that waits for its store."""


def preflight(scope: Scope) -> bool:
    """Whether the store has passed its preflight; begins one if none has."""
    spec = scope.resource.spec
    about = digest_of({"storage": spec.storage.model_dump(mode="json"), "account": spec.service_account_name})
    entry = scope.entries.get(PREFLIGHT)
    if entry is None or entry.fingerprint != about:
        number = max([entry.attempt if entry else 0, *_numbers(scope, PREFLIGHT)])
        entry = attempts.new(PREFLIGHT, about, scope.observed.generation).with_(attempt=number)
    scope.put(entry)
    if entry.is_checked:
        return True
    _ask(scope, PREFLIGHT)
    entry = scope.entries[PREFLIGHT]
    if entry.failures and not entry.is_checked:
        scope.blocked.append(Problem(STORAGE_NOT_READY, f"the store is not usable: {entry.message}"))
    return entry.is_checked


def take_preflight(scope: Scope) -> None:
    """Record how a preflight under way ended."""
    entry = scope.entries.get(PREFLIGHT)
    if entry is None or entry.step is None:
        return
    ended = outcomes.outcome(scope.observed, entry, now=scope.now, place_within=scope.place_within)
    match ended:
        case None | Released():  # of RayJobs only
            return
        case Failed():
            scope.fail(entry, ended.reason, ended.message)
        case Deferred() | Overtaken():
            scope.fail(entry, "NoAnswer", "the preflight ended as a stage ends; is the image of this version?")
        case Done() | Worked():
            scope.put(attempts.idle(entry).with_(is_checked=True, failures=0, reason="", message="", retry_after=None))
        case _:
            assert_never(ended)


def inspect(scope: Scope, wanted: list[Identity]) -> None:
    """Ask which of these stages have manifests, and what follows from them."""
    entry = scope.entries.get(INSPECT)
    if not wanted:
        if entry is not None and entry.step is None:
            scope.put(entry.with_(failures=0, message="", reason="", retry_after=None))
        return
    about = digest_of(sorted(identity.fingerprint for identity in wanted))
    if entry is None:
        number = max([0, *_numbers(scope, INSPECT)])
        entry = attempts.new(INSPECT, about, scope.observed.generation).with_(attempt=number)
    if entry.step is None:
        entry = entry.with_(fingerprint=about)
    scope.put(entry)
    _ask(scope, INSPECT)
    entry = scope.entries[INSPECT]
    if entry.failures:
        scope.blocked.append(Problem(STORAGE_NOT_READY, f"the store does not answer: {entry.message}"))


def take_inspect(scope: Scope) -> None:
    """Record what an inspection under way found."""
    entry = scope.entries.get(INSPECT)
    if entry is None or entry.step is None:
        return
    found = outcomes.answer(scope.observed, entry, now=scope.now)
    if found is None:
        return
    if isinstance(found, Failed):
        scope.fail(entry, found.reason, found.message)
        return
    news = {r.stage: r for r in found.results if not _is_known(r, scope.known)}
    if not found.is_complete and not news:
        scope.fail(entry, "NoAnswer", "the inspection has more results and sent none that are new")
        return
    scope.known |= news
    for took in found.took:
        if took.stage in news:
            spending.recount(scope, news[took.stage], took)
    for stage in news:
        scope.entries.pop(stage, None)
    scope.put(attempts.idle(entry).with_(failures=0, reason="", message="", retry_after=None))
    _mark_absent(scope, found)


def _mark_absent(scope: Scope, found: CheckAnswer) -> None:
    """Remember which stages have no manifest: they need no further question, unless another run works on them."""
    run = scope.observed.owner.uid
    for entry in list(scope.entries.values()):
        if entry.is_checked or entry.fingerprint not in found.absent:
            continue
        if attempts.is_overtaken(entry) and entry.fingerprint in found.worked_on:
            scope.put(attempts.overtaken(entry, message=entry.message, now=scope.now, run=run))
        elif attempts.is_overtaken(entry):
            scope.put(entry.with_(is_checked=True, reason="", message="", retry_after=None))
        else:
            scope.put(entry.with_(is_checked=True))


def _is_known(result: StageResult, known: dict[str, StageResult]) -> bool:
    return result.stage in known and known[result.stage].fingerprint == result.fingerprint


def _ask(scope: Scope, check: Check) -> None:
    """Begin the next attempt when it is time, and have its Job exist."""
    entry = scope.entries[check]
    if entry.step is None:
        if entry.retry_after is not None and entry.retry_after > scope.now:
            scope.wake.append(entry.retry_after)
            return
        scope.begin(entry, Step.WORK)
        entry = scope.entries[check]
    child = outcomes.working_child(scope.observed, entry)
    if child is not None:
        if child.problem is not None and child.problem.reason not in kueue.WAITS:
            scope.blocked.append(child.problem)
        return
    match check:
        case Role.PREFLIGHT:
            known: Mapping[str, StageResult] = {}
        case Role.INSPECT:
            known = scope.held.results
        case _:
            assert_never(check)
    question = check_job(scope.resource, known, run=scope.observed.owner.run)
    scope.create += scope.render.check(question, check, attempt=entry.attempt)


def _numbers(scope: Scope, check: Check) -> list[int]:
    """Of the check's Jobs that exist, so that a lost status never gives a number twice.

    A job file alone counts for nothing: its Job could not be made, and one more number a look would be one more file.
    """
    return [child.attempt for child in scope.observed.children if child.stage == check and child.is_work]
