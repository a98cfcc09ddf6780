"""judge: compares and ranks the student's samples, and makes preference pairs of them."""

from dataclasses import dataclass

from moaa.api import MoAA
from moaa.judge.adaptive.asking import Adaptive
from moaa.plan.canonical import canonical
from moaa.plan.digests import (
    Document,
    Results,
    judge_document,
    models_document,
    output_digest,
    output_rows,
    prompts_document,
)
from moaa.plan.ids import stage_id
from moaa.plan.kinds import sample
from moaa.plan.kinds.kind import Asked, Counts, Group, Reads, Sharded, StageKind
from moaa.plan.stage import Kind, Stage
from moaa.plan.students import declared_dpo, judge_method

OUTCOME = "outcome."
"""Begins the names of the manifest's metrics that count prompts by `RankingRow.outcome`."""
SKIPPED = "skipped-verdicts"
"""Metric of the manifest: orders of comparisons that were not asked; none where there is no such order."""
SECONDED, OPPOSED = "seed-agreed", "seed-opposed"
"""Metrics of the manifest: comparisons that judges decided as the reward model's scores have it, and against them; none
where there is no such comparison."""


def document(stage: Stage, resource: MoAA, results: Results) -> tuple[Document, Document]:
    method = judge_method(resource, stage)
    assert resource.spec.judge is not None, "judge_method raises where there is none"
    inputs: Document = {"samples": output_digest(results, stage_id(stage.iteration, Kind.SAMPLE), "samples")}
    body: Document = {
        "judge": judge_document(resource.spec.judge, resource, stage),
        "prompts": prompts_document(resource, method.prompts),
        "models": models_document(stage.serves, resource, results),
        "seed": resource.spec.seed,
    }
    if rules := canonical(declared_dpo(resource).pairs):  # empty at the defaults: such stages are done already
        body["pairs"] = rules
    return inputs, body


def effort(stage: Stage, resource: MoAA, counts: Counts) -> Asked:
    prompts, samples = sample.expected(stage, resource, counts) or 0, sample.sample_count(stage, resource)
    answer_tokens = sample.sample_tokens(stage, resource)
    return Asked(tuple(judge_method(resource, stage).ranking_loads(prompts, samples, answer_tokens=answer_tokens)))


@dataclass(frozen=True)
class CallsAPrompt:
    """Calls that judge the samples of one prompt."""

    usual: float
    least: float
    most: float


def calls_a_prompt(stage: Stage, resource: MoAA) -> CallsAPrompt | None:
    """What judging takes where comparisons are skipped; None where all are asked, and `effort` is exact."""
    method, samples = judge_method(resource, stage), sample.sample_count(stage, resource)
    if not isinstance(method, Adaptive):
        return None
    many = 1000  # of one, the usual number of comparisons would be rounded
    kinds = (method.ranking_loads, method.least_loads, method.every.ranking_loads)
    counts = [sum(load.calls for load in loads(many, samples, answer_tokens=1)) / many for loads in kinds]
    return CallsAPrompt(*counts)


def rows(stage: Stage, _resource: MoAA, results: Results) -> int:
    return output_rows(results, stage_id(stage.iteration, Kind.SAMPLE), "samples")


ROW = StageKind(
    kind=Kind.JUDGE,
    revision=5,  # judgements hold the letters' probabilities
    document=document,
    expected=sample.expected,
    effort=effort,
    # A prompt costs about a hundred calls (docs/architecture.md, "Judging"), so shards are small.
    runs=Sharded(rows_per_shard=64, rows=rows),
    reads=frozenset({Reads.HUB_MODELS, Reads.ENDPOINTS}),
    outputs=("rankings", "pairs", "judgements"),
    is_quick=False,
    at_work="Judging",
    group=Group.JUDGE,
)
