"""Method Single: the aggregator alone decides, by the same criteria and without evaluations."""

from collections.abc import Iterator, Sequence

from moaa.api.mixture import Criterion, Judge
from moaa.asking.asker import Asker
from moaa.asking.load import Load
from moaa.judge.ask import JUDGE_INSTRUCTION_TOKENS, single_verdict, verdict_loads
from moaa.judge.pairwise import EveryPair
from moaa.judge.prompts import Ordered
from moaa.judge.ranking import orders_score
from moaa.judge.trail import Judgement


def method(judge: Judge) -> EveryPair:
    return EveryPair(judge, _Alone())


class _Alone:
    prompts = ("single",)
    without_effect: frozenset[str] = frozenset()

    async def judgements(
        self, pair: Ordered, criteria: Sequence[Criterion], judge: Judge, asker: Asker
    ) -> list[Judgement]:
        """The aggregator's verdict. The call is named `single`."""
        assert judge.aggregator is not None, "the resource's validation asks for one"
        return [await single_verdict(pair, criteria, judge.aggregator, judge, asker.at("single"))]

    def score(self, forward: Sequence[float | None], backward: Sequence[float | None], judge: Judge) -> float | None:  # noqa: ARG002
        return orders_score(*forward, *backward)

    def loads(self, judge: Judge, times: int, compared: int) -> Iterator[Load]:
        assert judge.aggregator is not None, "the resource's validation asks for one"
        yield from verdict_loads(judge.aggregator, judge, times, compared + JUDGE_INSTRUCTION_TOKENS)
