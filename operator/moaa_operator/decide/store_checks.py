"""Questions to the store, asked by light Jobs in the run's namespace: does it work, and what is there already.

A stage that needs servers or a Ray cluster is never started before the store was asked for its manifest: the status may
be new (a MoAA that was deleted and applied again, a backup) while the work is done. Checks are tried until they
succeed, with growing delays: what makes them fail (a bucket, a key) is mended outside the resource.
"""

from moaa.api.attempts import Step
from moaa.contract.checks import CheckAnswer, check_job
from moaa.plan.canonical import digest_of
from moaa.plan.result import Identity, StageResult
from moaa_operator.decide import attempts, outcomes
from moaa_operator.decide.outcomes import Deferred, Failed, Released
from moaa_operator.decide.scope import INSPECT, PREFLIGHT, Work
from moaa_operator.observe.pods import Problem

STORAGE_NOT_READY = "StorageNotReady"
"""The reason of a run that waits for its store."""


def preflight(work: Work) -> bool:
    """Whether the store has passed; asks it when nobody has."""
    spec = work.resource.spec
    about = digest_of({"storage": spec.storage.model_dump(mode="json"), "account": spec.service_account_name})
    entry = work.entries.get(PREFLIGHT)
    if entry is None or entry.fingerprint != about:
        number = max([entry.attempt if entry else 0, *_numbers(work, PREFLIGHT)])
        entry = attempts.new(PREFLIGHT, about, work.observed.generation).with_(attempt=number)
    work.put(entry)
    if entry.is_checked:
        return True
    _ask(work, PREFLIGHT)
    entry = work.entries[PREFLIGHT]
    if entry.failures and not entry.is_checked:
        work.blocked.append(Problem(STORAGE_NOT_READY, f"the store is not usable: {entry.message}"))
    return entry.is_checked


def take_preflight(work: Work) -> None:
    """Record how a preflight under way ended."""
    entry = work.entries.get(PREFLIGHT)
    if entry is None or entry.step is None:
        return
    ended = outcomes.outcome(work.observed, entry, now=work.now, place_within=work.place_within)
    match ended:
        case None | Released():  # of RayJobs only
            return
        case Failed():
            work.fail(entry, ended.reason, ended.message)
        case Deferred():
            work.fail(entry, "Deferred", "the preflight ended as if rows waited; is the image of this version?")
        case _:
            work.put(attempts.idle(entry).with_(is_checked=True, failures=0, reason="", message="", retry_after=None))


def inspect(work: Work, wanted: list[Identity]) -> None:
    """Ask which of these stages have manifests, and what follows from them."""
    entry = work.entries.get(INSPECT)
    if not wanted:
        if entry is not None and entry.step is None:
            work.put(entry.with_(failures=0, message="", reason="", retry_after=None))
        return
    about = digest_of(sorted(identity.fingerprint for identity in wanted))
    if entry is None:
        number = max([0, *_numbers(work, INSPECT)])
        entry = attempts.new(INSPECT, about, work.observed.generation).with_(attempt=number)
    if entry.step is None:
        entry = entry.with_(fingerprint=about)
    work.put(entry)
    _ask(work, INSPECT)
    entry = work.entries[INSPECT]
    if entry.failures:
        work.blocked.append(Problem(STORAGE_NOT_READY, f"the store does not answer: {entry.message}"))


def take_inspect(work: Work) -> None:
    """Record what an inspection under way found."""
    entry = work.entries.get(INSPECT)
    if entry is None or entry.step is None:
        return
    found = outcomes.answer(work.observed, entry, now=work.now)
    if found is None:
        return
    if isinstance(found, Failed):
        work.fail(entry, found.reason, found.message)
        return
    news = {r.stage: r for r in found.results if not _is_known(r, work.known)}
    if not found.is_complete and not news:
        work.fail(entry, "NoAnswer", "the inspection has more results and sent none that are new")
        return
    work.known |= news
    for stage in news:
        work.entries.pop(stage, None)
    work.put(attempts.idle(entry).with_(failures=0, reason="", message="", retry_after=None))
    _mark_absent(work, found)


def _mark_absent(work: Work, found: CheckAnswer) -> None:
    """Stages that can run and have no manifest need not be asked for again."""
    for absent in found.absent:
        for entry in list(work.entries.values()):
            if entry.fingerprint == absent and not entry.is_checked:
                work.put(entry.with_(is_checked=True))


def _is_known(result: StageResult, known: dict[str, StageResult]) -> bool:
    return result.stage in known and known[result.stage].fingerprint == result.fingerprint


def _ask(work: Work, check: str) -> None:
    """Begin the next attempt when it is time, and have its Job exist."""
    entry = work.entries[check]
    if entry.step is None:
        if entry.retry_after is not None and entry.retry_after > work.now:
            work.wake.append(entry.retry_after)
            return
        work.begin(entry, Step.WORK)
        entry = work.entries[check]
    child = outcomes.working_child(work.observed, entry)
    if child is not None:
        if child.problem is not None:
            work.blocked.append(child.problem)
        return
    render = work.render.preflight_children if check == PREFLIGHT else work.render.inspect_children
    known = work.results if check == INSPECT else {}
    question = check_job(work.resource, known, run=work.observed.owner.run)
    owner, settings = work.observed.owner, work.settings
    work.create += render(question, work.resource, owner, attempt=entry.attempt, settings=settings)


def _numbers(work: Work, check: str) -> list[int]:
    """Of the check's Jobs that exist, so that a lost status never gives a number twice."""
    return [child.attempt for child in work.observed.children if child.stage == check]
