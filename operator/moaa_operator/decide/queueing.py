"""A run whose MoAA names a queue: what it holds is admitted together, and what lost its quota stops. Pure.

A stage that asks servers joins the queue with its Job first, as the light part. The Job's pods wait for their job file,
which is made once the servers answer, so the order is durable: a Job without its file waits for servers. Then the
servers that are not there yet come up as one pod group, which Kueue admits whole or not at all. So no server ever holds
what its own Job waits for, and no part of a gang holds GPUs while the rest waits.

Servers over several machines are no members: Kueue admits each of their groups by itself, as one Workload.

A pod group keeps the quota of members that are gone. So servers are kept for a later stage by whole groups only,
nothing is kept while anything of the run waits for quota, and stages that share servers follow each other.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import assert_never

from moaa.api.attempts import StageAttempts, Step
from moaa.weights.served import ServedModel
from moaa_operator.decide import outcomes
from moaa_operator.decide.scope import Scope
from moaa_operator.decide.server_gang import Gang
from moaa_operator.kube import kueue
from moaa_operator.kube.kinds import ServerKind, kind_of, maker_in
from moaa_operator.kube.objects import Manifest, Problem, name_of
from moaa_operator.observe.observed import Child, Server

Wanted = Mapping[ServedModel, tuple[list[Manifest], Server | None]]
MAX_MEMBERS = 8
"""Kinds of pods that a Workload can have. Servers of more models are admitted one by one."""


def waits(scope: Scope, entry: StageAttempts) -> Problem | None:
    """Why the attempt may not ask for its servers yet: its Job has no quota. None: it may."""
    if not scope.queue or entry.step is not Step.SERVERS:
        return None
    seat = outcomes.working_child(scope.observed, entry)
    if seat is None or seat.is_leaving:
        return Problem("Starting", "its Job joins the queue")
    return (seat.problem or Problem(kueue.QUEUED, "its Job waits in the queue")) if seat.is_queued else None


def lost(scope: Scope, entry: StageAttempts, servers: Wanted) -> Problem | None:
    """Why an attempt has to stop: its queue took away the quota of its Job or of its servers.

    Those that only came up stop, too: for as long as a pod that lost its quota takes to end, Kueue counts it as one of
    its group and deletes the pod that its Deployment makes in its place, again and again.
    """
    child = outcomes.working_child(scope.observed, entry)
    if child is not None and child.is_evicted:
        return child.problem
    gone = [server for _, server in servers.values() if server is not None and server.is_evicted]
    return gone[0].problem if gone else None


def explained(scope: Scope, found: Gang) -> Gang:
    """With what a person has to know to give the queue enough: the servers are not all that the run asks it for."""
    if not scope.queue or found.reason != kueue.QUEUED:
        return found
    return replace(
        found, message=f"{found.message}. The queue needs room for them beside the stage's Job, which has it"
    )


def is_outdated(scope: Scope, holder: Child | Server) -> bool:
    """It waits in another queue than the MoAA names now, so it is made anew. What runs stays where it is."""
    return holder.is_queued and holder.queue != scope.queue


def members(scope: Scope, entry: StageAttempts, servers: Wanted) -> dict[ServedModel, list[Manifest]]:
    """The manifests of each server, with the missing ones in one pod group.

    The group's name follows from its members. So a group that was made in part is completed, and a server that comes
    later, in place of one of another group, gets a group of its own.
    """
    names = {served: name_of(maker_in(manifests)) for served, (manifests, _) in servers.items()}
    fresh = [served for served, (manifests, server) in servers.items() if server is None and _may_join(manifests)]
    group = _group(scope, entry, [names[served] for served in fresh])
    joined = list(fresh)
    for gang in {server.gang for _, server in servers.values() if server is not None and server.gang}:
        begun = [served for served, (_, server) in servers.items() if server is not None and server.gang == gang]
        whole = [served for served in servers if served in begun or served in fresh]
        if _group(scope, entry, [names[served] for served in whole]) == gang:
            group, joined = gang, whole
    if not scope.queue or len(joined) > MAX_MEMBERS:
        return {served: manifests for served, (manifests, _) in servers.items()}
    count = sum(int(maker_in(servers[served][0])["spec"]["replicas"]) for served in joined)
    return {
        served: [_member(m, group, count) for m in manifests] if served in joined else manifests
        for served, (manifests, _) in servers.items()
    }


def whole_gangs(scope: Scope, servers: Wanted) -> Wanted:
    """Of servers that could be kept for a later stage those that may be."""
    if not scope.queue:
        return servers
    if scope.is_queued:
        return {}
    kept = {server.ref.name for _, server in servers.values() if server is not None}
    broken = {server.gang for server in scope.observed.servers if server.ref.name not in kept}
    return {
        served: (m, s)
        for served, (m, s) in servers.items()
        if s is not None and (not _may_join(m) or s.gang not in broken)
    }


def _may_join(manifests: list[Manifest]) -> bool:
    """Whether Kueue takes the server into a pod group with others."""
    kind = kind_of(maker_in(manifests))
    match kind:
        case ServerKind.DEPLOYMENT:
            return True
        case ServerKind.GROUPS:
            return False
        case _:
            assert_never(kind)


def _member(manifest: Manifest, group: str, count: int) -> Manifest:
    return kueue.grouped(manifest, group, count) if manifest["kind"] == ServerKind.DEPLOYMENT else manifest


def _group(scope: Scope, entry: StageAttempts, names: Collection[str]) -> str:
    return scope.render.gang(entry.stage, entry.fingerprint, sorted([*names, scope.queue]), attempt=entry.attempt)
