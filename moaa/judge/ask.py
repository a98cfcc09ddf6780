"""The single questions a judge is asked, each with its one retry.

A reply that cannot be read is asked for once more under the key `retry1`, with another seed and a temperature of at
least 0.3: at temperature 0 the same words would come back. A verdict that still cannot be read is a failed comparison,
never a score. A verdict by log-probabilities is one call more, after the judge's reply, and needs no retry: one of the
letters is the likelier one. When a choice of criteria cannot be read, all criteria are used (our choices; the paper is
silent). A permanent failure of a call leaves its reason in the judgement; one that may pass fails the row.
"""

from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, TypeVar, assert_never

from moaa.api.mixture import Criterion, Judge, JudgeModel, VerdictForm
from moaa.asking.asker import Asker, Fitting
from moaa.asking.caller import Choice, Reply
from moaa.asking.cut import shown
from moaa.asking.gather import gather_calls
from moaa.asking.load import Load, written
from moaa.asking.reasons import Reason
from moaa.conversation import Conversation
from moaa.errors import CallError
from moaa.judge.prompts import (
    LETTERS,
    QUESTION,
    Ordered,
    criteria_messages,
    meta_messages,
    prompt_criteria_messages,
    single_messages,
)
from moaa.judge.reading import Verdict, led_to_letter, parse_criteria, parse_verdict
from moaa.judge.trail import UNREADABLE, Judgement, Role

JUDGE_INSTRUCTION_TOKENS = 330
VERDICT_TOKENS = 300
RETRY_KEY = "retry1"
RETRY_TEMPERATURE = Decimal("0.3")
"""The lowest temperature of a retry: enough to leave a loop, low enough to stay on the subject."""

T = TypeVar("T")
Ask = Callable[[JudgeModel, str], Coroutine[Any, Any, Fitting]]
"""One call to a model under a key."""


@dataclass(frozen=True)
class ChosenCriteria:
    """The criteria of a pair, or of all pairs of a prompt."""

    criteria: list[Criterion]
    is_chosen: bool
    """False: they are all of `criteriaChoices`, because none were to be chosen or the choice failed."""
    said: tuple[Judgement, ...]


async def choose_criteria(shown: Ordered | str, judge: Judge, asker: Asker) -> ChosenCriteria:
    """The criteria for a pair, or for a question before its answers are seen, chosen by the judge's aggregator. Where
    `criteria` is 0, or the method has no aggregator (Panel), all of them, without a call.

    Raises:
        CallError: a failure that may pass.
        ModelAbsent: the aggregator is not served now.
    """
    aggregator, everything = judge.aggregator, list(judge.criteria_choices)
    if judge.criteria == 0 or aggregator is None:
        return ChosenCriteria(everything, is_chosen=False, said=())
    if isinstance(shown, Ordered):
        messages = criteria_messages(shown, judge.criteria_choices, count=judge.criteria, prompts=asker.prompts)
    else:
        messages = prompt_criteria_messages(shown, judge.criteria_choices, count=judge.criteria, prompts=asker.prompts)

    async def ask(model: JudgeModel, key: str) -> Fitting:
        return Fitting(await asker.ask(model.model, messages, model, key=key), messages)

    found, text, failure = await ask_twice(
        ask,
        aggregator,
        lambda reply: parse_criteria(reply.text, judge.criteria_choices, count=judge.criteria),
    )
    said = Judgement("", Role.CRITERIA, aggregator.model, text, failure=failure)
    return ChosenCriteria(everything if found is None else found, is_chosen=found is not None, said=(said,))


async def single_verdict(
    pair: Ordered, criteria: Sequence[Criterion], model: JudgeModel, judge: Judge, asker: Asker
) -> Judgement:
    """Which answer `model` prefers on its own. Raises CallError, ModelAbsent as `choose_criteria`."""
    messages = single_messages(pair, criteria, asker.prompts)

    async def ask(m: JudgeModel, key: str) -> Fitting:
        return Fitting(await asker.ask(m.model, messages, m, key=key), messages)

    return await _verdict(pair, model, judge.verdict, ask, asker)


