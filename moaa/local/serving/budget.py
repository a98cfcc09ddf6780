"""Which servers can be up together: pure decisions over demands and a capacity.

Servers that a job uses are pinned. Idle ones stay up until their room is needed; the one whose next use is farthest
away goes first.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

from moaa.errors import ServerError
from moaa.local.serving.machine import NOTHING, Capacity, Demand


def total(demands: Sequence[Demand]) -> Demand:
    return sum(demands, NOTHING)


def preference(names: Sequence[str], *, waiting: Mapping[str, int], up: AbstractSet[str]) -> list[str]:
    """The order in which a stage's models should get a server.

    Models with waiting rows come first, most rows first; then those that are up already, then the order in which rows
    need them. On the first start nothing waits, so that the first models of the order come first.
    """
    order = {name: k for k, name in enumerate(names)}
    return sorted(order, key=lambda name: (-waiting.get(name, 0), name not in up if waiting else False, order[name]))


def choose(
    keys: Sequence[str],
    demands: Mapping[str, Demand],
    capacity: Capacity,
    *,
    beside: Demand,
    at_once: int | None,
    names: Mapping[str, str],
) -> list[str]:
    """As many of `keys`, in this order of preference, as fit beside `beside`; at most `at_once`. `names` are for the
    error.

    Raises:
        ServerError: the first one does not fit even alone, so that its rows could never be answered.
    """
    chosen: list[str] = []
    used = beside
    for key in keys:
        if at_once is not None and len(chosen) >= at_once:
            break
        if (used + demands[key]).fits(capacity):
            chosen.append(key)
            used += demands[key]
        elif not chosen:
            raise ServerError(_too_big(names[key], beside + demands[key], capacity))
    return chosen


def widen(
    chosen: Sequence[str],
    demands: Mapping[str, Demand],
    wanted: Mapping[str, int],
    capacity: Capacity,
    *,
    beside: Demand,
) -> dict[str, int]:
    """How many servers each of `chosen` gets: one each, then one more in turn while there is room."""
    counts = dict.fromkeys(chosen, 1)
    used = total([demands[key] for key in chosen]) + beside
    while True:
        more = [key for key in chosen if counts[key] < wanted[key] and (used + demands[key]).fits(capacity)]
        if not more:
            return counts
        key = min(more, key=counts.__getitem__)
        counts[key] += 1
        used += demands[key]


def evict(
    idle: Mapping[str, Demand], *, upcoming: Sequence[str], pinned: Demand, wanted: Demand, capacity: Capacity
) -> list[str] | None:
    """Idle servers to stop so that `wanted` fits beside `pinned` and the idle ones that are left.

    `upcoming` are the keys later stages use, soonest first. None: it does not fit even without any idle server, so
    the caller has to wait for pinned ones.
    """
    if not (pinned + wanted).fits(capacity):
        return None
    distance = {key: k for k, key in enumerate(upcoming)}
    kept = sorted(idle, key=lambda key: (distance.get(key, len(distance)), idle[key].memory_gib, key))
    stopped: list[str] = []
    while kept and not (pinned + wanted + total([idle[key] for key in kept])).fits(capacity):
        stopped.append(kept.pop())
    return stopped


def _too_big(name: str, demand: Demand, capacity: Capacity) -> str:
    return (
        f"model {name} does not fit: with the job beside it it needs {demand.memory_gib:.1f} GiB of memory and "
        f"{demand.gpus} GPUs, and there are {capacity.memory_gib:.1f} GiB and {len(capacity.gpus)}; "
        "lower serving.memoryGib or serving.gpus if that is too careful, free memory, or use a larger machine"
    )
