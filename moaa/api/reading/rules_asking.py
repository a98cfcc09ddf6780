"""Rules about who is asked: the mixture, the judges, the benchmarks, the prompts."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from moaa.api.base import BASE_STUDENT, GIVEN_ANSWERS, STUDENT
from moaa.api.mixture import (
    PAPER_CRITERIA,
    Comparisons,
    Judge,
    JudgeMethod,
    MixtureMethod,
    Sampling,
    VerdictForm,
    members_of,
    parts_of,
)
from moaa.api.models import ModelKind, Serving
from moaa.api.prompts import BRACED, PLACEHOLDERS, Prompts
from moaa.api.reading.node import Node
from moaa.api.reading.rules_models import declared, models_named
from moaa.api.reading.wording import suggestion
from moaa.api.training import Rejected, SamplesFrom
from moaa.errors import Problem

DEFAULT_CRITERIA = int(Judge.model_fields["criteria"].default)
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
    yield from (Ask(b.at("judgeModel"), "evaluation") for b in benchmark_nodes(spec))


def reward_models(spec: Node) -> Iterator[Node]:
    """Every place that names a reward model."""
    for holder in (spec, *benchmark_nodes(spec)):
        yield holder.at("judge", "rewardModel")


def used(spec: Node) -> Counter[str]:
    """How often each model is named where models are asked."""
    named = [ask.model.text for ask in asks(spec)] + [b.at("baseline").text for b in benchmark_nodes(spec)]
    named += [name.text for name in reward_models(spec)]
    return Counter(name for name in named if name)


def references(spec: Node) -> Iterator[Problem]:
    known = declared(spec)
    if not known:
        return  # spec.models is what is wrong
    baselines = [b.at("baseline") for b in benchmark_nodes(spec)]
    writers = [*(ask.model for ask in asks(spec)), *baselines]
    scorers = list(reward_models(spec))
    for name in [*writers, *scorers]:
        others = () if name in scorers else (STUDENT, BASE_STUDENT, GIVEN_ANSWERS)
        if name.text and name.text not in (*known, *others):
            yield name.problem(f"is not declared in spec.models; {suggestion(name.text, known, what='declared')}")
    for name, wanted in [
        *((name, ModelKind.CHAT) for name in (*writers, spec.at("student"))),
        *((name, ModelKind.REWARD) for name in scorers),
    ]:
        kinds = [model.at("kind").word(ModelKind.CHAT) for model in models_named(spec, name.text)]
        if kinds and wanted not in kinds and set(kinds) <= set(ModelKind):
            yield name.problem(f"names a model of kind {kinds[0]}, and {_NEEDED[wanted]}")


_NEEDED = {
    ModelKind.CHAT: "here one has to write answers: name another, or leave out its kind if it does",
    ModelKind.REWARD: "here one has to give numbers: name another, or write kind: Reward there if it does",
}


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
        for model in models_named(spec, student if name == STUDENT else name):
            yield from _no_room(holder.at("maxTokens"), model)


def _no_room(limit: Node, model: Node) -> Iterator[Problem]:
    window = window_of(model)
    tokens, room = limit.number(DEFAULT_MAX_TOKENS), window.number(DEFAULT_MAX_MODEL_LEN)
    if tokens is not None and room is not None and tokens >= room:
        many = "tokens leave" if limit.given else f"is {tokens} where nothing is written, which leaves"
        yield limit.problem(
            f"{many} no room for the prompt in {model.at('name').text}'s {room} tokens; lower it or raise {window.name}"
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
    samples = training.at("dpo", "samplesFrom")
    if samples.text == SamplesFrom.MIXTURE and isinstance(spec.value, dict):
        yield from _mixture_gives_pairs(samples, spec.at("mixture"))


def _mixture_gives_pairs(samples: Node, mixture: Node) -> Iterator[Problem]:
    if not mixture.given:
        yield samples.problem("Mixture needs spec.mixture, and there is none; declare one or leave this out")
    elif mixture.at("method").text == MixtureMethod.COMBINED:
        answers = [p.at("samples").number(1) for layer in mixture.at("layers") for p in layer.at("proposers")]
        if answers == [1]:
            yield samples.problem(
                "Mixture: method Combined has one answer, and pairs need two; add proposers or samples"
            )


def mixture_parts(spec: Node) -> Iterator[Problem]:
    """Who belongs to a mixture's method."""
    mixture = spec.at("mixture")
    method, entries = mixture.at("method").word(MixtureMethod.MIXTURE), mixture.at("layers")
    is_list = isinstance(entries.value, list) or not entries.given
    if not isinstance(mixture.value, dict) or method not in set(MixtureMethod) or not is_list:
        return
    parts, named = parts_of(MixtureMethod(method)), f"method {method}"
    layers, has_aggregator = list(entries), mixture.at("aggregator").given
    if parts.most_layers and not layers:
        yield mixture.problem(f"{named} needs layers with proposers; add one")
    if not parts.most_layers and layers:
        yield mixture.problem(f"{named} has no layers; remove them")
    elif len(layers) > parts.most_layers and parts.most_layers == 1:
        yield mixture.problem(f"{named} has one layer, not {len(layers)}; its answers are not read by others")
    if parts.has_aggregator and not has_aggregator:
        yield mixture.problem(f"{named} needs an aggregator, the model that writes the answer")
    if has_aggregator and not parts.has_aggregator:
        yield mixture.problem(f"{named} has no aggregator; remove it")
    if mixture.at("addStudent").value is True and not parts.most_layers:
        yield mixture.problem(f"{named} has no proposers, so addStudent has none to join; remove it")
    if parts.has_judge and not spec.at("judge").given:
        yield spec.at("judge").problem(f"is required: mixture.{named} asks it which answer is best; declare one")
    for layer in layers[:1]:
        samples = [proposer.at("samples").number(1) for proposer in layer.at("proposers")]
        known = [number for number in samples if number is not None]
        if samples and len(known) == len(samples) and sum(known) < parts.least_answers:
            yield mixture.problem(
                f"{named} chooses among answers, and layers[0] gives {sum(known)}; add proposers or samples"
            )


