"""The single questions a judge is asked, each with its one retry.

A reply that cannot be read is asked for once more under the key `retry1`, with another seed and a temperature of at
least 0.3: at temperature 0 the same words would come back. A verdict that still cannot be read is a failed comparison,
never a score. When a choice of criteria cannot be read, all criteria are used (our choices; the paper is silent). A
permanent failure of a call leaves its reason in the judgement; one that may pass fails the row.
"""

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeVar

from moaa.api.mixture import Criterion, Judge, JudgeModel
from moaa.asking.asker import Asker
from moaa.asking.caller import Reply
from moaa.asking.gather import gather_calls
from moaa.asking.reasons import Reason
from moaa.conversation import Conversation
from moaa.errors import CallError
from moaa.judge.prompts import Ordered, criteria_messages, meta_messages, single_messages
from moaa.judge.reading import Verdict, parse_criteria, parse_verdict
from moaa.judge.trail import UNREADABLE, Judgement, Role

JUDGE_INSTRUCTION_TOKENS = 330
VERDICT_TOKENS = 300
RETRY_KEY = "retry1"
RETRY_TEMPERATURE = Decimal("0.3")
"""The lowest temperature of a retry: enough to leave a loop, low enough to stay on the subject."""

T = TypeVar("T")
Ask = Callable[[JudgeModel, str], Coroutine[Any, Any, Reply]]
"""One call to a model under a key."""


@dataclass(frozen=True)
class Choice:
    """The criteria of a pair."""

    criteria: list[Criterion]
    is_chosen: bool
    """False: they are all of `criteriaChoices`, because none were to be chosen or the choice failed."""
    said: tuple[Judgement, ...]


async def choose_criteria(pair: Ordered, judge: Judge, asker: Asker) -> Choice:
    """The criteria for a pair, chosen by the judge's aggregator. Where `criteria` is 0, or the method has no aggregator
    (Panel), all of them, without a call.

    Raises:
        CallError: a failure that may pass.
        ModelAbsent: the aggregator is not served now.
    """
    aggregator, everything = judge.aggregator, list(judge.criteria_choices)
    if judge.criteria == 0 or aggregator is None:
        return Choice(everything, is_chosen=False, said=())
    messages = criteria_messages(pair, judge.criteria_choices, count=judge.criteria, prompts=asker.prompts)
    found, text, failure = await _ask_twice(
        lambda model, key: asker.ask(model.model, messages, model, key=key),
        aggregator,
        lambda reply: parse_criteria(reply.text, judge.criteria_choices, count=judge.criteria),
    )
    said = Judgement("", Role.CRITERIA, aggregator.model, text, failure=failure)
    return Choice(everything if found is None else found, is_chosen=found is not None, said=(said,))


async def single_verdict(pair: Ordered, criteria: Sequence[Criterion], model: JudgeModel, asker: Asker) -> Judgement:
    """Which answer `model` prefers on its own. Raises CallError, ModelAbsent as `choose_criteria`."""
    messages = single_messages(pair, criteria, asker.prompts)
    return await _verdict(pair, model, lambda m, key: asker.ask(m.model, messages, m, key=key))


async def meta_verdict(
    pair: Ordered, criteria: Sequence[Criterion], evaluations: Sequence[str], model: JudgeModel, asker: Asker
) -> Judgement:
    """Which answer `model` prefers after reading `evaluations`, shortened where they do not fit. Raises CallError,
    ModelAbsent as `choose_criteria`."""

    def build(texts: Sequence[str]) -> Conversation:
        return meta_messages(pair, criteria, texts, asker.prompts)

    async def ask(m: JudgeModel, key: str) -> Reply:
        reply, _ = await asker.ask_fitted(m.model, evaluations, build, m, key=key)
        return reply

    return await _verdict(pair, model, ask)


async def _verdict(pair: Ordered, model: JudgeModel, ask: Ask) -> Judgement:
    found: Verdict | None
    found, text, failure = await _ask_twice(ask, model, _whole_verdict)
    return Judgement(pair.order, Role.VERDICT, model.model, text, found, failure, longer=pair.longer)


def _whole_verdict(reply: Reply) -> Verdict | None:
    """None also for a reply that was cut: how it would have ended is unknown."""
    return None if reply.is_cut else parse_verdict(reply.text)


async def _ask_twice(ask: Ask, model: JudgeModel, parse: Callable[[Reply], T | None]) -> tuple[T | None, str, str]:
    """What was read, the reply it was read from, and why nothing was read."""
    warmer = model.model_copy(update={"temperature": max(model.temperature, RETRY_TEMPERATURE)})
    text, failure = "", UNREADABLE
    for asked, key in ((model, ""), (warmer, RETRY_KEY)):
        [reply] = await gather_calls([ask(asked, key)])
        if isinstance(reply, CallError):
            return None, text, str(reply.reason)
        text, failure = reply.text, str(Reason.CUT_ANSWER) if reply.is_cut else UNREADABLE
        if (found := parse(reply)) is not None:
            return found, text, ""
    return None, text, failure
