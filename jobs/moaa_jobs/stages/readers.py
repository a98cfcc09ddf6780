"""Who reads the rows of each table, and what stands beside a row when it is read. Pure.

A reader is asked about a row (members of the mixture, the student, judges) or trained on it. What models write before
that is not known yet; how long it may be and is likely to be is declared, or assumed as in the forecast.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import assert_never

from moaa.api import STUDENT, MoAA
from moaa.api.data import Answers
from moaa.api.evaluation import AnyBenchmark, LmEval
from moaa.api.mixture import Judge, JudgeModel, Layer, Mixture, MixtureMethod
from moaa.api.prompts import PLACEHOLDERS, effective, render
from moaa.api.training import Dpo, SamplesFrom, Sft, TooLong
from moaa.asking.load import written
from moaa.benchmark.measures import measure_of
from moaa.conversation import Conversation, Message
from moaa.judge.methods import method_of
from moaa.judge.mixture import EVALUATION_TOKENS
from moaa.judge.prompts import criteria_list, question_text
from moaa.mixture import methods as answers
from moaa.mixture.method import Method
from moaa.plan.graph import benchmarks

_SHOWS_ANSWERS = frozenset({"question", "answer_a", "answer_b"})
"""Placeholders of a prompt that shows a judge a question and both answers."""


class View(StrEnum):
    """How a row is shown."""

    GIVEN = "Given"
    """As it is."""
    TURNS = "Turns"
    """Every user turn is answered in the context of the model's own replies; the data's are dropped."""
    PROMPT = "Prompt"
    """Up to the last user turn, the data's replies included."""
    QUESTION = "Question"
    """The same as the question in a judge's prompt."""
    EXCHANGE = "Exchange"
    """As the question in a judge's prompt, of the user's turns alone: a judged answer is all of the model's replies."""


@dataclass(frozen=True)
class Texts:
    """Texts of models beside the row, all together, in tokens."""

    number: int = 0
    likely: int = 0
    most: int = 0


NONE = Texts()


@dataclass(frozen=True)
class Reader:
    """A model that has to read a table's rows."""

    table: str
    model: str
    """As declared."""
    remedy: str
    ends_row: bool
    """Whether a row that is too long for it fails. If not, the row has one proposal or verdict fewer."""
    max_tokens: int | None = None
    """Of an answer to the row; None: it is trained on."""
    view: View = View.GIVEN
    around: str = ""
    """What the prompt says beside the row and the texts of models."""
    whole: Texts = NONE
    """Never shortened: what is too long with them is too long. For each of `times`."""
    cut: Texts = NONE
    """Shortened where they do not fit."""
    max_length: int = 0
    """Of a row that is trained on."""
    is_fine: bool = False
    """The resource says what becomes of a row that is too long, so that any number may be."""

    def prompt(self, row: Conversation) -> Conversation:
        """What it reads, without texts of models."""
        last = max((i for i, message in enumerate(row) if message["role"] == "user"), default=len(row) - 1)
        match self.view:
            case View.GIVEN:
                return row
            case View.TURNS:
                begin = [Message(role="system", content=self.around)] if self.around else []
                return [*begin, *(message for message in row if message["role"] != "assistant")]
            case View.PROMPT:
                begin = [Message(role="system", content=self.around)] if self.around else []
                return [*begin, *row[: last + 1]]
            case View.QUESTION:
                asked = question_text(row)
            case View.EXCHANGE:
                asked = "\n\n".join(message["content"] for message in row if message["role"] != "assistant")
            case _:
                assert_never(self.view)
        return [Message(role="user", content=self.around + asked)]

    def times(self, row: Conversation) -> int:
        """How often `whole` stands beside the row."""
        turns = sum(message["role"] == "user" for message in row)
        match self.view:
            case View.GIVEN | View.PROMPT | View.QUESTION:
                return 1
            case View.TURNS:
                return turns if self.max_tokens is None else max(turns - 1, 0)
            case View.EXCHANGE:
                return turns
            case _:
                assert_never(self.view)


def _answer(max_tokens: int) -> Texts:
    return Texts(1, written(max_tokens), max_tokens)


def _training(
    table: str, part: str, spec: Sft | Dpo, student: str, view: View, answer_tokens: int | None = None
) -> Reader:
    """The student that is trained on a table's rows by `training.<part>`, with answers of at most so many tokens beside
    them. That one answer alone may fill maxLength needs no rows to be known: `moaa validate` says it."""
    answers = NONE if answer_tokens is None else _answer(answer_tokens)
    if answers.most >= spec.max_length:
        answers = replace(answers, most=answers.likely)
    remedy = f"raise training.{part}.maxLength"
    match spec.too_long:
        case TooLong.FAIL:
            pass
        case TooLong.DROP:
            remedy = f"training.{part}.tooLong leaves them out: {remedy} to train on them"
        case TooLong.CUT_PROMPT:
            remedy = f"training.{part}.tooLong cuts their prompts: {remedy} to train on them whole"
        case _:
            assert_never(spec.too_long)
    is_fine = spec.too_long is not TooLong.FAIL
    return Reader(table, student, remedy, True, view=view, whole=answers, max_length=spec.max_length, is_fine=is_fine)


