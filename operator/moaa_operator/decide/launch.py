"""Bring an attempt up: its servers together, then its Job, then the Job that reads its result. Pure.

One stage of a run waits for servers at a time: two that start together would each hold half of what they need.
"""

from collections.abc import Iterable
from typing import assert_never

from moaa.api.attempts import StageAttempts, Step
from moaa.api.resource import Schedule
from moaa.contract.job import StageJob, stage_job
from moaa.errors import MoaaError
from moaa.plan.forecast.throughput import declared
from moaa.plan.ids import made_by
from moaa.plan.kinds.table import shards_of
from moaa.plan.ready import servers_ahead
from moaa.plan.result import Identity
from moaa.plan.stage import Graph
from moaa.weights.served import ServedModel, servers_of
from moaa_operator.decide import attempts, outcomes, queueing, replicas, server_gang
from moaa_operator.decide.scope import Scope
from moaa_operator.decide.server_gang import Gang, State
from moaa_operator.kube.kinds import maker_in
from moaa_operator.kube.objects import Manifest, Problem, name_of
from moaa_operator.observe.observed import End, Server
from moaa_operator.tell.run_state import Servers

Wanted = dict[ServedModel, tuple[list[Manifest], Server | None]]


def begin(scope: Scope, identity: Identity, entry: StageAttempts) -> str | None:
    """Begin the next attempt, or say why it waits."""
    stage = identity.stage
    turn = server_gang.next_turn(stage, entry, scope.resource, scope.held.results)
    trial = entry.with_(turn=turn) if turn else entry
    try:
        servers = scope.wanted(
            server_gang.wanted(stage, trial, scope.resource, scope.held.results).values(), replicas.counts(scope)
        )
        lacking = replicas.lacking(scope, trial, servers) if servers else None
    except MoaaError as error:
        scope.fail(entry.with_(attempt=entry.attempt + 1), "NotServable", str(error), is_permanent=True)
        return str(error)
    are_up = all(server is not None and server.is_ready for _, server in servers.values())
    others = [other.stage for other in scope.running() if other.step is Step.SERVERS]
    if servers and not are_up and others:
        return f"the servers of {others[0]} come up first"
    if lacking:
        return lacking
    if (why := _held_back(scope, stage.id, set(servers))) is not None:
        return why
    scope.begin(entry, Step.SERVERS if servers else Step.WORK, turn=turn)
    return None


def _held_back(scope: Scope, stage: str, wanted: set[ServedModel]) -> str | None:
    """Why a stage may not ask for these servers now, because of another stage that asks or asked for some of them."""
    for other in [e for e in scope.entries.values() if e.stage in scope.held.graph.stages and e.stage != stage]:
        asked = servers_of(scope.held.graph.stages[other.stage].serves, scope.resource, scope.held.results)
        if not wanted & set(asked.values()):
            continue
        if attempts.is_released(other, now=scope.now) and other.retry_after is not None:
            scope.wake.append(other.retry_after)
            return (
                f"{other.stage} gave back servers that it needs, too; both wait until {other.retry_after:%H:%M:%S} UTC"
            )
        if scope.queue and other.step in (Step.SERVERS, Step.WORK):
            return f"{other.stage} has servers that it needs, too; in a queue one stage has them at a time"
    return None


def serve(scope: Scope) -> None:
    """Move on attempts whose servers are up, give up those whose servers do not come, and keep what is needed."""
    for entry in scope.running():
        stage = scope.held.graph.stages[entry.stage]
        if entry.step is Step.FINALISE or not stage.serves:
            continue
        needed = server_gang.without_finished(stage, entry)
        try:
            servers = scope.wanted(
                server_gang.wanted(needed, entry, scope.resource, scope.held.results).values(), replicas.counts(scope)
            )
        except MoaaError as error:
            scope.fail(entry, "NotServable", str(error), is_permanent=True)
            continue
        if not servers:
            continue
        if (problem := queueing.lost(scope, entry, servers)) is not None:
            scope.preempt(entry, problem.message)
            _not_ready(scope, Gang(State.COMING, problem.reason, problem.message))
            continue
        if (problem := queueing.waits(scope, entry)) is not None:
            _not_ready(scope, Gang(State.COMING, problem.reason, problem.message))
            continue
        if entry.step is Step.SERVERS and not _wait(scope, entry, servers):
            continue
        if entry.step is Step.WORK:
            _look_while_working(scope, entry, servers)
        for served, manifests in queueing.members(scope, entry, servers).items():
            _want(scope, manifests, servers[served][1])
    _keep_ahead(scope)