async def meta_verdict(
    pair: Ordered, criteria: Sequence[Criterion], evaluations: Sequence[str], judge: Judge, asker: Asker
) -> Judgement:
    """Which answer the aggregator of `judge` prefers after reading `evaluations`, shortened where they do not fit.
    Raises CallError, ModelAbsent as `choose_criteria`."""
    assert judge.aggregator is not None, "the resource's validation asks for one"

    def build(texts: Sequence[str]) -> Conversation:
        return meta_messages(pair, criteria, texts, asker.prompts)

    async def ask(m: JudgeModel, key: str) -> Fitting:
        return await asker.ask_fitted(m.model, evaluations, build, m, key=key)

    return await _verdict(pair, judge.aggregator, judge.verdict, ask, asker)


def verdict_loads(model: JudgeModel, judge: Judge, times: int, prompt_tokens: int) -> Iterator[Load]:
    """Calls of `times` verdicts of `model`, each after a prompt of `prompt_tokens`."""
    said = written(model.max_tokens, VERDICT_TOKENS)
    yield Load(model.model, times, prompt_tokens, said)
    if judge.verdict is VerdictForm.LOG_PROBS:
        yield Load(model.model, times, prompt_tokens + said, 1)


async def _verdict(pair: Ordered, model: JudgeModel, form: VerdictForm, ask: Ask, asker: Asker) -> Judgement:
    match form:
        case VerdictForm.TEXT:
            found: Verdict | None
            found, text, failure = await ask_twice(ask, model, _whole_verdict)
            said = Judgement(pair.order, Role.VERDICT, model.model, text, found, failure)
        case VerdictForm.LOG_PROBS:
            said = await _weighed(pair, model, ask, asker)
        case _:
            assert_never(form)
    return replace(said, longer=pair.longer)


async def _weighed(pair: Ordered, model: JudgeModel, ask: Ask, asker: Asker) -> Judgement:
    """The verdict by the letters' probabilities after the judge's reply; their call is named `letter`.

    A reply that ends with its verdict is asked for the letter at that very place. One that was cut counts, too: nothing
    is read from its words.
    """
    [asked] = await gather_calls([ask(model, "")])
    if isinstance(asked, CallError):
        return Judgement(pair.order, Role.VERDICT, model.model, "", failure=str(asked.reason))
    text = asked.reply.text
    said, opening = led_to_letter(shown(asked.reply))
    choice = Choice(asked.messages, said, opening, QUESTION, LETTERS)
    return replace(await letter_verdict(pair, model.model, choice, asker.at("letter")), text=text)


async def letter_verdict(pair: Ordered, model: str, choice: Choice, asker: Asker) -> Judgement:
    """The verdict on a pair by the probabilities of two letters; the first of `choice.letters` stands for the answer
    that is shown first. Raises CallError, ModelAbsent as `choose_criteria`."""
    [letters] = await gather_calls([asker.choose(model, choice)])
    if isinstance(letters, CallError):
        return Judgement(pair.order, Role.VERDICT, model, "", failure=str(letters.reason))
    mass = letters.mass
    if mass == 0:
        return Judgement(pair.order, Role.VERDICT, model, "", failure=UNREADABLE, mass=mass)
    first = letters.probabilities[choice.letters[0]] / mass
    verdict: Verdict = "A" if first >= 0.5 else "B"
    return Judgement(pair.order, Role.VERDICT, model, "", verdict, longer=pair.longer, probability=first, mass=mass)


def _whole_verdict(reply: Reply) -> Verdict | None:
    """None also for a reply that was cut: how it would have ended is unknown."""
    return None if reply.is_cut else parse_verdict(reply.text)


async def ask_twice(ask: Ask, model: JudgeModel, parse: Callable[[Reply], T | None]) -> tuple[T | None, str, str]:
    """What was read, the reply it was read from, and why nothing was read.

    Raises:
        CallError: a failure that may pass.
        ModelAbsent: the model is not served now.
    """
    warmer = model.model_copy(update={"temperature": max(model.temperature, RETRY_TEMPERATURE)})
    text, failure = "", UNREADABLE
    for asked, key in ((model, ""), (warmer, RETRY_KEY)):
        [result] = await gather_calls([ask(asked, key)])
        if isinstance(result, CallError):
            return None, text, str(result.reason)
        reply = result.reply
        text, failure = reply.text, str(Reason.CUT_ANSWER) if reply.is_cut else UNREADABLE
        if (found := parse(reply)) is not None:
            return found, text, ""
    return None, text, failure