def enough_proposals(spec: Node) -> Iterator[Problem]:
    mixture = spec.at("mixture")
    least = mixture.at("minProposals").number(1)
    for i, layer in enumerate(mixture.at("layers")):
        samples = [proposer.at("samples").number(1) for proposer in layer.at("proposers")]
        known = [number for number in samples if number is not None]
        if least is not None and samples and len(known) == len(samples) and least > sum(known):
            yield mixture.problem(
                f"minProposals {least} is more than layers[{i}] can give ({sum(known)}); lower it or add proposers or "
                "samples"
            )


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


def judges(spec: Node) -> Iterator[Problem]:
    for judge in (spec.at("judge"), *(benchmark.at("judge") for benchmark in benchmark_nodes(spec))):
        if isinstance(judge.value, dict):
            yield from _members(judge)
            yield from _scoring(judge)
            yield from _criteria(judge)
            names = [judge.at("aggregator", "model").text, *(entry.at("model").text for entry in judge.at("judges"))]
            if STUDENT in names and judge.at("allowStudent").value is not True:
                yield judge.problem(
                    "$student would judge its own training; name another model or set allowStudent: true"
                )


def _members(judge: Node) -> Iterator[Problem]:
    """Who belongs to a method."""
    method, entries = judge.at("method").word(JudgeMethod.MIXTURE), judge.at("judges")
    if method not in set(JudgeMethod) or not (isinstance(entries.value, list) or not entries.given):
        return
    count, has_aggregator = len(list(entries)), judge.at("aggregator").given
    members, named = members_of(JudgeMethod(method)), f"method {method}"
    if members.has_judges and not count:
        yield judge.problem(f"{named} needs at least one entry in judges")
    if members.has_aggregator and not has_aggregator:
        yield judge.problem(f"{named} needs an aggregator, the model that gives the verdict")
    if count and not members.has_judges:
        yield judge.problem(f"{named} asks no judges; remove them")
    if has_aggregator and not members.has_aggregator:
        yield judge.problem(f"{named} has no aggregator; remove it")
    if members.is_odd and count and count % 2 == 0:
        yield judge.problem(f"{named} needs an odd number of judges so that a majority exists, not {count}")
    least = judge.at("minJudges").number(0)
    if least is not None and count and least > count:
        yield judge.problem(f"minJudges {least} is more than the {count} judges; lower it or add judges")


def _scoring(judge: Node) -> Iterator[Problem]:
    """Where a reward model belongs, and what has no effect beside one that decides alone."""
    method, comparisons = judge.at("method").word(JudgeMethod.MIXTURE), judge.at("comparisons")
    scores, seeds = method == JudgeMethod.REWARD_MODEL, comparisons.text == Comparisons.SEEDED
    if scores and comparisons.given and comparisons.text != Comparisons.ROUND_ROBIN:
        yield comparisons.problem("has no effect with method RewardModel, which compares nothing; remove it")
    if scores and judge.at("verdict").text == VerdictForm.LOG_PROBS:
        yield judge.at("verdict").problem("has no effect with method RewardModel, which gives none; remove it")
    if (scores or seeds) and not judge.at("rewardModel").given:
        asks = "method RewardModel" if scores else "comparisons Seeded"
        yield judge.problem(f"{asks} needs rewardModel, a declared model of kind Reward")
    if judge.at("rewardModel").given and not (scores or seeds) and method in set(JudgeMethod):
        yield judge.at("rewardModel").problem(
            "is asked by nobody here; write method: RewardModel or comparisons: Seeded, or remove it"
        )


