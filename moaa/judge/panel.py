"""Method Panel: every judge decides alone; a majority of the panel, with verdicts that hold in both orders, wins.

A judge whose two verdicts disagree follows the order and not the answers; its vote is not counted.
"""

from collections.abc import Iterator, Sequence

from moaa.api.mixture import Criterion, Judge
from moaa.asking.asker import Asker
from moaa.asking.gather import gather_all
from moaa.asking.load import Load
from moaa.judge.ask import JUDGE_INSTRUCTION_TOKENS, single_verdict, verdict_loads
from moaa.judge.pairwise import EveryPair
from moaa.judge.prompts import Ordered
from moaa.judge.ranking import panel_score
from moaa.judge.trail import Judgement


def method(judge: Judge) -> EveryPair:
    return EveryPair(judge, _EachAlone())


class _EachAlone:
    prompts = ("single",)
    without_effect = frozenset(
        {"criteria", "criteriaFor"}
    )  # there is no choice: every judge gets all of criteriaChoices

    async def judgements(
        self, pair: Ordered, criteria: Sequence[Criterion], judge: Judge, asker: Asker
    ) -> list[Judgement]:
        """Every judge's verdict. Calls are named `j<i>`."""
        return await gather_all(
            single_verdict(pair, criteria, model, judge, asker.at(f"j{i}")) for i, model in enumerate(judge.judges)
        )

    def score(self, forward: Sequence[float | None], backward: Sequence[float | None], judge: Judge) -> float | None:
        return panel_score(list(zip(forward, backward, strict=True)), least=judge.least_judges)

    def loads(self, judge: Judge, times: int, compared: int) -> Iterator[Load]:
        for model in judge.judges:
            yield from verdict_loads(model, judge, times, compared + JUDGE_INSTRUCTION_TOKENS)
