"""promote: the best student, nobody, or the last; the iteration's record."""

from pathlib import Path

import pytest

from moaa.plan.history.repeats import IterationRecord
from moaa.plan.result import Output
from moaa.store.stages.shards import read_table
from moaa_jobs.runner.context import Permanent
from moaa_jobs.stages import promote, resolve, stage_data
from tests.unit.data_bench import RUN, Bench


async def test_promotion_of_the_best_and_of_nobody(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    await bench.up_to_training()
    for stage in ("i1-generate", "i1-sft", "i1-sample", "i1-judge", "i1-dpo"):
        await bench.pretend(stage)
    await bench.pretend("i1-evaluate-sft", {"sft": {"1": 1.0, "2": 1.0}})
    await bench.pretend("i1-evaluate-dpo", {"dpo": {"1": 0.5, "2": 0.5}})
    first = await bench.run(promote, "i1-promote")
    assert first.outputs["model"] == bench.results["i1-sft"].outputs["model"]
    assert [ref.key for ref in first.files["model"]] == ["stages/x/i1-sft/model/config.json"]
    assert first.metrics["gain.i1-sft"] == 0.75
    assert first.metrics["promoted"] == 1
    assert (first.metrics["raw.i1-sft"], first.metrics["questions.i1-dpo"]) == (0.75, 20)
    assert first.metrics["level"] == 0.00625, "two candidates in two iterations, two ends"
    assert not [name for name in first.metrics if name.startswith(("lengthControlled", "forgotten"))]
    assert first.decision == (
        "iteration 1 SFT is promoted: its lower 99.38 % bound of the gain over the previous student, +59.2 points, the "
        "highest of the candidates, is above the 0.0 points that the gate asks for."
    )
    assert first.result().decision == first.decision
    assert first.warnings == []
    assert {r["model"] for r in await read_table(bench.store, first, "scores")} == {"sft"}
    gains = {r["candidate"]: r for r in await read_table(bench.store, first, "gains")}
    assert [(n, r["gain"], r["is_winner"]) for n, r in gains.items()] == [
        ("llama", None, False),
        ("@i1-sft", 0.75, True),
        ("@i1-dpo", 0.25, False),
    ]
    record = IterationRecord.model_validate_json(await bench.store.get(f"runs/{RUN}/iterations/1.json"))
    assert record.is_closed
    assert record.stages["i1-sft"] == bench.results["i1-sft"]
    assert not [name for name in record.stages if not name.startswith("i1-")]
    assert record.start == {name: result for name, result in bench.results.items() if name.startswith("i0-")}
    assert "i0-evaluate" in record.start

    for stage in ("i2-generate", "i2-sft", "i2-sample", "i2-judge", "i2-dpo"):
        await bench.pretend(stage)
    await bench.pretend("i2-evaluate-sft", {"sft": {"1": 0.5, "2": 0.5}})
    await bench.pretend("i2-evaluate-dpo", {"dpo": {"1": 1.0, "2": 0.5}})
    second = await bench.run(promote, "i2-promote")
    assert second.metrics["promoted"] == 0
    assert second.decision == (
        "The previous student stays: no candidate's lower 99.38 % bound of the gain is above the 0.0 points that the "
        "gate asks for without forgetting (iteration 2 SFT: −50.0 points, forgets: -50.0 points on e, -50.0 at worst; "
        "iteration 2 DPO: −40.8 points, forgets: -25.0 points on e, -40.8 at worst)."
    )
    assert second.outputs["model"] == first.outputs["model"], "the one promoted before stays"
    assert second.files == first.files
    assert await read_table(bench.store, second, "scores") == await read_table(bench.store, first, "scores")


async def test_the_base_may_stay(tmp_path: Path) -> None:
    bench = Bench(tmp_path, training={"sft": {"precision": "BF16"}}, judge=None)
    await bench.up_to_training()
    for stage in ("i1-generate", "i1-sft"):
        await bench.pretend(stage)
    await bench.pretend("i1-evaluate-sft", {"sft": {"1": 0.0, "2": 0.0}})
    manifest = await bench.run(promote, "i1-promote")
    assert manifest.outputs["model"] == Output(digest=bench.results["i0-resolve"].models["llama"])
    assert manifest.files == {}
    kept = await read_table(bench.store, manifest, "scores")
    assert [(r["model"], r["score"]) for r in kept] == [("base", 0.0)] * 10 + [("base", 0.5)] * 10


async def test_without_benchmarks_the_last_trained_is_promoted(tmp_path: Path) -> None:
    bench = Bench(tmp_path, evaluation={})
    await bench.run(resolve, "i0-resolve")
    await bench.run(stage_data, "i0-stage-data")
    for stage in ("i1-generate", "i1-sft", "i1-sample", "i1-judge", "i1-dpo"):
        await bench.pretend(stage)
    manifest = await bench.run(promote, "i1-promote")
    assert manifest.outputs["model"] == bench.results["i1-dpo"].outputs["model"]
    assert "scores" not in manifest.outputs


async def test_students_without_a_common_question_are_not_compared(tmp_path: Path) -> None:
    bench = Bench(tmp_path, training={"sft": {"precision": "BF16"}}, judge=None)
    await bench.up_to_training()
    for stage in ("i1-generate", "i1-sft"):
        await bench.pretend(stage)
    await bench.pretend("i1-evaluate-sft", {"sft": {"9": 0.0}})
    with pytest.raises(Permanent, match=r"i1-promote: llama cannot be compared with @i1-sft: benchmark e: no question"):
        await bench.run(promote, "i1-promote")


async def test_a_lost_record_is_written_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path, evaluation={}, training={"sft": {"precision": "BF16"}}, judge=None)
    await bench.run(resolve, "i0-resolve")
    await bench.run(stage_data, "i0-stage-data")
    for stage in ("i1-generate", "i1-sft"):
        await bench.pretend(stage)
    await bench.run(promote, "i1-promote")
    key = f"runs/{RUN}/iterations/1.json"
    body = await bench.store.get(key)
    await bench.store.delete(key)
    await bench.run(promote, "i1-promote")
    assert await bench.store.get(key) == body
