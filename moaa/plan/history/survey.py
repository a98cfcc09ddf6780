"""Which stages are done: identities in graph order, each looked up once those it needs are known.

The caller looks up (a manifest in the store, a status), so nothing here does I/O of its own.
"""

from collections.abc import Awaitable, Callable, Mapping

from moaa.api import MoAA
from moaa.plan.fingerprint import identify
from moaa.plan.history.repeats import IterationRecord, pin_closed
from moaa.plan.result import Identity, StageResult
from moaa.plan.stage import Graph

LookUp = Callable[[Identity], Awaitable[StageResult | None]]
"""The result of the stage with this identity, or None when it has no manifest."""


async def survey(
    graph: Graph, resource: MoAA, look_up: LookUp, *, records: Mapping[int, IterationRecord] | None = None
) -> tuple[Graph, dict[str, StageResult]]:
    """The graph to go on with and every result that holds under the resource as it is now.

    `records` are the run's iteration records, by number; closed iterations are taken from them and not looked up.
    """
    pinned, results = pin_closed(graph, records or {})
    for stage in pinned.stages.values():
        if stage.id in results:
            continue
        identity = identify(stage, resource, results)
        result = await look_up(identity) if identity is not None else None
        if result is not None:
            results[stage.id] = result
    return pinned, results
