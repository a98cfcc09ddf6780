"""How many shards a stage has: a function of the resource and of earlier results."""

import pytest

from moaa.errors import StageError
from moaa.plan.graph import build
from moaa.plan.kinds.table import shard_count as count
from moaa.plan.kinds.table import shards_of
from moaa.plan.result import StageResult
from moaa.store.stages.shards import shard_count
from tests.plan_helpers import resource, run_all


def with_rows(results: dict[str, StageResult], rows: int) -> dict[str, StageResult]:
    return {
        name: result.with_(outputs={n: o.with_(rows=rows) for n, o in result.outputs.items()})
        for name, result in results.items()
    }


@pytest.mark.parametrize(
    ("stage", "limit", "rows", "shards"),
    [
        ("i0-resolve", 10, 5000, None),
        ("i1-sft", 10, 5000, None),
        ("i1-promote", 10, 5000, None),
        ("i1-generate", 1024, 5000, 2),
        ("i1-generate", 1025, 5000, 3),
        ("i1-generate", None, 5000, 10),
        ("i1-sample", 10, 5000, 1),
        ("i1-judge", 10, 5000, 79),
        ("i1-judge", 10, 0, 1),
        ("i0-evaluate", 10, 5000, 20),
    ],
)
def test_shards(stage: str, limit: int | None, rows: int, shards: int | None) -> None:
    source = {"source": "file:///sft.jsonl", **({} if limit is None else {"limit": limit})}
    owner = resource(spec__data__sft=[source])
    results = with_rows(run_all(owner)[0], rows)
    assert shards_of(build(owner).stages[stage], owner, results) == shards


def test_a_missing_output_is_an_error() -> None:
    owner = resource()
    with pytest.raises(StageError, match="i0-stage-data: its result holds no output"):
        shards_of(build(owner).stages["i1-generate"], owner, {})


@pytest.mark.parametrize("rows", [0, 1, 511, 512, 513, 100_000])
def test_the_plan_counts_as_the_store_does(rows: int) -> None:
    assert count(rows, 512) == shard_count(rows, 512)
