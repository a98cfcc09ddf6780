"""stage-data: sources become tables, deduplicated, decontaminated and permuted."""

from moaa.api import MoAA
from moaa.api.base import GIVEN_ANSWERS
from moaa.api.data import DataSource
from moaa.api.evaluation import ArenaHard, Benchmark, LmEval, Pairwise
from moaa.plan.canonical import canonical
from moaa.plan.digests import Document, Results, output_digest
from moaa.plan.graph import benchmarks
from moaa.plan.ids import RESOLVE
from moaa.plan.kinds.kind import Alone, Group, Reads, StageKind, no_effort, no_rows
from moaa.plan.slices import ANCHORED, pinned_sources, tables
from moaa.plan.stage import Kind, Stage


def document(_stage: Stage, resource: MoAA, results: Results) -> tuple[Document, Document]:
    spec = resource.spec
    inputs: Document = {name: output_digest(results, RESOLVE, name) for name, _ in pinned_sources(resource)}
    cut = {f"eval-{benchmark.name}": benchmark.limit for benchmark in benchmarks(spec)}
    if spec.anchors is not None and spec.anchors.source is not None:
        cut[ANCHORED] = spec.anchors.source.limit
    body: Document = {
        "seed": spec.seed,
        "tables": {
            table: {"source": source.source, "split": source.split, "limit": cut.get(table)}
            | _columns(source)
            | _read_as(source)
            for table, source in tables(resource)
        },
        "answers": [str(source.answers) for source in spec.data.sft],
        "decontaminationNgram": spec.data.decontamination_ngram,
    }
    return inputs, body


def _columns(source: DataSource) -> Document:
    """What the resource says of a source's columns, left out where it says nothing."""
    said = {name: value for name, value in canonical(source.columns).items() if value not in (None, [])}
    return {"columns": said} if said else {}


def _read_as(source: DataSource) -> Document:
    """What a benchmark makes of its rows: which it asks, which answer they carry, and which facts."""
    if not isinstance(source, Benchmark):
        return {}
    found: Document = {"type": source.type}
    if isinstance(source, Pairwise) and source.baseline == GIVEN_ANSWERS:
        found["baseline"] = GIVEN_ANSWERS
    if isinstance(source, LmEval):
        found |= {"tasks": list(source.tasks), "numFewshot": source.num_fewshot}
    if isinstance(source, ArenaHard) and source.category is not None:
        found["category"] = source.category
    return found


ROW = StageKind(
    kind=Kind.STAGE_DATA,
    # 2: what belongs to a question is read with it; rows are deduplicated by system prompt too and decontaminated by
    # whole questions.
    revision=2,
    document=document,
    expected=no_rows,
    effort=no_effort,
    runs=Alone(),
    reads=frozenset({Reads.HUB_MODELS, Reads.DATA}),
    outputs=(),
    is_quick=True,
    at_work="StagingData",
    group=Group.OTHER,
)
