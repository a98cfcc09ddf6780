"""Bringing an attempt up: its servers as a gang, then its Job, then the Job that reads its result. Pure.

One stage at a time waits for servers: two stages of one run that start together would hold half of what each needs.
"""

from moaa.api.attempts import StageAttempts, Step
from moaa.api.resource import Schedule
from moaa.contract.job import StageJob, stage_job
from moaa.errors import MoaaError
from moaa.plan.ids import made_by
from moaa.plan.kinds.table import shards_of
from moaa.plan.ready import servers_ahead
from moaa.plan.result import Identity
from moaa.plan.stage import Graph
from moaa_operator.decide import attempts, outcomes, server_gang
from moaa_operator.decide.renderer import Manifest
from moaa_operator.decide.scope import Work
from moaa_operator.decide.served import ServedModel, servers_of
from moaa_operator.decide.server_gang import Gang, State
from moaa_operator.observe.pods import Problem
from moaa_operator.observe.read import Server

Servers = dict[ServedModel, tuple[list[Manifest], Server | None]]


def begin(work: Work, identity: Identity, entry: StageAttempts) -> str | None:
    """Begin the next attempt, or say why it waits."""
    stage = identity.stage
    turn = server_gang.next_turn(stage, entry, work.resource, work.results)
    trial = entry.with_(turn=turn) if turn else entry
    try:
        servers = work.deployments(list(server_gang.wanted(stage, trial, work.resource, work.results).values()))
    except MoaaError as error:
        work.fail(entry.with_(attempt=entry.attempt + 1), "NotServable", str(error), is_permanent=True)
        return str(error)
    are_up = all(server is not None and server.is_ready for _, server in servers.values())
    others = [other.stage for other in work.running() if other.step is Step.SERVERS]
    if servers and not are_up and others:
        return f"the servers of {others[0]} come up first"
    work.begin(entry, Step.SERVERS if servers else Step.WORK, turn=turn)
    return None


def serve(work: Work) -> None:
    """Move on attempts whose servers are up, give up those whose servers do not come, and keep what is needed."""
    for entry in work.running():
        stage = work.graph.stages[entry.stage]
        if entry.step is Step.FINALISE or not stage.serves:
            continue
        try:
            servers = work.deployments(list(server_gang.wanted(stage, entry, work.resource, work.results).values()))
        except MoaaError as error:
            work.fail(entry, "NotServable", str(error), is_permanent=True)
            continue
        if not servers:
            continue
        if entry.step is Step.SERVERS and not _wait(work, entry, servers):
            continue
        if entry.step is Step.WORK:
            _look_while_working(work, entry, servers)
        for manifests, server in servers.values():
            _want(work, manifests, server)
    _keep_ahead(work)


def _wait(work: Work, entry: StageAttempts, servers: Servers) -> bool:
    """Whether the servers of an attempt that waits for them are to stay."""
    found = _look(work, entry, servers)
    match found.state:
        case State.READY:
            work.put(attempts.move(entry, Step.WORK, now=work.now))
            if work.are_servers_ready is None:
                work.are_servers_ready = True
        case State.COMING:
            if found.look_again is not None:
                work.wake.append(found.look_again)
            _not_ready(work, found)
        case State.NO_MACHINE:
            work.release(entry, found.message)
            _not_ready(work, found)
            return False
        case State.BROKEN:
            work.fail(entry, found.reason, found.message)
            _not_ready(work, found)
            return False
    return True


def _look_while_working(work: Work, entry: StageAttempts, servers: Servers) -> None:
    """A server that dies under a stage comes back by itself, and the stage's calls wait for it; people are told."""
    found = _look(work, entry, servers)
    if found.state is State.READY:
        if work.are_servers_ready is None:
            work.are_servers_ready = True
    else:
        _not_ready(work, found)


def _look(work: Work, entry: StageAttempts, servers: Servers) -> Gang:
    up = {served: server for served, (_, server) in servers.items()}
    refused = {
        served: problem
        for served, (manifests, _) in servers.items()
        for manifest in manifests
        if (problem := work.observed.refusals.get((manifest["kind"], manifest["metadata"]["name"]))) is not None
    }
    return server_gang.look(up, work.resource, refused=refused, since=entry.since or work.now, now=work.now)


