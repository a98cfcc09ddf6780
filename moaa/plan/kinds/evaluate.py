"""evaluate: every measured model answers every benchmark, and each answer is scored."""

from collections.abc import Iterator

from moaa.api import MoAA
from moaa.api.evaluation import Benchmark
from moaa.asking.load import PROMPT_TOKENS, Load, written
from moaa.plan.canonical import canonical
from moaa.plan.digests import (
    Document,
    Results,
    judge_document,
    mixture_document,
    model_digest,
    models_document,
    output_digest,
    output_rows,
    prompts_document,
)
from moaa.plan.graph import benchmarks
from moaa.plan.ids import BASE_EVALUATE, STAGE_DATA
from moaa.plan.kinds.kind import Asked, Counts, Group, Reads, Sharded, StageKind
from moaa.plan.kinds.sliced import total, with_turns
from moaa.plan.stage import Kind, Stage
from moaa.plan.students import measure, mixture_method
from moaa.plan.subjects import How, subjects


def document(stage: Stage, resource: MoAA, results: Results) -> tuple[Document, Document]:
    """Selection and report benchmarks alike. Baselines count by their model, not by iteration 0's answers, which an
    edit of the mixture would repeat."""
    spec = resource.spec
    listed = benchmarks(spec)
    inputs: Document = {b.name: output_digest(results, STAGE_DATA, f"eval-{b.name}") for b in listed}
    prompts: set[str] = set()
    entries: Document = {}
    body: Document = {"benchmarks": entries, "seed": spec.seed}
    for benchmark in listed:
        scored = measure(benchmark, resource, stage)
        prompts |= set(scored.prompts)
        entry = canonical(benchmark) | {"limit": benchmark.limit}
        if scored.yardstick is not None:
            entry["baseline"] = models_document([scored.yardstick], resource, results)
        if scored.judge is not None:
            entry["judge"] = judge_document(scored.judge, resource, stage)
        entries[benchmark.name] = entry
    if stage.id == BASE_EVALUATE and spec.evaluation.members and spec.mixture is not None:
        body["mixture"] = mixture_document(resource, stage)
        prompts |= set(mixture_method(resource, stage).prompts)
    body["student"] = model_digest(stage.student or "", results)
    body["prompts"] = prompts_document(resource, sorted(prompts))
    body["models"] = models_document(stage.serves, resource, results)
    return inputs, body


def expected(_stage: Stage, resource: MoAA, counts: Counts) -> int | None:
    return total(_questions(benchmark, counts) for benchmark in benchmarks(resource.spec))


def effort(stage: Stage, resource: MoAA, counts: Counts) -> Asked:
    return Asked(tuple(_loads(stage, resource, counts)))


def _loads(stage: Stage, resource: MoAA, counts: Counts) -> Iterator[Load]:
    """Answers of every measured model, then scores. A baseline's own answers are there already and need no score."""
    measured = subjects(resource, stage)
    for benchmark in benchmarks(resource.spec):
        answers = (_questions(benchmark, counts) or 0) * benchmark.samples
        turns = with_turns(answers, f"eval-{benchmark.name}", counts)
        if any(subject.how is How.MIXTURE for subject in measured):
            yield from mixture_method(resource, stage).loads(turns)
        for subject in measured:
            if subject.how is How.ALONE:
                yield Load(subject.model, turns, PROMPT_TOKENS, written(benchmark.sampling.max_tokens))
        scored = measure(benchmark, resource, stage)
        others = [s for s in measured if s.how is How.MIXTURE or s.model != scored.yardstick]
        yield from scored.loads(answers * len(others))


def _questions(benchmark: Benchmark, counts: Counts) -> int | None:
    """Rows of a benchmark, which `limit` only caps."""
    counted = counts.get(f"eval-{benchmark.name}", benchmark.limit)
    return counted if counted is None or benchmark.limit is None else min(counted, benchmark.limit)


def rows(_stage: Stage, resource: MoAA, results: Results) -> int:
    """Subjects multiply the items and the size of shards alike, so prompts decide."""
    return sum(output_rows(results, STAGE_DATA, f"eval-{b.name}") for b in benchmarks(resource.spec))


ROW = StageKind(
    kind=Kind.EVALUATE,
    revision=7,  # scores hold which answers refuse and how much they repeat themselves
    document=document,
    expected=expected,
    effort=effort,
    runs=Sharded(rows_per_shard=256, rows=rows),
    reads=frozenset({Reads.HUB_MODELS, Reads.ENDPOINTS}),
    outputs=("answers", "scores", "judgements"),
    is_quick=False,
    at_work="Evaluating",
    group=Group.EVALUATE,
)
