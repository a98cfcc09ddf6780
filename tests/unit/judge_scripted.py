"""Judges that answer by a number in the text they compare, short templates for them, and rows to judge."""

from typing import Any

from moaa.api.mixture import Judge
from moaa.api.prompts import Prompts, effective
from moaa.api.training import PairRules
from moaa.asking.asker import Asker
from moaa.conversation import Message
from moaa.judge.keep import keep
from moaa.judge.method import Compared
from moaa.judge.methods import method_of
from moaa.judge.pairwise import EveryPair, Pair
from moaa.judge.row import pair_row, ranking_row
from moaa.rows import Comparison, PairRow, RankingRow, SampleRow
from tests.unit.calls_scripted import Asked

PROMPTS = effective(
    Prompts(
        criterion="{name};",
        criteria="CRITERIA q={question} a={answer_a} b={answer_b} {count} of {criteria}",
        judge="JUDGE q={question} a={answer_a} b={answer_b} by {criteria}",
        evaluation="({number}:{text})",
        meta_judge="META q={question} a={answer_a} b={answer_b} by {criteria} read {evaluations}",
        prompt_criteria="CRITERIA-OF q={question} {count} of {criteria}",
        single="SINGLE q={question} a={answer_a} b={answer_b} by {criteria}",
    )
)
EVERY_PAIR = PairRules()
CHOICE = "Selected Criteria:\n1. Accuracy\n2. Depth\n3. Safety\nExplanation:\nClarity matters less."


def judge(method: str = "Mixture", **changes: Any) -> Judge:
    parts: dict[str, Any] = {"method": method}
    if method != "Single":
        parts["judges"] = [{"model": f"j{i}"} for i in range(3)]
    if method != "Panel":
        parts["aggregator"] = {"model": "agg"}
    return Judge.model_validate(parts | changes)


def user(text: str) -> list[Message]:
    return [Message(role="user", content=text)]


def quality(text: str) -> int:
    return int(text.removeprefix("answer "))


def shown(asked: Asked) -> tuple[str, str]:
    """Answers A and B as a prompt of the test's templates shows them."""
    content = asked.messages[0]["content"]
    first, rest = content.split(" a=")[1].split(" b=")
    return first, " ".join(rest.split(" ")[:2])


def by_quality(asked: Asked) -> str:
    """Judges that know: the answer with the higher number is better."""
    content = asked.messages[0]["content"]
    if content.startswith("CRITERIA"):
        return CHOICE
    if content.startswith("JUDGE"):
        return f"evaluation by {asked.model}"
    a, b = shown(asked)
    return f"so [[{'A' if quality(a) > quality(b) else 'B'}]]"


def row(*samples: str, id: str = "r") -> SampleRow:
    return SampleRow(id=id, messages=user("Q"), samples=list(samples))


def pair(a: str = "answer 1", b: str = "answer 2") -> Pair:
    return Pair("Q", 0, 1, a, b)


async def compare(pair: Pair, judge: Judge, asker: Asker) -> Comparison:
    """What came of one pair, judged as the judge's method does."""
    return (await heard(pair, judge, asker)).comparison


async def heard(pair: Pair, judge: Judge, asker: Asker) -> Compared:
    """The same with all that was said."""
    method = method_of(judge)
    assert isinstance(method, EveryPair)
    return await method.compare(pair, asker.at(f"c{pair.a}-{pair.b}"))


async def judge_row(
    row: SampleRow, judge: Judge, asker: Asker, rules: PairRules = EVERY_PAIR
) -> tuple[RankingRow, PairRow | None]:
    """Both rows of a prompt, as the job writes them."""
    ranked = keep(await method_of(judge).rank(row["messages"], row["samples"], asker), row, rules, seed=0)
    return ranking_row(row, ranked), pair_row(row, ranked)
