"""Method Mixture: every judge writes an evaluation, the aggregator reads them all and decides (paper §3.2.3)."""

from collections.abc import Iterator, Sequence

from moaa.api.mixture import Criterion, Judge
from moaa.asking.asker import Asker
from moaa.asking.cut import shown
from moaa.asking.gather import gather_calls
from moaa.asking.load import MARKER_TOKENS, Load, written
from moaa.errors import CallError
from moaa.judge.ask import JUDGE_INSTRUCTION_TOKENS, meta_verdict, verdict_loads
from moaa.judge.pairwise import EveryPair
from moaa.judge.prompts import Ordered, judge_messages
from moaa.judge.ranking import orders_score
from moaa.judge.trail import Judgement, Role

TOO_FEW_EVALUATIONS = "too-few-evaluations"
"""Why no verdict was asked for: fewer than `minJudges` evaluations came back."""
EVALUATION_TOKENS = 450
"""Free text of one judge: three criteria, a summary, a comparison (ours; peers write 400)."""


def method(judge: Judge) -> EveryPair:
    return EveryPair(judge, _MetaJudge())


class _MetaJudge:
    prompts = ("judge", "evaluation", "meta_judge")
    without_effect: frozenset[str] = frozenset()

    async def judgements(
        self, pair: Ordered, criteria: Sequence[Criterion], judge: Judge, asker: Asker
    ) -> list[Judgement]:
        """Every judge's evaluation, then the aggregator's verdict. Calls are named `j<i>` and `meta`.

        A judge whose evaluation failed permanently is left out. With fewer than `minJudges` left there is no verdict.
        """
        aggregator = judge.aggregator
        assert aggregator is not None, "the resource's validation asks for one"
        messages = judge_messages(pair, criteria, asker.prompts)
        replies = await gather_calls(
            asker.at(f"j{i}").ask(model.model, messages, model) for i, model in enumerate(judge.judges)
        )
        said = [
            Judgement(pair.order, Role.EVALUATION, model.model, "", failure=str(reply.reason))
            if isinstance(reply, CallError)
            else Judgement(pair.order, Role.EVALUATION, model.model, shown(reply))
            for model, reply in zip(judge.judges, replies, strict=True)
        ]
        evaluations = [one.text for one in said if not one.failure]
        if len(evaluations) < judge.least_judges:
            return [*said, Judgement(pair.order, Role.VERDICT, aggregator.model, "", failure=TOO_FEW_EVALUATIONS)]
        return [*said, await meta_verdict(pair, criteria, evaluations, judge, asker.at("meta"))]

    def score(self, forward: Sequence[float | None], backward: Sequence[float | None], judge: Judge) -> float | None:  # noqa: ARG002
        return orders_score(*forward, *backward)

    def loads(self, judge: Judge, times: int, compared: int) -> Iterator[Load]:
        assert judge.aggregator is not None, "the resource's validation asks for one"
        asked, read = compared + JUDGE_INSTRUCTION_TOKENS, 0
        for model in judge.judges:
            said = written(model.max_tokens, EVALUATION_TOKENS)
            yield Load(model.model, times, asked, said)
            read += said + MARKER_TOKENS
        yield from verdict_loads(judge.aggregator, judge, times, asked + read)
