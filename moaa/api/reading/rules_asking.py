"""Rules about who is asked: the mixture, the judges, the benchmarks."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from moaa.api.base import BASE_STUDENT, GIVEN_ANSWERS, STUDENT
from moaa.api.mixture import Sampling
from moaa.api.models import Serving
from moaa.api.reading.node import Node
from moaa.api.reading.rules_models import declared, model_named
from moaa.api.reading.wording import suggestion
from moaa.errors import Problem

DEFAULT_MAX_TOKENS = int(Sampling.model_fields["max_tokens"].default)
DEFAULT_MAX_MODEL_LEN = int(Serving.model_fields["max_model_len"].default)


@dataclass(frozen=True)
class Ask:
    """One place of the resource that asks a model."""

    holder: Node
    """Has `model` and usually `maxTokens`."""
    role: str
    """`mixture`, `judge` or `evaluation`."""

    @property
    def model(self) -> Node:
        return self.holder.at("model")


def benchmark_nodes(spec: Node) -> Iterator[Node]:
    yield from spec.at("evaluation", "selection")
    yield from spec.at("evaluation", "report")


def asks(spec: Node) -> Iterator[Ask]:
    """Every place that names a model to ask, in the order of the resource."""
    mixture = spec.at("mixture")
    for layer in mixture.at("layers"):
        yield from (Ask(proposer, "mixture") for proposer in layer.at("proposers"))
    yield Ask(mixture.at("aggregator"), "mixture")
    judges = [(spec.at("judge"), "judge"), *((b.at("judge"), "evaluation") for b in benchmark_nodes(spec))]
    for judge, role in judges:
        yield from (Ask(entry, role) for entry in judge.at("judges"))
        yield Ask(judge.at("aggregator"), role)


def used(spec: Node) -> Counter[str]:
    """How often each model is named where models are asked."""
    named = [ask.model.text for ask in asks(spec)] + [b.at("baseline").text for b in benchmark_nodes(spec)]
    return Counter(name for name in named if name)


def references(spec: Node) -> Iterator[Problem]:
    known = declared(spec)
    if not known:
        return  # spec.models is what is wrong
    baselines = [b.at("baseline") for b in benchmark_nodes(spec)]
    for name in [*(ask.model for ask in asks(spec)), *baselines]:
        if name.text and name.text not in (*known, STUDENT, BASE_STUDENT, GIVEN_ANSWERS):
            yield name.problem(f"is not declared in spec.models; {suggestion(name.text, known, what='declared')}")


def token_limits(spec: Node) -> Iterator[Problem]:
    """An answer as long as the window leaves no room for its prompt."""
    student = spec.at("student").text
    dpo = spec.at("training", "dpo")
    places = [(ask.holder, ask.model.text) for ask in asks(spec)]
    places += [(b.at("sampling"), student) for b in benchmark_nodes(spec)]
    places += [(dpo, student)] if dpo.given else []
    mixture = spec.at("mixture")
    places += [(mixture.at("studentSampling"), student)] if mixture.at("addStudent").value is True else []
    for holder, name in places:
        model = model_named(spec, student if name == STUDENT else name)
        if model is None:
            continue
        window = window_of(model)
        limit = holder.at("maxTokens")
        tokens, room = limit.integer(DEFAULT_MAX_TOKENS), window.integer(DEFAULT_MAX_MODEL_LEN)
        if tokens >= room:
            many = "tokens leave" if limit.given else f"is {tokens} where nothing is written, which leaves"
            yield limit.problem(
                f"{many} no room for the prompt in {model.at('name').text}'s {room} tokens; lower it or raise "
                f"{window.name}"
            )


def window_of(model: Node) -> Node:
    endpoint = model.at("endpoint")
    return endpoint.at("maxModelLen") if endpoint.given else model.at("serving", "maxModelLen")


def mixture_and_judge_present(spec: Node) -> Iterator[Problem]:
    training, data = spec.at("training"), spec.at("data")
    asked = [s for s in data.at("sft") if s.at("answers").text in (None, "Mixture")]
    if training.at("sft").given and asked and not spec.at("mixture").given:
        yield spec.at("mixture").problem(
            f"is required: {asked[0].name} asks for answers of the mixture; declare one or write answers: Given there"
        )
    if training.at("dpo").given and not spec.at("judge").given:
        yield spec.at("judge").problem("is required: training.dpo needs pairs, and a judge decides them; declare one")


def student_joins_once(spec: Node) -> Iterator[Problem]:
    mixture = spec.at("mixture")
    if mixture.at("addStudent").value is not True:
        return
    for layer in list(mixture.at("layers"))[:1]:
        for proposer in layer.at("proposers"):
            if proposer.at("model").text == STUDENT:
                yield proposer.at("model").problem(
                    "stands in the first layer and mixture.addStudent would add it again; keep one of the two"
                )


def benchmarks(spec: Node) -> Iterator[Problem]:
    seen: dict[str, Node] = {}
    for benchmark in benchmark_nodes(spec):
        name = benchmark.at("name")
        if name.text in seen:
            yield name.problem(f"is already the name of {seen[name.text].name}; give each benchmark its own")
        elif name.text:
            seen[name.text] = benchmark


RULES = (
    references,
    token_limits,
    mixture_and_judge_present,
    student_joins_once,
    benchmarks,
)
