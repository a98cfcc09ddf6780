"""What an executor does next: a pure decision over what is done, what runs and what has failed.

Both executors call `decide` after every event and act on the answer; nothing is remembered between two calls. What
always holds: a stage with a result is never started; nothing starts before its inputs have results; a stage whose
identity an edit has changed is stopped; at most one training runs; attempts of one fingerprint that get no further are
bounded, so every run ends. Capacity (memory, GPUs) is the executor's concern: it may start fewer stages than `start`
names.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from moaa.api import MoAA
from moaa.plan.budget.limits import Funds
from moaa.plan.budget.spent import Account
from moaa.plan.fingerprint import identify
from moaa.plan.ids import STAGE_DATA, made_by
from moaa.plan.kinds.table import TRAINING
from moaa.plan.result import Identity, StageResult
from moaa.plan.stage import Graph, Stage


@dataclass(frozen=True)
class Failure:
    """Failed attempts of one fingerprint. Deferred attempts (rows wait for a model) do not count, nor do attempts that
    a newer one fenced."""

    attempts: int
    """In a row that got no further than the one before them (`failed_again`)."""
    is_permanent: bool
    error: str
    """The last one's."""
    reached: int = 0
    """Percent of the work that they left in the store."""


def failed_again(attempts: int, *, before: int, reached: int) -> int:
    """The failed attempts that count against `failures.retries` after another one failed.

    One that left more in the store than those before it, in whole percent of the work, begins a new count: a long
    training on machines that are lost now and then ends, and one that dies at the same place is given up.

    >>> failed_again(2, before=40, reached=40), failed_again(2, before=40, reached=55)
    (3, 1)
    """
    return 1 if reached > before else attempts + 1


@dataclass(frozen=True)
class World:
    """What an executor sees."""

    results: Mapping[str, StageResult]
    """Stages that are done under their present identity, by id; `candidates` says where to look for them."""
    running: Mapping[str, str] = field(default_factory=dict)
    """Fingerprint of the live attempt, by stage id."""
    failures: Mapping[str, Failure] = field(default_factory=dict)
    """By fingerprint: an edit that changes what a stage does gives it new attempts."""
    account: Account = field(default_factory=dict)
    """What the run has spent; read only where `spec.budget` is given."""


@dataclass(frozen=True)
class Held:
    """Which of a run's results hold under the resource as it is now."""

    graph: Graph = field(default_factory=Graph)
    """Without the iterations that are closed and forgotten."""
    results: Mapping[str, StageResult] = field(default_factory=dict)
    """Those that hold, by stage."""
    aside: Mapping[str, StageResult] = field(default_factory=dict)
    """Results of stages whose inputs are not all known yet; whether they hold shows later."""
    identities: Mapping[str, Identity] = field(default_factory=dict)
    """Of stages that have no result and all inputs."""


@dataclass(frozen=True)
class Decision:
    start: tuple[Identity, ...] = ()
    """Stages to start, in graph order."""
    stop: tuple[str, ...] = ()
    """Running stages whose work no later stage will read; all running stages when suspended."""
    waiting: Mapping[str, str] = field(default_factory=dict)
    """For each stage that waits, the reason. Stages that are done, run, start or have failed are not in it."""
    failed: Mapping[str, str] = field(default_factory=dict)
    """Stages that get no further attempt, with the last error."""
    over_budget: Mapping[str, str] = field(default_factory=dict)
    """Stages that a limit of `spec.budget` keeps from starting or stops, and which; those that do not run are in
    `waiting`, too."""
    is_finished: bool = False
    """Every stage is done."""
    is_stuck: bool = False
    """A stage has failed for good and no other can run."""
    is_out_of_budget: bool = False
    """A limit holds a stage, and no other can run."""


def candidates(graph: Graph, resource: MoAA, results: Mapping[str, StageResult]) -> list[Identity]:
    """Stages without a result whose inputs are all known: look for their manifests, add what is found, ask again."""
    open_stages = [stage for stage in graph.stages.values() if stage.id not in results]
    return [identity for stage in open_stages if (identity := identify(stage, resource, results))]


