"""What is allowed and probably not meant: one sentence each, never an error.

Read from a valid resource with its defaults filled in, so every field is there.
"""

from collections.abc import Iterator

from moaa.api.base import STUDENT, decimal_text
from moaa.api.mixture import Comparisons, CriteriaFor
from moaa.api.reading.families import kin
from moaa.api.reading.node import Node
from moaa.api.reading.rules_asking import asks, benchmark_nodes, judge_is_asked, used, window_of
from moaa.api.reading.rules_models import holds_gpus, models_named, unused
from moaa.api.training import Dpo, Optimization, SamplesFrom, Sft

ARENA_MARKS = ("[[A>>B]]", "[[A>B]]", "[[A=B]]", "[[B>A]]", "[[B>>A]]")
EVAL_STEPS = int(Optimization.model_fields["eval_steps"].default)
FEW = 3
"""Answers, of which comparisons Seeded judges as many pairs as RoundRobin."""
UNWRITTEN_TEMPERATURES = ("0", "0.7")
"""Of a benchmark's `sampling`, where nothing is written."""


def idle(spec: Node) -> Iterator[str]:
    """Fields that have no effect."""
    yield from unused(spec, used(spec))
    if spec.at("judge").given and not judge_is_asked(spec):
        yield "spec.judge: only training.dpo asks it, and a mixture of method BestOfN, and there is neither"
    iterations = spec.at("iterations").integer(1)
    mixture = spec.at("mixture")
    if mixture.at("addStudent").value is True and iterations == 1:
        yield "spec.mixture.addStudent: the student joins from the second iteration on, and there is one"
    asked = [ask for ask in asks(spec) if ask.role == "mixture" and ask.model.text == STUDENT]
    if asked and iterations == 1:
        yield f"{asked[0].model.name}: with one iteration $student is {spec.at('student').text}, untrained"
    gate, selection = spec.at("evaluation", "gate"), list(spec.at("evaluation", "selection"))
    changed = gate.at("rule").text not in (None, "LowerBound") or str(gate.at("minGain").value) not in ("None", "0")
    if changed and not selection:
        yield "spec.evaluation.gate: without selection benchmarks the last trained student is always promoted"
    for benchmark in benchmark_nodes(spec):
        temperature = benchmark.at("sampling", "temperature")
        if is_asked_by_category(benchmark) and temperature.text not in UNWRITTEN_TEMPERATURES:
            yield f"{temperature.name}: byCategory gives each category its own; set it to false to use this one"


_FATES = {
    "Fail": "longer rows count as failed",
    "Drop": "longer rows are left out",
    "CutPrompt": "of longer rows the prompt is cut, and fails where the answer leaves no room",
}
"""Of rows that are too long, by tooLong."""


def is_asked_by_category(benchmark: Node) -> bool:
    """Whether answers are asked for at the temperature of the question's category."""
    return benchmark.at("type").text == "MtBench" and benchmark.at("byCategory").value is not False


def judges_apart(spec: Node) -> Iterator[str]:
    """A student is best measured by judges that did not train it (and that are not it)."""
    trained_by = {ask.model.text for ask in asks(spec) if ask.role == "judge"}
    seen: set[str] = set()
    for ask in asks(spec):
        name = ask.model.text
        if ask.role != "evaluation" or not name or name in seen:
            continue
        seen.add(name)
        if name in trained_by:
            yield (
                f"{ask.model.name}: {name!r} also judges the training pairs; the student has learned its taste, so its "
                "scores will flatter"
            )
        elif name == spec.at("student").text:
            yield f"{ask.model.name}: {name!r} is the student's own base and tends to prefer its own style"


def judges_kin(spec: Node) -> Iterator[str]:
    """Kinship by family and weights, not by name."""
    for found in kin(spec):
        yield f"{found.field}: {found.sentence}"


def judges_measured(spec: Node) -> Iterator[str]:
    judge = spec.at("judge")
    if judge_is_asked(spec) and not spec.at("anchors").given:
        yield (
            f"{judge.name}: nobody has measured this judge, and the student learns whatever it prefers; write "
            "anchors: {} to measure it on pairs with known answers first"
        )