def _wait(scope: Scope, entry: StageAttempts, servers: Wanted) -> bool:
    """Whether the servers of an attempt that waits for them are to stay."""
    found = _look(scope, entry, servers)
    match found.state:
        case State.READY:
            scope.put(attempts.move(entry, Step.WORK, now=scope.now))
            _ready(scope)
        case State.COMING:
            if found.look_again is not None:
                scope.wake.append(found.look_again)
            _not_ready(scope, queueing.explained(scope, found))
        case State.NO_MACHINE:
            scope.release(entry, found.message)
            _not_ready(scope, found)
            return False
        case State.BROKEN:
            scope.fail(entry, found.reason, found.message)
            _not_ready(scope, found)
            return False
        case _:
            assert_never(found.state)
    return True


def _look_while_working(scope: Scope, entry: StageAttempts, servers: Wanted) -> None:
    """A server that dies under a stage comes back by itself, and the stage's calls wait for it. The status says so."""
    found = _look(scope, entry, servers)
    if found.state is State.READY:
        _ready(scope)
    else:
        _not_ready(scope, found)


def _look(scope: Scope, entry: StageAttempts, servers: Wanted) -> Gang:
    up = {served: server for served, (_, server) in servers.items()}
    refused = {
        served: problem
        for served, (manifests, _) in servers.items()
        for manifest in manifests
        if (problem := scope.observed.refusals.get((manifest["kind"], manifest["metadata"]["name"]))) is not None
    }
    return server_gang.look(up, scope.resource, refused=refused, since=entry.since or scope.now, now=scope.now)


def _ready(scope: Scope) -> None:
    """The servers of a stage all answer; those of another stage may not."""
    scope.servers = scope.servers or Servers(None)


def _not_ready(scope: Scope, found: Gang) -> None:
    """The first stage whose servers do not answer speaks for all."""
    if scope.servers is None or scope.servers.problem is None:
        scope.servers = Servers(Problem(found.reason or "Starting", found.message))


def _keep_ahead(scope: Scope) -> None:
    """Keep servers up that answer and that a stage before the next training asks, so that they load once.

    A stage that gave its servers back is left out: half of them would be in another run's way. So is one that waits for
    another run's result, and one whose servers did not answer it: whatever /health says, they come up anew, unless
    another stage is at work with them.
    """
    if (
        scope.decision.is_stuck
        or scope.decision.is_finished
        or scope.resource.spec.serving.schedule is Schedule.IN_TURN
    ):
        return
    hopeless = _hopeless(scope)
    graph = Graph(
        {
            name: server_gang.without_finished(stage, scope.entries.get(name))
            for name, stage in scope.held.graph.stages.items()
            if name not in hopeless
        }
    )
    names = servers_ahead(graph, scope.resource, scope.held.results)
    known = [name for name in names if made_by(name) is None or made_by(name) in scope.held.results]
    given_back = [
        name
        for entry in scope.entries.values()
        if entry.stage in graph.stages and _gives_back(scope, entry)
        for name in graph.stages[entry.stage].serves
    ]
    try:
        ahead = servers_of(known, scope.resource, scope.held.results)
        avoided = set(servers_of([n for n in given_back if n in known], scope.resource, scope.held.results).values())
        servers = _as_they_are(scope, [served for served in ahead.values() if served not in avoided])
    except MoaaError:  # the stage that asks it will say so
        return
    for manifests, server in queueing.whole_gangs(scope, servers).values():
        if server is not None and server.is_ready:
            _want(scope, manifests, server)