def _not_ready(work: Work, found: Gang) -> None:
    work.are_servers_ready = False
    if work.servers is None:
        work.servers = Problem(found.reason or "Starting", found.message)


def _keep_ahead(work: Work) -> None:
    """Servers that answer and that a stage before the next training asks stay up, so that they load once.

    Not those of a stage that had to give its servers back: half of them would be in another run's way.
    """
    if work.is_stuck or work.is_finished or work.resource.spec.serving.schedule is Schedule.IN_TURN:
        return
    hopeless = _hopeless(work)
    graph = Graph({name: stage for name, stage in work.graph.stages.items() if name not in hopeless})
    names = servers_ahead(graph, work.resource, work.results)
    known = [name for name in names if made_by(name) is None or made_by(name) in work.results]
    given_back = [
        name
        for entry in work.entries.values()
        if entry.stage in graph.stages and attempts.is_released(entry, now=work.now)
        for name in graph.stages[entry.stage].serves
    ]
    try:
        ahead = servers_of(known, work.resource, work.results)
        avoided = set(servers_of([n for n in given_back if n in known], work.resource, work.results).values())
        servers = work.deployments([served for served in ahead.values() if served not in avoided])
    except MoaaError:  # the stage that asks it will say so
        return
    for manifests, server in servers.values():
        if server is not None and server.is_ready:
            _want(work, manifests, server)


def _hopeless(work: Work) -> set[str]:
    """Stages that failed for good, or need one that did; the graph's order puts them after those they need."""
    found: set[str] = set()
    for name, stage in work.graph.stages.items():
        if name in work.failed or (name not in work.results and found.intersection(stage.needs)):
            found.add(name)
    return found


def _want(work: Work, manifests: list[Manifest], server: Server | None) -> None:
    """The server is to exist as rendered; what is there with the same digest is left as it is."""
    name = next(m["metadata"]["name"] for m in manifests if m["kind"] == "Deployment")
    if name in work.kept_servers:
        return
    work.kept_servers.add(name)
    if server is not None and server.is_leaving:
        return  # its deletion is an event
    there = {**work.observed.service_hashes, **({f"Deployment {name}": server.hash} if server else {})}
    for manifest in manifests:
        about = manifest["metadata"]
        key = f"Deployment {about['name']}" if manifest["kind"] == "Deployment" else about["name"]
        if there.get(key) != work.hash_of(manifest):
            work.apply.append(manifest)


def carry_out(work: Work) -> None:
    """Have the objects of every attempt's step exist."""
    for entry in work.running():
        if entry.step is Step.SERVERS or outcomes.working_child(work.observed, entry) is not None:
            continue
        identity = work.identities.get(entry.stage)
        if identity is None or identity.fingerprint != entry.fingerprint:
            continue  # it is being stopped
        try:
            work.create += _children(work, entry, identity)
        except MoaaError as error:
            work.fail(entry, "NotRenderable", str(error), is_permanent=True)


def _children(work: Work, entry: StageAttempts, identity: Identity) -> list[Manifest]:
    owner, settings = work.observed.owner, work.settings
    job = _job(work, entry, identity)
    if entry.step is Step.FINALISE:
        return work.render.finalise_children(job, work.resource, owner, attempt=entry.attempt, settings=settings)
    shards = shards_of(identity.stage, work.resource, work.results)
    return work.render.stage_children(
        job, work.resource, owner, attempt=entry.attempt, shards=shards, settings=settings
    )


def _job(work: Work, entry: StageAttempts, identity: Identity) -> StageJob:
    served = server_gang.wanted(identity.stage, entry, work.resource, work.results)
    return stage_job(
        identity,
        work.resource,
        work.results,
        run=work.observed.owner.run,
        endpoints={name: [work.render.server_url(model, work.observed.owner)] for name, model in served.items()},
        served_names={name: model.served_name for name, model in served.items()},
    )
