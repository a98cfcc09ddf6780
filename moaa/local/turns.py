"""Which models are served to the next run of a job, and whether waiting rows still make progress."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from moaa.api import MoAA
from moaa.api.resource import Schedule
from moaa.local.jobs import Outcome
from moaa.local.serving import budget
from moaa.local.serving.machine import Demand
from moaa.local.serving.pool import Pool
from moaa.local.serving.server import ServerSpec, replicas
from moaa.plan.forecast.throughput import declared
from moaa.plan.ready import next_in_turn
from moaa.plan.stage import Stage


@dataclass
class Cycle:
    """Tells whether rows that wait for models still make progress."""

    models: int
    seen: set[str] = field(default_factory=set)
    idle_runs: int = 0

    def is_stuck(self, outcome: Outcome) -> bool:
        """True when as many runs in a row as there are models brought nothing new: every model had its turn."""
        figures = outcome.progress
        names = ("rows_done", "failed", "calls", "calls_reused")
        state = repr([sorted(outcome.waiting.items()), *(figures.get(name) for name in names)])
        self.idle_runs = self.idle_runs + 1 if state in self.seen else 0
        self.seen.add(state)
        return self.idle_runs >= max(self.models, 1)


def choose_servers(
    stage: Stage,
    specs: Mapping[str, ServerSpec],
    waiting: Mapping[str, int],
    last: str | None,
    *,
    job: Demand,
    pool: Pool,
    schedule: Schedule,
) -> dict[str, list[ServerSpec]]:
    """The servers of the next run of a job, by the names the stage uses: as many models as fit, then their replicas.

    `waiting` counts rows by model, `last` had its turn before.

    Raises:
        ServerError: a model does not fit even alone.
    """
    up = {name for name, spec in specs.items() if spec.key in pool.up}
    order = budget.preference(list(specs), waiting=waiting, up=up)
    at_once = None
    if schedule is Schedule.IN_TURN:
        at_once = 1
        turn = next_in_turn(stage, waiting, last)
        order = [turn, *order] if turn is not None and turn in specs else order
    unique = by_key({name: specs[name] for name in order})
    demands = {key: spec.demand for key, spec in unique.items()}
    chosen = budget.choose(
        list(unique),
        demands,
        pool.capacity,
        beside=job,
        at_once=at_once,
        names={key: spec.name for key, spec in unique.items()},
    )
    wanted = {key: spec.serving.replicas for key, spec in unique.items()}
    counts = budget.widen(chosen, demands, wanted, pool.capacity, beside=job)
    return {name: replicas(spec, counts[spec.key]) for name, spec in specs.items() if spec.key in counts}


def with_replicas(specs: Mapping[str, ServerSpec], served: MoAA) -> dict[str, ServerSpec]:
    """The specs with as many replicas as `served` declares."""
    counts = {name: declared(name, served).serving.replicas for name in specs}
    return {name: replace(spec, serving=spec.serving.with_(replicas=counts[name])) for name, spec in specs.items()}


def by_key(specs: Mapping[str, ServerSpec]) -> dict[str, ServerSpec]:
    """One spec for each server. Of several names for one server, the spec that wants most replicas counts."""
    unique: dict[str, ServerSpec] = {}
    for spec in specs.values():
        known = unique.setdefault(spec.key, spec)
        if spec.serving.replicas > known.serving.replicas:
            unique[spec.key] = spec
    return unique


def cut_short(together: Mapping[str, Sequence[ServerSpec]]) -> dict[str, str]:
    """Models that get fewer replicas than they declare, as `2 of 4`."""
    wanted = {name: specs[0].serving.replicas for name, specs in together.items()}
    return {name: f"{len(specs)} of {wanted[name]}" for name, specs in together.items() if len(specs) < wanted[name]}
