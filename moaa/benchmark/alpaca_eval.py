"""The AlpacaEval benchmark: the win rate against fixed answers, weighed by the probabilities of one token.

Source: Dubois et al. 2024 (arXiv 2404.04475); `weighted_alpaca_eval_gpt4_turbo` of alpaca_eval 0.6.6. The judge reads
both answers as those of models m and M and names the better one. Its preference is P(answer's name) ÷ (P(m) + P(M)).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256

from pydantic import BaseModel

from moaa.api.evaluation import AlpacaEval
from moaa.api.mixture import Judge
from moaa.api.prompts import render
from moaa.asking.asker import Asker
from moaa.asking.caller import Choice
from moaa.asking.gather import gather_all
from moaa.asking.load import PROMPT_TOKENS, Load, written
from moaa.benchmark.measure import NoVerdict, Scored, reasons
from moaa.conversation import Conversation, Message
from moaa.judge.ask import letter_verdict
from moaa.judge.prompts import Order, Ordered, exchange
from moaa.judge.trail import Judgement
from moaa.rows import PromptRow

NAMES = ("m", "M")
"""Of the answer that stands first, and of the other."""
INSTRUCTION_TOKENS = 150


class AlpacaFacts(BaseModel):
    """What AlpacaEval's authors know of an official question, as JSON in `facts` and in `detail`."""

    difficulty: float
    gamed: list[tuple[float, float]]
    """Of each gamed run of the baseline: its score, and (baseline's length − own length) ÷ their spread over the
    run."""


@dataclass(frozen=True)
class AlpacaEvalMeasure:
    benchmark: AlpacaEval
    judge: Judge
    metric: str = "win rate"
    needs_gold: bool = False
    needs_given: bool = True
    prompts: tuple[str, ...] = ("alpaca_eval",)
    yardstick: str | None = None

    def loads(self, answers: int) -> Iterator[Load]:
        read = PROMPT_TOKENS + 2 * written(self.benchmark.sampling.max_tokens) + INSTRUCTION_TOKENS
        yield Load(self._model, answers * (2 if self.benchmark.both_orders else 1), read, 1)

    async def score(self, row: PromptRow, answered: Conversation, asker: Asker) -> Scored:
        """Equal answers are a draw without a call, as in AlpacaEval. Calls are named `alpaca/<order>`.

        Raises:
            CallError, NoVerdict, ModelAbsent: as `Measure.score`.
        """
        question, mine = exchange(answered)
        baseline = row["answer"]
        assert baseline is not None, f"row {row['id']}: stage-data refuses rows without an answer"
        facts = AlpacaFacts.model_validate_json(text).model_dump() if (text := row.get("facts")) else None
        if mine == baseline:
            return Scored(0.5, baseline_length=len(baseline), detail=facts)
        orders: tuple[Order, ...] = ("ab", "ba") if self.benchmark.both_orders else (order_of(question),)
        shown = {
            "ab": Ordered(question, mine, baseline, "ab"),
            "ba": Ordered(question, baseline, mine, "ba"),
        }
        said = tuple(await gather_all([self._weighed(shown[order], asker) for order in orders]))
        shares = [share for one in said if (share := _share(one)) is not None]
        if len(shares) < len(said):
            raise NoVerdict(f"row {row['id']}: no verdict against the baseline: {reasons(said)}", said=said)
        return Scored(sum(shares) / len(shares), said, baseline_length=len(baseline), detail=facts)

    @property
    def _model(self) -> str:
        assert self.judge.aggregator is not None, "made of judgeModel"
        return self.judge.aggregator.model

    async def _weighed(self, pair: Ordered, asker: Asker) -> Judgement:
        choice = Choice(_messages(pair, asker), said="", opening="", question="", letters=NAMES)
        return await letter_verdict(pair, self._model, choice, asker.at("alpaca").at(pair.order))


def order_of(question: str) -> Order:
    """Which answer stands first: drawn once for each question, so that every subject meets the same order."""
    return "ab" if sha256(question.encode()).digest()[0] % 2 else "ba"


def _share(said: Judgement) -> float | None:
    """Of the measured answer; None without a verdict."""
    if said.probability is None:
        return None
    return said.probability if said.order == "ab" else 1 - said.probability


def _messages(pair: Ordered, asker: Asker) -> Conversation:
    values = {"question": pair.question, "answer_a": pair.first, "answer_b": pair.second}
    return [Message(role="user", content=render(asker.prompts["alpaca_eval"], values, asker.prompts))]
