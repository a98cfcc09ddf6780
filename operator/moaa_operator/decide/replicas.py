"""How many replicas the servers of a run get while its stages are at work. Pure.

With `serving.replicas` Auto the numbers follow from the work of the stages that are at work side by side, and all their
servers hold no more than `maxGpus`. A stage whose models do not fit beside the others waits. The numbers change when a
stage begins or ends. The other replicas go on then: some are added, or leave when their requests are finished.

A pod group of a queue has a fixed size. So there one stage is served at a time, by servers that come up for it.
"""

from collections.abc import Collection, Iterable, Mapping

from moaa.api.attempts import StageAttempts, Step
from moaa.api.resource import Replicas
from moaa.plan.forecast.replicas import AtWork, gpus_together, hours_of, planned
from moaa.plan.forecast.throughput import declared
from moaa.plan.stage import Stage
from moaa.weights.served import ServedModel
from moaa_operator.decide import server_gang
from moaa_operator.decide.scope import Scope
from moaa_operator.kube.objects import Manifest
from moaa_operator.observe.observed import Server

Wanted = Mapping[ServedModel, tuple[list[Manifest], Server | None]]


def counts(scope: Scope) -> dict[str, int]:
    """Servers of each declared model for the attempts under way; of others what they declare.

    Raises:
        StageError: the stage that makes a student has no result.
    """
    return {} if _is_declared(scope) else planned(scope.resource, _at_work(scope, scope.running()))


def lacking(scope: Scope, beginning: StageAttempts, servers: Wanted) -> str | None:
    """Why an attempt cannot begin beside those under way; None: its models fit. `servers` are what it needs, with those
    that exist.

    Raises:
        StageError: the stage that makes a student has no result.
    """
    limit = scope.resource.spec.serving.max_gpus
    if _is_declared(scope) or limit is None:
        return None
    if scope.queue:
        return _queued(scope, servers)
    if not scope.running():
        return None
    entries = {entry.stage: entry for entry in (*scope.running(), beginning)}
    at_work = _at_work(scope, [entries[name] for name in scope.held.graph.stages if name in entries])
    needed = gpus_together(scope.resource, at_work, planned(scope.resource, at_work))
    if needed <= limit:
        return None
    others = ", ".join(name for name in entries if name != beginning.stage)
    return f"its servers and those of {others} hold {needed} GPUs at least, and spec.serving.maxGpus is {limit}"


def _queued(scope: Scope, servers: Wanted) -> str | None:
    serving = [e.stage for e in scope.running() if e.step is not Step.FINALISE and _graph_stage(scope, e).serves]
    if serving:
        return f"{serving[0]} has servers; in a queue, replicas Auto serves one stage at a time"
    if any(server is not None for _, server in servers.values()):
        return "servers of the stage before it are on their way out"
    return None


def _graph_stage(scope: Scope, entry: StageAttempts) -> Stage:
    return scope.held.graph.stages[entry.stage]


def kept(scope: Scope, ahead: Iterable[tuple[ServedModel, Server | None]]) -> Collection[ServedModel]:
    """Those of `ahead` that may stay up, with all their replicas, beside the servers of the attempts under way.

    Raises:
        StageError: the stage that makes a student has no result.
    """
    limit, listed = scope.resource.spec.serving.max_gpus, list(ahead)
    if _is_declared(scope) or limit is None:
        return [served for served, _ in listed]
    if scope.queue:
        return []
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
        stage = _graph_stage(scope, entry)
        if entry.step is Step.FINALISE or not stage.serves:
            continue
        served = server_gang.wanted(stage, entry, scope.resource, scope.held.results)
        work = hours_of(stage, scope.resource, scope.held.results)
        hours: dict[str, float] = {}
        for name, model in served.items():
            hours[model.name] = hours.get(model.name, 0.0) + work.get(name, 0.0)
        found.append(AtWork(tuple(hours), hours))
    return found
