"""One pair of answers, judged in both orders by the method the resource names.

Criteria are chosen once for the unordered pair and used in both orders (our choice). A call that fails for good or
that cannot be read leaves its order without an outcome; that is recorded as None and never counts as a score. A failure
that may pass fails the row.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, Protocol

from moaa.api.mixture import Criterion, Judge, JudgeMethod
from moaa.asking.caller import Caller
from moaa.asking.gather import gather_calls
from moaa.asking.windows import NO_WINDOWS, Windows
from moaa.errors import CallError
from moaa.judge import mixture, panel, single
from moaa.judge.ask import choose_criteria
from moaa.judge.prompts import Ordered
from moaa.judge.verdict import Verdict
from moaa.rows import Comparison

Order = Literal["ab", "ba"]
Outcome = int | None
"""1: the pair's a is better; 0: its b; None: no verdict could be had."""


@dataclass(frozen=True)
class Pair:
    """Two answers to one question; `a` and `b` are sample numbers, a < b."""

    question: str
    a: int
    b: int
    text_a: str
    text_b: str
    path: str
    """Goes before the names of all calls about the pair, for example `c0-1`."""

    def ordered(self, order: Order) -> Ordered:
        """How the pair is shown: in order `ba` the pair's b is called A."""
        if order == "ab":
            return Ordered(self.question, self.text_a, self.text_b)
        return Ordered(self.question, self.text_b, self.text_a)


def outcome_of(verdict: Verdict | None, order: Order) -> Outcome:
    """A verdict on letters in terms of the pair's a: in order `ba` the letter A is the pair's b."""
    if verdict is None:
        return None
    return int((verdict == "A") == (order == "ab"))


class Method(Protocol):
    """One order's verdicts; one entry, or one for each judge of a panel. Missing ones are None."""

    async def __call__(
        self,
        pair: Ordered,
        criteria: list[Criterion],
        judge: Judge,
        prompts: Mapping[str, str],
        caller: Caller,
        *,
        windows: Windows,
        path: str,
    ) -> list[Verdict | None]: ...


_METHODS: Mapping[JudgeMethod, Method] = MappingProxyType(
    {
        JudgeMethod.MIXTURE: mixture.verdicts,
        JudgeMethod.SINGLE: single.verdicts,
        JudgeMethod.PANEL: panel.verdicts,
    }
)


async def compare(
    pair: Pair, judge: Judge, prompts: Mapping[str, str], caller: Caller, *, windows: Windows = NO_WINDOWS
) -> Comparison:
    """Judge `pair` in both orders.

    `judge` names models as `caller` knows them; `prompts` are the effective templates.

    Raises:
        CallError: a failure that may pass.
        ModelAbsent: both raised after every call that can be made now was made.
    """
    [criteria] = await gather_calls([choose_criteria(pair.ordered("ab"), judge, prompts, caller, path=pair.path)])
    if criteria is None or isinstance(criteria, CallError):  # the ledger holds the reason
        return _comparison(pair, [], [], [])
    method = _METHODS[judge.method]
    orders: tuple[Order, Order] = ("ab", "ba")
    results = await gather_calls(
        method(pair.ordered(order), criteria, judge, prompts, caller, windows=windows, path=f"{pair.path}/{order}")
        for order in orders
    )
    outcomes = [
        [] if isinstance(result, CallError) else [outcome_of(verdict, order) for verdict in result]
        for order, result in zip(orders, results, strict=True)
    ]
    return _comparison(pair, criteria, outcomes[0], outcomes[1])


def _comparison(pair: Pair, criteria: list[Criterion], forward: list[Outcome], backward: list[Outcome]) -> Comparison:
    votes = [list(vote) for vote in zip(forward, backward, strict=True)] if len(forward) > 1 else []
    return Comparison(
        a=pair.a,
        b=pair.b,
        criteria=[c.name for c in criteria],
        forward=panel.majority(forward),
        backward=panel.majority(backward),
        votes=votes,
    )
