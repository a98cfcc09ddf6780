"""What a run has spent: GPU time as attempts hold machines, tokens as their pods say. Pure.

The status keeps it, since the operator sees no store: of stages under way in their attempts, of others in `spent`. GPU
time runs while an attempt is at work: not while its servers start or its pods wait for machines.

A status that was lost is found again: of stages that are done from their manifests, which an inspection reads, and of
attempts under way from their children. What failed attempts took is not; the entries say that they are the least.
"""

from collections.abc import Iterable
from datetime import datetime

from moaa.api.attempts import ModelTokens, StageAttempts, Step
from moaa.api.resource import Replicas
from moaa.api.status import MAX_SPENT, StageSpent
from moaa.contract.checks import Took
from moaa.plan.budget.spent import EARLIER, Spent, Tokens, of_work, tokens_of
from moaa.plan.forecast.replicas import gpus_given
from moaa.plan.graph import build
from moaa.plan.kinds.table import TRAINING
from moaa.plan.result import StageResult
from moaa_operator.decide import outcomes
from moaa_operator.decide.scope import CHECKS, Scope
from moaa_operator.observe.observed import Child, End
from moaa_operator.tell.results import iteration_of


def meter(scope: Scope) -> None:
    """Fill the account from the status, and from what runs by now."""
    account: dict[tuple[str, str], Spent] = {}
    for entry in scope.observed.status.spent:
        key = entry.stage, entry.fingerprint
        account[key] = account.get(key, Spent()) + Spent(entry.gpu_seconds, _read(entry.tokens))
    stages = build(scope.resource).stages
    for attempt in scope.entries.values():
        if attempt.stage in CHECKS:
            continue
        child = outcomes.working_child(scope.observed, attempt)
        spent = Spent(attempt.gpu_seconds, _read(attempt.tokens))
        if attempt.at_work_since is not None and attempt.stage in stages:
            seconds = (scope.now - attempt.at_work_since).total_seconds()
            stage = stages[attempt.stage]
            gone = [name for name in stage.serves if name in attempt.finished_with]
            gpus = gpus_given(scope.resource, stage, scope.known, without=gone)
            spent += Spent(gpus * max(seconds, 0.0))
        if child is not None:
            spent = spent.at_least(Spent(tokens=child.tokens))
        key = attempt.stage, attempt.fingerprint
        account[key] = account.get(key, Spent()) + spent
        scope.metered[key] = spent
    scope.account = account


def adopted(scope: Scope, before: StageAttempts, taken: StageAttempts, child: Child) -> StageAttempts:
    """`taken` with the GPU time of an attempt that a child shows: from its own beginning to its end, or to now.

    Not if the status has an entry of what the stage took, which an edit closed: that holds it up to now. What neither
    child nor status tells is said to be missing: attempts before the child's, and a child without times.
    """
    if any((e.stage, e.fingerprint) == (child.stage, child.fingerprint) for e in scope.observed.status.spent):
        return taken.with_(at_work_since=scope.now if taken.step is Step.WORK else None)
    if before.attempt + 1 < child.attempt or (taken.step is Step.FINALISE and before.step is None):
        scope.closed.append(StageSpent(stage=child.stage, fingerprint=child.fingerprint, is_least=True))
    if taken.step is not Step.WORK:
        return taken
    if child.end is End.RUNNING:
        return taken.with_(at_work_since=child.began)
    stage = build(scope.resource).stages.get(child.stage)
    gpus = 0 if stage is None else gpus_given(scope.resource, stage, scope.known)
    if not gpus:
        return taken
    is_told = scope.resource.spec.serving.replicas is Replicas.DECLARED  # else the rows say it, which are not known yet
    if child.began is None or child.ended is None or not is_told:
        scope.closed.append(StageSpent(stage=child.stage, fingerprint=child.fingerprint, is_least=True))
        return taken
    seconds = max((child.ended - child.began).total_seconds(), 0.0)
    return taken.with_(gpu_seconds=before.gpu_seconds + round(gpus * seconds))