def comparisons_skipped(spec: Node) -> Iterator[str]:
    """Where fewer comparisons have no effect, or cost more than they save."""
    for judge in _judges(spec):
        field = judge.at("comparisons")
        if field.text not in (Comparisons.ADAPTIVE, Comparisons.SEEDED):
            continue
        if field.path[1] != "judge":
            yield f"{field.name}: a benchmark compares one answer with one, so nothing is skipped"
        elif spec.at("serving", "schedule").text == "InTurn":
            yield (
                f"{field.name}: {field.text} asks one comparison after another, and schedule InTurn starts every "
                "judge's server anew for each; RoundRobin starts each once"
            )
        samples = spec.at("training", "dpo", "samples").integer(0)
        if field.path[1] == "judge" and field.text == Comparisons.SEEDED and 0 < samples <= FEW:
            yield (
                f"{field.name}: Seeded judges three pairs, and {samples} answers have no more; write RoundRobin, or "
                "raise training.dpo.samples"
            )


def criteria_of_prompts(spec: Node) -> Iterator[str]:
    for judge in _judges(spec):
        is_chosen = judge.at("criteria").integer(0) > 0 and judge.at("aggregator").given
        if judge.at("criteriaFor").text == CriteriaFor.PROMPT and not is_chosen:
            yield (
                f"{judge.at('criteriaFor').name}: no criteria are chosen here (criteria is 0, or the method has no "
                "aggregator), so it has no effect"
            )


def _judges(spec: Node) -> list[Node]:
    return [spec.at("judge"), *(b.at("judge") for b in benchmark_nodes(spec))]


def lengths(spec: Node) -> Iterator[str]:
    """Rows longer than maxLength become what tooLong says."""
    sft, dpo = spec.at("training", "sft"), spec.at("training", "dpo")
    mixture = spec.at("mixture")
    writers = [mixture.at("aggregator")] if mixture.at("aggregator").given else _proposers(mixture)
    samplers = writers if dpo.at("samplesFrom").text == SamplesFrom.MIXTURE else [dpo]
    for part, holder in (*((sft, writer) for writer in writers), *((dpo, sampler) for sampler in samplers)):
        limit, answer = part.at("maxLength").integer(0), holder.at("maxTokens").integer(0)
        if part.given and holder.given and answer >= limit:
            yield (
                f"{part.name}.maxLength: {limit} tokens hold prompt and answer, and {holder.name}.maxTokens lets an "
                f"answer alone have {answer}; {_FATES[str(part.at('tooLong').text)]}"
            )


def adapters_learn_faster(spec: Node) -> Iterator[str]:
    """A rate that was chosen for all weights hardly moves an adapter, whose B starts at zero."""
    for part, whole in (("sft", Sft), ("dpo", Dpo)):
        rate = spec.at("training", part, "learningRate")
        default = decimal_text(whole.model_fields["learning_rate"].default)
        if spec.at("training", part, "adapter").given and rate.text == default:
            yield (
                f"{rate.name}: {default} is meant for training all weights, and adapters want about ten times as much; "
                "give it"
            )


def looks_at_nothing(spec: Node) -> Iterator[str]:
    for part in ("sft", "dpo"):
        steps = spec.at("training", part, "evalSteps")
        if steps.integer(EVAL_STEPS) != EVAL_STEPS and not spec.at("training", part, "heldOut").given:
            yield f"{steps.name}: without heldOut no rows are looked at, so it has no effect"


def _proposers(mixture: Node) -> list[Node]:
    return [proposer for layer in mixture.at("layers") for proposer in layer.at("proposers")]


