"""judge: compares and ranks the student's samples, and makes preference pairs of them."""

from moaa.api import MoAA
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