def decide(graph: Graph, resource: MoAA, world: World) -> Decision:
    """What to start and what to stop."""
    retries, suspended = resource.spec.failures.retries, resource.spec.suspend
    identities = {identity.stage.id: identity for identity in candidates(graph, resource, world.results)}
    funds = funds_of(resource, world) if resource.spec.budget.is_given else None
    over = _reached(funds, graph, world.running)
    stop = tuple(
        name
        for name, fingerprint in world.running.items()
        if suspended or name in over or name not in identities or identities[name].fingerprint != fingerprint
    )
    failed = {
        name: _verdict(failure)
        for name, identity in identities.items()
        if (failure := world.failures.get(identity.fingerprint))
        and name not in world.running
        and (failure.is_permanent or failure.attempts > retries)
    }
    training = any(name in world.running for name, stage in graph.stages.items() if stage.kind in TRAINING)
    start: list[Identity] = []
    waiting: dict[str, str] = {}
    for stage in graph.stages.values():
        if stage.id in world.results or stage.id in failed or (stage.id in world.running and stage.id not in stop):
            continue
        identity = identities.get(stage.id)
        if reason := _held(stage, identity, stop, suspended=suspended, training=training):
            waiting[stage.id] = reason
        elif identity is None or any(name not in world.results for name in stage.waits):
            waiting[stage.id] = _missing(stage, graph, world, failed)
        elif funds is not None and (lack := funds.lacking(identity, at_work=_at_work(identities, world, stop, start))):
            over[stage.id] = waiting[stage.id] = lack
        else:
            start.append(identity)
            training = training or stage.kind in TRAINING
    is_still = not start and not world.running
    return Decision(
        start=tuple(start),
        stop=stop,
        waiting=waiting,
        failed=failed,
        over_budget=over,
        is_finished=all(name in world.results for name in graph.stages),
        is_stuck=bool(failed) and is_still and not suspended,
        is_out_of_budget=bool(over) and is_still and not failed and not suspended,
    )


def funds_of(resource: MoAA, world: World) -> Funds:
    """The run's budget, what is spent of it, and the rows that estimates rest on."""
    staged = world.results[STAGE_DATA].outputs if STAGE_DATA in world.results else {}
    return Funds(resource, world.account, {name: output.rows for name, output in staged.items()})


def _reached(funds: Funds | None, graph: Graph, running: Iterable[str]) -> dict[str, str]:
    """Stages at work that a limit stops, and which."""
    if funds is None:
        return {}
    at_work = [graph.stages[name] for name in running if name in graph.stages]
    return {stage.id: why for stage in at_work if (why := funds.reached(stage)) is not None}


def _at_work(
    identities: Mapping[str, Identity], world: World, stop: tuple[str, ...], start: Iterable[Identity]
) -> list[Identity]:
    """What runs and is to start before."""
    going_on = [identities[name] for name in world.running if name in identities and name not in stop]
    return [*going_on, *start]


def _held(
    stage: Stage, identity: Identity | None, stop: tuple[str, ...], *, suspended: bool, training: bool
) -> str | None:
    """Why a stage must not start now, even if its inputs are there."""
    if stage.id in stop:
        return "its running attempt is being stopped"
    if suspended:
        return "spec.suspend is true"
    if identity is not None and stage.kind in TRAINING and training:
        return "another training runs"
    return None


def _missing(stage: Stage, graph: Graph, world: World, failed: Mapping[str, str]) -> str:
    missing = [need for need in stage.after if need not in world.results]
    broken = [need for need in missing if need in failed]
    if broken:
        return f"{broken[0]} has failed"
    earlier: set[str] = set()
    ahead = [need for need in missing if need in graph.stages]
    while ahead:  # no further back than this iteration and what opened it
        for need in graph.stages[ahead.pop()].after:
            if need not in earlier and need in graph.stages and graph.stages[need].iteration == stage.iteration:
                ahead.append(need)
            earlier.add(need)
    return f"needs {', '.join(need for need in missing if need not in earlier)}"


def _verdict(failure: Failure) -> str:
    if failure.is_permanent or failure.attempts == 1:
        return failure.error
    return f"{failure.attempts} attempts failed, the last with: {failure.error}"


def servers_needed(stages: Iterable[Stage], resource: MoAA) -> tuple[str, ...]:
    """Models that we must serve while these stages run, in need order; endpoints are served by others."""
    names = dict.fromkeys(name for stage in stages for name in stage.serves)
    return tuple(name for name in names if made_by(name) or resource.spec.model(name).endpoint is None)


def servers_ahead(graph: Graph, resource: MoAA, results: Mapping[str, StageResult]) -> tuple[str, ...]:
    """Models of the stages that come before the next training, in need order: worth keeping up between two stages.

    A training needs the machines, so stages behind it are no reason to keep a server.
    """
    ahead: list[Stage] = []
    for stage in graph.stages.values():
        if stage.id in results:
            continue
        if stage.kind in TRAINING:
            break
        ahead.append(stage)
    return servers_needed(ahead, resource)


def next_in_turn(stage: Stage, waiting: Mapping[str, int], last: str | None) -> str | None:
    """Schedule InTurn: the model to serve next, given how many rows wait for each; None when none waits.

    Goes round in the order in which rows need the models, so each model is followed by those that its answers feed. A
    mixture over several turns takes one cycle a turn.
    """
    order = list(stage.serves)
    turned = order.index(last) + 1 if last in order else 0
    return next((name for name in order[turned:] + order[:turned] if waiting.get(name, 0) > 0), None)
