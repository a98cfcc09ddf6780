"""Method Single: the aggregator alone decides, by the same criteria and without evaluations."""

from collections.abc import Mapping

from moaa.api.mixture import Criterion, Judge
from moaa.asking.caller import Caller
from moaa.asking.windows import Windows
from moaa.judge.ask import single_verdict
from moaa.judge.prompts import Ordered
from moaa.judge.verdict import Verdict


async def verdicts(
    pair: Ordered,
    criteria: list[Criterion],
    judge: Judge,
    prompts: Mapping[str, str],
    caller: Caller,
    *,
    windows: Windows,  # noqa: ARG001 - the prompt holds nothing that may be shortened
    path: str,
) -> list[Verdict | None]:
    """The aggregator's verdict on the pair in this order. The call is named `<path>/single`.

    Raises:
        CallError, ModelAbsent: as `Caller.call`.
    """
    assert judge.aggregator is not None, "the resource's validation asks for one"
    return [await single_verdict(pair, criteria, judge.aggregator, prompts, caller, path=f"{path}/single")]