def recount(scope: Scope, result: StageResult, took: Took) -> None:
    """Take into the account what a stage of this run took by its manifest, where the account has less.

    It has nothing only if the status was lost. A stage whose entry was added to earlier ones, for want of room, counts
    twice then: rather too much than too little.
    """
    key, stage = (result.stage, result.fingerprint), build(scope.resource).stages[result.stage]
    tokens = tokens_of(took.prompt_spent, took.completion_spent)
    by_manifest = of_work(stage, scope.resource, scope.known, seconds=took.seconds, tokens=tokens)
    known = scope.account.get(key, Spent())
    missing = by_manifest.less(known)
    if missing == Spent():
        return
    scope.account = {**scope.account, key: known + missing}
    entry = scope.entries.get(result.stage)
    is_lost = known == Spent() and (entry is None or not entry.attempt)
    scope.closed.append(_written(*key, missing).with_(is_least=is_lost))


def settle(scope: Scope) -> None:
    """Write down what ended, and when the clock of what goes on began."""
    before = {entry.stage: entry for entry in scope.observed.status.attempts}
    for (stage, fingerprint), spent in scope.metered.items():
        entry = scope.entries.get(stage)
        if entry is None or entry.fingerprint != fingerprint:
            scope.closed.append(_written(stage, fingerprint, spent))
        elif entry.at_work_since is not None and not _is_at_work(scope, entry):
            seconds = round(spent.gpu_seconds)
            scope.put(entry.with_(at_work_since=None, gpu_seconds=seconds, tokens=_tokens(spent)))
        elif stage not in before or before[stage].reached != entry.reached:
            scope.put(entry.with_(tokens=_tokens(spent)))
    for entry in list(scope.entries.values()):
        if entry.at_work_since is None and _is_at_work(scope, entry):
            scope.put(entry.with_(at_work_since=_began(scope, entry)))


def bounded(entries: Iterable[StageSpent], closed: int) -> list[StageSpent]:
    """For the status: one entry a stage and fingerprint; those of iterations before the last `closed`, and what does
    not fit, in one."""
    merged: dict[tuple[str, str], Spent] = {}
    least: set[tuple[str, str]] = set()
    for entry in entries:
        is_old = entry.stage == EARLIER or 0 < iteration_of(entry.stage) < closed
        key = (EARLIER, "") if is_old else (entry.stage, entry.fingerprint)
        merged[key] = merged.get(key, Spent()) + Spent(entry.gpu_seconds, _read(entry.tokens))
        least |= {key} if entry.is_least else set()
    merged = {key: spent for key, spent in merged.items() if spent.gpu_seconds or spent.tokens or key in least}
    while len(merged) > MAX_SPENT:
        oldest = next(key for key in merged if key[0] != EARLIER)
        merged[EARLIER, ""] = merged.get((EARLIER, ""), Spent()) + merged.pop(oldest)
        least |= {(EARLIER, "")} if oldest in least else set()
    return [_written(*key, spent).with_(is_least=key in least) for key, spent in merged.items()]


def _is_at_work(scope: Scope, entry: StageAttempts) -> bool:
    if entry.step is not Step.WORK or entry.stage not in scope.held.graph.stages:
        return False
    if scope.held.graph.stages[entry.stage].kind not in TRAINING:
        return True  # its servers answer, so they have their machines
    child = outcomes.working_child(scope.observed, entry)
    return child is not None and child.is_running and child.unplaced_since is None


def _began(scope: Scope, entry: StageAttempts) -> datetime:
    """A Job's attempt began with its step; a training when its pods are seen to run."""
    is_training = scope.held.graph.stages[entry.stage].kind in TRAINING
    return scope.now if is_training or entry.since is None else entry.since


def _written(stage: str, fingerprint: str, spent: Spent) -> StageSpent:
    return StageSpent(stage=stage, fingerprint=fingerprint, gpu_seconds=round(spent.gpu_seconds), tokens=_tokens(spent))


def _tokens(spent: Spent) -> list[ModelTokens]:
    return [ModelTokens(model=name, prompt=t.prompt, completion=t.completion) for name, t in spent.tokens.items()]


def _read(tokens: Iterable[ModelTokens]) -> dict[str, Tokens]:
    return {each.model: Tokens(each.prompt, each.completion) for each in tokens}
