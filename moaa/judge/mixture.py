"""Method Mixture: every judge writes an evaluation, the aggregator reads them all and decides (paper §3.2.3)."""

from collections.abc import Mapping

from moaa.api.mixture import Criterion, Judge
from moaa.client.budget import Windows
from moaa.client.calls import Caller
from moaa.client.cut import shown
from moaa.client.gather import gather_calls
from moaa.errors import CallError
from moaa.judge.ask import meta_verdict
from moaa.judge.prompts import Ordered, judge_messages
from moaa.judge.verdict import Verdict


async def verdicts(
    pair: Ordered,
    criteria: list[Criterion],
    judge: Judge,
    prompts: Mapping[str, str],
    caller: Caller,
    *,
    windows: Windows,
    path: str,
) -> list[Verdict | None]:
    """The aggregator's verdict on the pair in this order.

    A judge whose evaluation failed for good is left out; with none left there is no verdict. Calls are named
    `<path>/j<i>` and `<path>/meta`.

    Raises:
        CallError: the aggregator's call failed, or a judge's in a way that may pass.
        ModelAbsent: both raised after every call that can be made now was made.
    """
    assert judge.aggregator is not None, "the resource's validation asks for one"
    messages = judge_messages(pair, criteria, prompts)
    replies = await gather_calls(
        caller.call(f"{path}/j{i}", model.model, messages, model) for i, model in enumerate(judge.judges)
    )
    evaluations = [shown(reply) for reply in replies if not isinstance(reply, CallError)]
    if not evaluations:
        return [None]
    verdict = await meta_verdict(
        pair, criteria, evaluations, judge.aggregator, prompts, caller, windows=windows, path=f"{path}/meta"
    )
    return [verdict]