def seeds_have_pairs(spec: Node) -> Iterator[Problem]:
    """Seeded looks for a best and a worst of many answers; a method that scores has no orders."""
    judge = spec.at("judge")
    for benchmark in benchmark_nodes(spec):
        if benchmark.at("judge", "comparisons").text == Comparisons.SEEDED:
            yield benchmark.at("judge", "comparisons").problem(
                "orders many answers, and a benchmark's judge compares one with one; remove it and rewardModel"
            )
    if judge.at("comparisons").text == Comparisons.SEEDED and (
        spec.at("mixture", "method").text == MixtureMethod.BEST_OF_N
    ):
        yield judge.at("comparisons").problem(
            "leaves answers without points, and mixture.method BestOfN needs all of them; write RoundRobin, or "
            "method: RewardModel"
        )
    consistent = spec.at("training", "dpo", "pairs", "consistent")
    if judge.at("method").text == JudgeMethod.REWARD_MODEL and consistent.value is True:
        yield consistent.problem(
            "asks that both orders agree, and judge.method RewardModel reads each answer by itself; remove it"
        )


def _criteria(judge: Node) -> Iterator[Problem]:
    wanted, choices = judge.at("criteria").number(DEFAULT_CRITERIA), judge.at("criteriaChoices")
    count = len(list(choices)) if choices.given else len(PAPER_CRITERIA)
    if wanted is not None and count and wanted > count:
        yield judge.problem(f"criteria {wanted} is more than the {count} criteriaChoices")
    names = [name.lower() for choice in choices if (name := choice.at("name").text)]
    if len(set(names)) != len(names):
        yield judge.problem("criteriaChoices: two have the same name")


def points_are_whole(spec: Node) -> Iterator[Problem]:
    """Rules of dpo.pairs that read the points of all comparisons, where some are skipped."""
    comparisons = spec.at("judge", "comparisons").text
    if comparisons not in (Comparisons.ADAPTIVE, Comparisons.SEEDED):
        return
    pairs = spec.at("training", "dpo", "pairs")
    read = [pairs.at("minMargin"), pairs.at("minRejectedPoints")]
    read += [pairs.at("rejected")] if pairs.at("rejected").text == Rejected.RANDOM else []
    for rule in read:
        if rule.given:
            yield rule.problem(
                f"reads the points of all comparisons, and judge.comparisons {comparisons} skips some; remove one of "
                "the two"
            )


def anchors_have_judges(spec: Node) -> Iterator[Problem]:
    if spec.at("anchors").given and not judge_is_asked(spec) and not any(_judged(b) for b in benchmark_nodes(spec)):
        yield spec.at("anchors").problem("measures judges, and nothing is judged: no dpo, no benchmark; remove it")


def judge_is_asked(spec: Node) -> bool:
    """Whether training rests on spec.judge: its pairs, or the answers that it learns."""
    chooses = spec.at("mixture", "method").text == MixtureMethod.BEST_OF_N
    return spec.at("judge").given and (spec.at("training", "dpo").given or chooses)


def _judged(benchmark: Node) -> bool:
    return benchmark.at("judge").given or benchmark.at("judgeModel").given


def prompts(spec: Node) -> Iterator[Problem]:
    """A misspelt placeholder is one mistake: what is then missing is its consequence."""
    holder = spec.at("prompts")
    for name, (must, may) in PLACEHOLDERS.items():
        field = Prompts.model_fields[name].alias or name
        text = holder.at(field).text
        if not text:
            continue
        found = set(BRACED.findall(text))
        if unknown := sorted(found - must - may):
            allowed = ", ".join(f"{{{p}}}" for p in sorted(must | may))
            yield holder.problem(f"{field}: {{{unknown[0]}}} is not a placeholder here; use {allowed}")
        elif missing := sorted(must - found):
            yield holder.problem(f"{field}: {{{missing[0]}}} is missing; put it where the model is to see it")


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
    mixture_parts,
    enough_proposals,
    student_joins_once,
    judges,
    points_are_whole,
    seeds_have_pairs,
    anchors_have_judges,
    prompts,
    benchmarks,
)
