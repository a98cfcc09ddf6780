"""stage-data: sources become tables, deduplicated, decontaminated and permuted."""

from moaa.api import MoAA
from moaa.plan.digests import Document, Results, output_digest
from moaa.plan.graph import benchmarks
from moaa.plan.ids import RESOLVE
from moaa.plan.kinds.kind import Alone, Counts, Group, Nothing, Reads, StageKind
from moaa.plan.slices import tables
from moaa.plan.stage import Kind, Stage


def document(_stage: Stage, resource: MoAA, results: Results) -> tuple[Document, Document]:
    spec = resource.spec
    inputs: Document = {table: output_digest(results, RESOLVE, table) for table, _ in tables(resource)}
    cut = {f"eval-{benchmark.name}": benchmark.limit for benchmark in benchmarks(spec)}
    body: Document = {
        "seed": spec.seed,
        "tables": {
            table: {"source": source.source, "split": source.split, "limit": cut.get(table)}
            for table, source in tables(resource)
        },
        "answers": [str(source.answers) for source in spec.data.sft],
        "decontaminationNgram": spec.data.decontamination_ngram,
    }
    return inputs, body


def expected(_stage: Stage, _resource: MoAA, _counts: Counts) -> int:
    return 0


def effort(_stage: Stage, _resource: MoAA, _counts: Counts) -> Nothing:
    return Nothing()


ROW = StageKind(
    kind=Kind.STAGE_DATA,
    revision=1,
    document=document,
    expected=expected,
    effort=effort,
    runs=Alone(),
    reads=frozenset({Reads.DATA}),
    outputs=(),
    is_quick=True,
    at_work="StagingData",
    group=Group.OTHER,
)