def _as_they_are(scope: Scope, models: Iterable[ServedModel]) -> Wanted:
    """Servers that answer, with the replicas that they have, as far as `maxGpus` allows.

    Raises:
        StageError, ResourceError: as `replicas.counts` and `Scope.deployments`.
    """
    counts = replicas.counts(scope)
    found = {
        served: server
        for served, (_, server) in scope.wanted(models, counts).items()
        if server is not None and server.is_ready
    }
    kept: Wanted = {}
    for served in replicas.kept(scope, found.items()):
        model = declared(served.name, scope.resource).name
        now = counts if model in counts else {model: found[served].replicas}
        kept |= scope.wanted([served], now)
    return kept


def _gives_back(scope: Scope, entry: StageAttempts) -> bool:
    """Between attempts: it is not to find the servers again that it had."""
    if attempts.is_released(entry, now=scope.now) or attempts.is_overtaken(entry):
        return True
    return entry.step is None and entry.reason == outcomes.SERVERS_FAILED


def _hopeless(scope: Scope) -> set[str]:
    """Stages that failed for good, or need one that did; the graph's order puts them after those they need."""
    found: set[str] = set()
    for name, stage in scope.held.graph.stages.items():
        if name in scope.decision.failed or (name not in scope.held.results and found.intersection(stage.after)):
            found.add(name)
    return found


def _want(scope: Scope, manifests: list[Manifest], server: Server | None) -> None:
    """The server is to exist as rendered; what is there with the same digest is left as it is."""
    maker = maker_in(manifests)
    name = name_of(maker)
    if name in scope.kept_servers:
        return
    is_edited = server is not None and server.hash != scope.hash_of(maker)
    if server is not None and (queueing.is_outdated(scope, server) or (scope.queue and is_edited)):
        return  # It is made anew: Kueue lets nobody move or change what it has admitted.
    scope.kept_servers.add(name)
    if server is not None and server.is_leaving:
        return  # its deletion is an event
    before = server.hash if server is not None else None
    for manifest in manifests:
        there = before if manifest is maker else scope.observed.service_hashes.get(name_of(manifest))
        if there != scope.hash_of(manifest):
            scope.apply.append(manifest)


def carry_out(scope: Scope) -> None:
    """Have the objects of every attempt's step exist."""
    for entry in scope.running():
        if _is_made(scope, entry):
            continue
        identity = scope.held.identities.get(entry.stage)
        if identity is None or identity.fingerprint != entry.fingerprint:
            continue  # it is being stopped
        try:
            scope.create += _children(scope, entry, identity)
        except MoaaError as error:
            scope.fail(entry, "NotRenderable", str(error), is_permanent=True)


def _is_made(scope: Scope, entry: StageAttempts) -> bool:
    """Everything of the attempt's step exists. In a queue the Job comes before its file (`queueing`)."""
    child = outcomes.working_child(scope.observed, entry)
    if child is None:
        return entry.step is Step.SERVERS and not scope.queue
    if entry.step is Step.SERVERS or child.end is not End.RUNNING or child.is_leaving:
        return True
    files = [c for c in outcomes.children_of(scope.observed, entry) if not c.is_work]
    return any(file.role is child.role for file in files)


def _children(scope: Scope, entry: StageAttempts, identity: Identity) -> list[Manifest]:
    job = _job(scope, entry, identity)
    match entry.step:
        case Step.WORK:
            shards = shards_of(identity.stage, scope.resource, scope.held.results)
            return scope.render.stage(job, attempt=entry.attempt, shards=shards)
        case Step.FINALISE:
            return scope.render.finalise(job, attempt=entry.attempt)
        case Step.SERVERS:
            shards = shards_of(identity.stage, scope.resource, scope.held.results)
            made = scope.render.stage(job, attempt=entry.attempt, shards=shards)
            return [manifest for manifest in made if manifest["kind"] != "ConfigMap"]
        case None:
            return []
        case _:
            assert_never(entry.step)


def _job(scope: Scope, entry: StageAttempts, identity: Identity) -> StageJob:
    served = server_gang.wanted(identity.stage, entry, scope.resource, scope.held.results)
    return stage_job(
        identity,
        scope.resource,
        scope.held.results,
        run=scope.observed.owner.run,
        endpoints={name: [scope.render.server_url(model)] for name, model in served.items()},
        served_names={name: model.served_name for name, model in served.items()},
    )
