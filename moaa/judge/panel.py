"""Method Panel: every judge decides alone, and the majority of verdicts that hold in both orders wins.

A judge whose two verdicts disagree follows the order and not the answers; its vote is not counted.
"""

from collections.abc import Mapping, Sequence

from moaa.api.mixture import Criterion, Judge
from moaa.asking.caller import Caller
from moaa.asking.gather import gather_calls
from moaa.asking.windows import Windows
from moaa.errors import CallError
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
    """Every judge's verdict on the pair in this order, None for one that failed for good. Calls: `<path>/j<i>`.

    Raises:
        CallError: a failure that may pass.
        ModelAbsent: both raised after every call that can be made now was made.
    """
    results = await gather_calls(
        single_verdict(pair, criteria, model, prompts, caller, path=f"{path}/j{i}")
        for i, model in enumerate(judge.judges)
    )
    return [None if isinstance(result, CallError) else result for result in results]


def majority(outcomes: Sequence[int | None]) -> int | None:
    """What most of the outcomes that there are say; None for a draw or where there are none."""
    there = [outcome for outcome in outcomes if outcome is not None]
    ones = sum(there)
    if 2 * ones == len(there):
        return None
    return int(2 * ones > len(there))


def panel_score(votes: Sequence[Sequence[int | None]]) -> float | None:
    """What [forward, backward] of every judge say of a: 1 win, ½ no majority, 0 loss.

    None when fewer than half of the judges gave a verdict in both orders: then the panel is no panel.
    """
    complete = [vote for vote in votes if None not in vote]
    if 2 * len(complete) <= len(votes):
        return None
    held = [vote[0] for vote in complete if vote[0] == vote[1]]
    won = majority(held)
    return 0.5 if won is None else float(won)