def judges_windows(spec: Node) -> Iterator[str]:
    """A judge reads two answers whole; a pair that it cannot read has no verdict."""
    compared = [(spec.at("judge"), spec.at("training", "dpo", "maxTokens"))]
    compared += [(b.at("judge"), b.at("sampling", "maxTokens")) for b in benchmark_nodes(spec)]
    asked = [(holder, limit) for judge, limit in compared for holder in (*judge.at("judges"), judge.at("aggregator"))]
    asked += [(b.at("judgeModel"), b.at("sampling", "maxTokens")) for b in benchmark_nodes(spec)]
    for holder, limit in asked:
        name = holder.at("model").text
        for model in models_named(spec, spec.at("student").text if name == STUDENT else name):
            window, answer = window_of(model).integer(0), limit.integer(0)
            room = window - min(holder.at("maxTokens").integer(0), window // 4)
            if limit.given and 2 * answer >= room:
                yield (
                    f"{holder.at('model').name}: two answers of {answer} tokens ({limit.name}) leave no room for a "
                    f"question in {name}'s {window}, of which {window - room} are for its own; pairs of long "
                    f"answers have no verdict then: raise {window_of(model).name} or lower {limit.name}"
                )


def samples_differ(spec: Node) -> Iterator[str]:
    """Several samples at temperature 0 are one answer."""
    holders = [ask.holder for ask in asks(spec) if ask.role == "mixture"]
    places = [(h, h) for h in holders] + [(b, b.at("sampling")) for b in benchmark_nodes(spec)]
    for holder, sampling in places:
        is_cold = sampling.at("temperature").text == "0" and not is_asked_by_category(holder)
        if holder.at("samples").integer(1) > 1 and is_cold:
            yield f"{holder.at('samples').name}: at temperature 0 all samples are one answer; raise the temperature"


def twins(spec: Node) -> Iterator[str]:
    for layer in spec.at("mixture", "layers"):
        names = [proposer.at("model").text for proposer in layer.at("proposers")]
        for name in sorted({n for n in names if n and names.count(n) > 1}):
            count = names.count(name)
            yield f"{layer.name}.proposers: {name!r} stands {count} times; samples asks one model several times"


def trained_on_the_test(spec: Node) -> Iterator[str]:
    rows = {
        (s.at("source").text, s.at("split").text or "train") for g in ("sft", "preference") for s in spec.at("data", g)
    }
    for benchmark in benchmark_nodes(spec):
        if (benchmark.at("source").text, benchmark.at("split").text or "train") in rows:
            yield (
                f"{benchmark.at('source').name}: is a training source as well; decontamination will drop what both have"
            )


def verdict_markers(spec: Node) -> Iterator[str]:
    """A general model has to be told the labels; one that was trained as a judge may know them. Where log-probabilities
    give every verdict, no words are read. Arena-Hard's may stand in the judge's system message, as published."""
    judges = [judge for judge in (spec.at("judge"), *(b.at("judge") for b in benchmark_nodes(spec))) if judge.given]
    is_weighed = bool(judges) and all(judge.at("verdict").text == "LogProbs" for judge in judges)
    for name in () if is_weighed else ("metaJudge", "single"):
        prompt = spec.at("prompts", name)
        missing = [mark for mark in ("[[A]]", "[[B]]") if prompt.text and mark not in prompt.text]
        if missing:
            yield f"{prompt.name}: never asks for {' and '.join(missing)}, and only those are verdicts"
    for benchmark in benchmark_nodes(spec):
        yield from _unasked_marks(spec, benchmark)


def _unasked_marks(spec: Node, benchmark: Node) -> Iterator[str]:
    """Of benchmarks whose judge is told what to write by a prompt and a system message together."""
    marks = {"ArenaHard": (("arenaHard",), ARENA_MARKS), "MtBench": (("grade", "gradeReference"), ("[[",))}
    names, wanted = marks.get(benchmark.at("type").text or "", ((), ()))
    for name in names:
        prompt, system = spec.at("prompts", name), benchmark.at("judgeSystem").text or ""
        missing = [mark for mark in wanted if prompt.text and mark not in prompt.text + system]
        if missing:
            yield (
                f"{prompt.name}: neither it nor {benchmark.name}.judgeSystem asks for {' and '.join(missing)}, and "
                "nothing else is read"
            )


def lenient_gate(spec: Node) -> Iterator[str]:
    rule = spec.at("evaluation", "gate", "rule")
    if rule.text == "Mean" and list(spec.at("evaluation", "selection")):
        yield (
            f"{rule.name}: Mean promotes a student that is no better in nine runs of ten (two candidates, five "
            "iterations); LowerBound asks for evidence"
        )


def budget_unused(spec: Node) -> Iterator[str]:
    """A limit of what nothing takes."""
    for limits in (spec.at("budget"), spec.at("budget", "perIteration")):
        if limits.at("gpuHours").given and not holds_gpus(spec):
            yield f"{limits.at('gpuHours').name}: no server and no training holds a GPU, so it never ends anything"


ADVICE = (
    budget_unused,
    idle,
    lenient_gate,
    judges_apart,
    judges_kin,
    judges_measured,
    comparisons_skipped,
    criteria_of_prompts,
    lengths,
    adapters_learn_faster,
    looks_at_nothing,
    judges_windows,
    samples_differ,
    twins,
    trained_on_the_test,
    verdict_markers,
)
