"""How many replicas the servers of a run get while its stages are at work. Pure.

With `serving.replicas` Auto the numbers follow from the work of the stages that are at work side by side, and all their
servers hold no more than `maxGpus`. A stage whose models do not fit beside the others waits. The numbers change when a
stage begins or ends. A Deployment's pods go on then: only some are added, or leave when their requests are finished.
"""

from collections.abc import Collection, Iterable

from moaa.api.attempts import StageAttempts, Step
from moaa.api.resource import Replicas
from moaa.plan.forecast.replicas import AtWork, gpus_together, hours_of, planned
from moaa.plan.forecast.throughput import declared
from moaa.weights.served import ServedModel
from moaa_operator.decide import server_gang
from moaa_operator.decide.scope import Scope
from moaa_operator.observe.observed import Server


def counts(scope: Scope) -> dict[str, int]:
    """Servers of each declared model for the attempts under way; of others what they declare.

    Raises:
        StageError: the stage that makes a student has no result.
    """
    return {} if _is_declared(scope) else planned(scope.resource, _at_work(scope, scope.running()))


def lacking(scope: Scope, beginning: StageAttempts) -> str | None:
    """Why an attempt cannot begin beside those under way; None: its models fit.

    Raises:
        StageError: the stage that makes a student has no result.
    """
    limit = scope.resource.spec.serving.max_gpus
    if _is_declared(scope) or limit is None or not scope.running():
        return None
    entries = {entry.stage: entry for entry in (*scope.running(), beginning)}
    at_work = _at_work(scope, [entries[name] for name in scope.held.graph.stages if name in entries])
    needed = gpus_together(scope.resource, at_work, planned(scope.resource, at_work))
    if needed <= limit:
        return None
    others = ", ".join(name for name in entries if name != beginning.stage)
    return f"its servers and those of {others} hold {needed} GPUs at least, and spec.serving.maxGpus is {limit}"


def kept(scope: Scope, ahead: Iterable[tuple[ServedModel, Server | None]]) -> Collection[ServedModel]:
    """Those of `ahead` that may stay up, with all their replicas, beside the servers of the attempts under way.

    Raises:
        StageError: the stage that makes a student has no result.
    """
    limit, listed = scope.resource.spec.serving.max_gpus, list(ahead)
    if _is_declared(scope) or limit is None:
        return [served for served, _ in listed]
    at_work = _at_work(scope, scope.running())
    held = gpus_together(scope.resource, at_work, planned(scope.resource, at_work))
    used = {name for stage in at_work for name in stage.names}
    found = []
    for served, server in listed:
        gpus = declared(served.name, scope.resource).serving.gpus * (0 if server is None else server.replicas)
        if served.name in used:
            found.append(served)
        elif held + gpus <= limit:
            held += gpus
            found.append(served)
    return found


def _is_declared(scope: Scope) -> bool:
    return scope.resource.spec.serving.replicas is Replicas.DECLARED


def _at_work(scope: Scope, entries: Iterable[StageAttempts]) -> list[AtWork]:
    """Of attempts that need servers, by the names under which their weights were made. Raises StageError: as above."""
    found = []
    for entry in entries:
        stage = scope.held.graph.stages[entry.stage]
        if entry.step is Step.FINALISE or not stage.serves:
            continue
        served = server_gang.wanted(stage, entry, scope.resource, scope.held.results)
        work = hours_of(stage, scope.resource, scope.held.results)
        hours: dict[str, float] = {}
        for name, model in served.items():
            hours[model.name] = hours.get(model.name, 0.0) + work.get(name, 0.0)
        found.append(AtWork(tuple(hours), hours))
    return found
