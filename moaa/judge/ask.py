"""The single questions a judge is asked, each with its one retry.

A reply that cannot be read is asked for once more under the key `retry1`: another seed, and a temperature of at least
0.3, since at temperature 0 the same words would come back. What still cannot be read is None, a failed comparison,
never a score (our choice; the paper is silent).
"""

from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal
from typing import TypeVar

from moaa.api.mixture import Criterion, Judge, JudgeModel
from moaa.asking.asker import Asker
from moaa.asking.caller import Reply
from moaa.conversation import Conversation
from moaa.judge.criteria import parse_criteria
from moaa.judge.prompts import Ordered, criteria_messages, meta_messages, single_messages
from moaa.judge.verdict import Verdict, parse_verdict

JUDGE_INSTRUCTION_TOKENS = 330
VERDICT_TOKENS = 300
RETRY_KEY = "retry1"
RETRY_TEMPERATURE = Decimal("0.3")
"""The least temperature of a retry; enough to leave a loop, low enough to stay on the subject."""

T = TypeVar("T")


async def choose_criteria(pair: Ordered, judge: Judge, asker: Asker) -> list[Criterion] | None:
    """The criteria for a pair, chosen by the judge's aggregator; all of them without a call where `criteria` is 0
    or nobody is there to choose (method Panel). None: no readable choice was to be had."""
    aggregator = judge.aggregator
    if judge.criteria == 0 or aggregator is None:
        return list(judge.criteria_choices)
    messages = criteria_messages(pair, judge.criteria_choices, count=judge.criteria, prompts=asker.prompts)
    return await _ask_twice(
        lambda model, key: asker.ask(model.model, messages, model, key=key),
        aggregator,
        lambda text: parse_criteria(text, judge.criteria_choices, count=judge.criteria),
    )


async def single_verdict(
    pair: Ordered, criteria: Sequence[Criterion], model: JudgeModel, asker: Asker
) -> Verdict | None:
    """Which answer `model` prefers on its own."""
    messages = single_messages(pair, criteria, asker.prompts)
    return await _ask_twice(lambda m, key: asker.ask(m.model, messages, m, key=key), model, parse_verdict)


async def meta_verdict(
    pair: Ordered, criteria: Sequence[Criterion], evaluations: Sequence[str], model: JudgeModel, asker: Asker
) -> Verdict | None:
    """Which answer `model` prefers after reading `evaluations`, shortened where they do not fit."""

    def build(texts: Sequence[str]) -> Conversation:
        return meta_messages(pair, criteria, texts, asker.prompts)

    async def ask(m: JudgeModel, key: str) -> Reply:
        reply, _ = await asker.ask_fitted(m.model, evaluations, build, m, key=key)
        return reply

    return await _ask_twice(ask, model, parse_verdict)


async def _ask_twice(
    ask: Callable[[JudgeModel, str], Awaitable[Reply]], model: JudgeModel, parse: Callable[[str], T | None]
) -> T | None:
    found = parse((await ask(model, "")).text)
    if found is not None:
        return found
    warmer = model.model_copy(update={"temperature": max(model.temperature, RETRY_TEMPERATURE)})
    return parse((await ask(warmer, RETRY_KEY)).text)