def readers(resource: MoAA) -> Iterator[Reader]:
    """All models that read a table's rows."""
    spec = resource.spec
    training, student = spec.training, spec.student
    for number, source in enumerate(spec.data.sft):
        table = f"sft-{number}"
        if source.answers is Answers.MIXTURE and spec.mixture is not None:
            yield from _mixture(table, spec.mixture, resource)
        if training.sft is not None:
            yield _trained_on(table, source.answers, resource, training.sft)
    if training.dpo is not None:
        dpo, most = training.dpo, _sample_tokens(training.dpo, resource)
        for number in range(len(spec.data.preference)):
            table = f"preference-{number}"
            match dpo.samples_from:
                case SamplesFrom.STUDENT:
                    yield Reader(table, student, _window(student), True, most, view=View.PROMPT)
                case SamplesFrom.MIXTURE:
                    assert spec.mixture is not None, "the resource's validation asks for one"
                    yield from _mixture(table, spec.mixture, resource, View.PROMPT)
                case _:
                    assert_never(dpo.samples_from)
            yield _training(table, "dpo", dpo, student, View.PROMPT, most)
            if spec.judge is not None:
                yield from _judge(
                    table, spec.judge, resource, View.QUESTION, (most, most), method_of(spec.judge).prompts
                )
    for benchmark in benchmarks(spec):
        yield from _benchmark(benchmark, resource)


def _sample_tokens(dpo: Dpo, resource: MoAA) -> int:
    match dpo.samples_from:
        case SamplesFrom.STUDENT:
            return dpo.max_tokens
        case SamplesFrom.MIXTURE:
            assert resource.spec.mixture is not None, "the resource's validation asks for one"
            return _answers(resource.spec.mixture, resource).answer_tokens
        case _:
            assert_never(dpo.samples_from)


def _trained_on(table: str, answers: Answers, resource: MoAA, sft: Sft) -> Reader:
    student = resource.spec.student
    match answers:
        case Answers.GIVEN:
            return _training(table, "sft", sft, student, View.GIVEN)
        case Answers.MIXTURE:
            assert resource.spec.mixture is not None, "the resource's validation asks for one"
            most = _answers(resource.spec.mixture, resource).answer_tokens
            return _training(table, "sft", sft, student, View.TURNS, most)
        case _:
            assert_never(answers)


def _window(model: str) -> str:
    return f"raise maxModelLen of spec.models {model}, or lower maxTokens where it is asked"


def _answers(mixture: Mixture, resource: MoAA) -> Method:
    return answers.method_of(mixture, judge=resource.spec.judge, seed=resource.spec.seed)


def _mixture(table: str, mixture: Mixture, resource: MoAA, view: View = View.TURNS) -> Iterator[Reader]:
    """Whoever reads a row so that the mixture can answer all of its turns, or, with `View.PROMPT`, the last."""
    match mixture.method:
        case MixtureMethod.MIXTURE | MixtureMethod.SINGLE:
            yield from _aggregated(table, mixture, resource, view)
        case MixtureMethod.RANDOM | MixtureMethod.COMBINED:
            yield from _proposing(table, mixture, resource, view, ends_row=True)
        case MixtureMethod.BEST_OF_N:
            yield from _proposing(table, mixture, resource, view, ends_row=False)
            assert resource.spec.judge is not None, "the resource's validation asks for one"
            sides = sorted((p.max_tokens for p in mixture.proposers for _ in range(p.samples)), reverse=True)[:2]
            judge = resource.spec.judge
            yield from _judge(table, judge, resource, View.QUESTION, tuple(sides), method_of(judge).prompts)
        case _:
            assert_never(mixture.method)


def _proposing(table: str, mixture: Mixture, resource: MoAA, view: View, *, ends_row: bool) -> Iterator[Reader]:
    """Answers that are taught as they are."""
    answer = _earlier(_answers(mixture, resource).answer_tokens, view)
    for one in mixture.proposers:
        name = _declared(one.model, resource)
        yield Reader(table, name, _window(name), ends_row, one.max_tokens, view, whole=answer)


def _earlier(max_tokens: int, view: View) -> Texts:
    """The mixture's answer to an earlier turn, where it answers those, too."""
    return _answer(max_tokens) if view is View.TURNS else NONE


def _aggregated(table: str, mixture: Mixture, resource: MoAA, view: View) -> Iterator[Reader]:
    assert mixture.aggregator is not None, "the resource's validation asks for one"
    prompts = effective(resource.spec.prompts)
    instruction = render(prompts["aggregate"], {"proposals": ""}, prompts)
    around, shown, most = "", NONE, mixture.aggregator.max_tokens
    answer = _earlier(most, view)
    for layer in mixture.layers:
        for one in layer.proposers:
            name = _declared(one.model, resource)
            yield Reader(table, name, _window(name), False, one.max_tokens, view, around, answer, shown)
        around, shown = instruction, _proposals(layer)
    name = _declared(mixture.aggregator.model, resource)
    yield Reader(table, name, _window(name), True, most, view, around, answer, shown)


def _declared(name: str, resource: MoAA) -> str:
    return resource.spec.student if name == STUDENT else name


def _proposals(layer: Layer) -> Texts:
    return Texts(
        sum(p.samples for p in layer.proposers),
        sum(p.samples * written(p.max_tokens) for p in layer.proposers),
        sum(p.samples * p.max_tokens for p in layer.proposers),
    )


def _benchmark(benchmark: AnyBenchmark, resource: MoAA) -> Iterator[Reader]:
    spec, table, most = resource.spec, f"eval-{benchmark.name}", benchmark.sampling.max_tokens
    names = [spec.student]
    if spec.evaluation.members and spec.mixture is not None:
        names += [p.model for p in spec.mixture.proposers]
        names += [spec.mixture.aggregator.model] if spec.mixture.aggregator and spec.mixture.layers else []
        yield from _mixture(table, spec.mixture, resource)
    measured = measure_of(benchmark, student=spec.student)
    names += [] if measured.yardstick is None else [measured.yardstick]
    if measured.judge is not None:
        # Answers of the data are as long as they are; one side is a model's in any case.
        sides = (most,) if measured.yardstick is None else (most, most)
        yield from _judge(table, measured.judge, resource, View.EXCHANGE, sides, measured.prompts)
    # The turns before a task's question are examples, which nobody answers.
    view = View.PROMPT if isinstance(benchmark, LmEval) else View.TURNS
    for name in dict.fromkeys(_declared(name, resource) for name in names):
        yield Reader(table, name, _window(name), name == spec.student, most, view, whole=_answer(most))


def _judge(
    table: str, judge: Judge, resource: MoAA, view: View, answers: tuple[int, ...], prompts: Sequence[str]
) -> Iterator[Reader]:
    """Each of its models with the shortest of `prompts`, the templates it fills; `answers` are the most tokens of those
    it compares. A reward model reads the row with one of them."""
    around = _instruction(judge, resource, prompts)
    whole = Texts(len(answers), sum(written(most) for most in answers), sum(answers))
    for one in judge.judges:
        yield _judging(table, one, resource, view, around, whole, NONE)
    if judge.aggregator is not None:
        read = Texts(
            len(judge.judges),
            sum(written(one.max_tokens, EVALUATION_TOKENS) for one in judge.judges),
            sum(one.max_tokens for one in judge.judges),
        )
        yield _judging(table, judge.aggregator, resource, view, around, whole, read)
    if judge.reward_model is not None:
        alone = Texts(1, written(max(answers)), max(answers))
        name = judge.reward_model
        remedy = f"raise maxModelLen of spec.models {name}, or lower maxTokens of the answers that it scores"
        seen = View.PROMPT if view is View.QUESTION else view
        yield Reader(table, name, remedy, False, 0, seen, whole=alone)


def _judging(table: str, one: JudgeModel, resource: MoAA, view: View, around: str, whole: Texts, cut: Texts) -> Reader:
    name = _declared(one.model, resource)
    remedy = f"raise maxModelLen of spec.models {name}, or lower maxTokens of the answers that it compares"
    return Reader(table, name, remedy, False, one.max_tokens, view, around, whole, cut)


def _instruction(judge: Judge, resource: MoAA, names: Sequence[str]) -> str:
    """The shortest of the prompts `names` that show both answers, without them: what is too long with it is too long
    with each."""
    prompts = effective(resource.spec.prompts)
    criteria = criteria_list(judge.criteria_choices[: judge.criteria or None], prompts)
    values = {name: "" for must, may in PLACEHOLDERS.values() for name in must | may} | {"criteria": criteria}
    shown = [name for name in names if PLACEHOLDERS[name][0] >= _SHOWS_ANSWERS]
    return min((render(prompts[name], values, prompts) for name in shown), key=len, default="")
