"""stage-data: rows of sources become tables, whatever happens meanwhile."""

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from moaa.errors import DataError
from moaa.store.objects.directory import DirectoryStore
from moaa.store.stages.manifest import ShardManifest
from moaa.store.stages.shards import publish_shard, read_table
from moaa_jobs.stages import resolve, stage_data
from tests.unit.data_bench import Bench, jsonl


async def test_stage_data_writes_permuted_tables_and_counts(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    await bench.run(resolve, "i0-resolve")
    manifest = await bench.run(stage_data, "i0-stage-data")
    rows = await read_table(bench.store, manifest, "sft-0")
    assert {r["id"] for r in rows} == {str(i) for i in range(12)} - {"3"}, "3 is the evaluation prompt"
    assert [r["id"] for r in rows] != sorted((r["id"] for r in rows), key=int)
    assert manifest.outputs["sft-0"].rows == 11
    assert manifest.rows_in == 19
    assert {k: v for k, v in manifest.metrics.items() if k.startswith("sft-0")} == {
        "sft-0.read": 12,
        "sft-0.failed": 0,
        "sft-0.duplicates": 0,
        "sft-0.contaminated": 1,
        "sft-0.overLimit": 0,
        "sft-0.rows": 11,
        "sft-0.turns": 11,
    }
    assert manifest.failures == {}
    [dropped] = await read_table(bench.store, manifest, "dropped")
    assert dropped["where"].endswith("/s.jsonl line 4")
    assert {k: v for k, v in dropped.items() if k != "where"} == {
        "table": "sft-0",
        "reason": "contaminated",
        "detail": "question 'q' of eval-e: 'SFT 3'",
    }
    assert (await read_table(bench.store, manifest, "eval-e")) == [
        {"id": "q", "messages": [{"role": "user", "content": "SFT 3"}], "answer": "4", "facts": None}
    ]
    assert not list((tmp_path / "work" / "i0-stage-data").glob("*.spool"))


async def test_bad_rows_and_unread_columns_are_in_the_manifest(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(tmp_path, failures={"maxFraction": "0.2"})
    rows = [{"id": i, "prompt": f"sft {i}", "rating": i, "\ud83d": 1} for i in range(12)]
    jsonl(tmp_path / "data" / "s.jsonl", [*rows, {"id": 12, "prompt": "x\ud83d"}, {"id": 13, "prompt": ""}])
    await bench.run(resolve, "i0-resolve")
    with caplog.at_level("INFO"):
        manifest = await bench.run(stage_data, "i0-stage-data")
    assert manifest.failures == {"unusable-text": 1, "empty-turn": 1}
    assert manifest.examples.keys() == manifest.failures.keys(), "a contaminated row is no failure"
    assert "/s.jsonl line 14: prompt turn 1: found ''" in manifest.examples["empty-turn"]
    assert manifest.metrics["sft-0.failed"] == 2
    assert manifest.metrics["sft-0.ignored.rating"] == 12
    assert manifest.metrics["sft-0.ignored.\\ud83d"] == 12, "a name that no JSON holds is spelt out"
    assert "columns_ignored table=sft-0 columns=\\ud83d (12 rows), rating (12 rows)" in caplog.text
    assert "rows_dropped table=sft-0 reason=empty-turn first=file://" in caplog.text
    dropped = await read_table(bench.store, manifest, "dropped")
    assert [(r["table"], r["where"].rpartition("/")[2], r["reason"]) for r in dropped] == [
        ("sft-0", "s.jsonl line 4", "contaminated"),
        ("sft-0", "s.jsonl line 13", "unusable-text"),
        ("sft-0", "s.jsonl line 14", "empty-turn"),
    ]


async def test_too_many_bad_rows_end_the_stage_with_all_reasons(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    jsonl(tmp_path / "data" / "s.jsonl", [{"prompt": "a"}, {"prompt": ""}, {"prompt": 3}])
    jsonl(tmp_path / "data" / "p.jsonl", [{"prompt": None}])
    await bench.run(resolve, "i0-resolve")
    with pytest.raises(DataError) as caught:
        await bench.run(stage_data, "i0-stage-data")
    message = str(caught.value)
    for part in (
        "spec.data.sft[0]: 2 of 3 rows cannot be used (empty-turn: 1, wrong-type: 1), more than spec.failures.",
        "- empty-turn, first file:///",
        "- wrong-type, first file:///",
        "spec.data.preference[0]: 1 of 1 rows cannot be used",
        "- unknown-columns, first",
    ):
        assert part in message


async def test_too_few_rows_say_what_became_of_the_others(tmp_path: Path) -> None:
    bench = Bench(tmp_path, iterations=3)
    await bench.run(resolve, "i0-resolve")
    with pytest.raises(DataError, match=r"there are 11 .* \(of 12 rows, with questions of eval-e: 1 \(first: .* 'q'"):
        await bench.run(stage_data, "i0-stage-data")


async def test_columns_and_the_split_of_a_folder_are_the_resources(tmp_path: Path) -> None:
    folder = tmp_path / "mix"
    folder.mkdir()
    jsonl(folder / "train.jsonl", [{"query": f"train {i}", "persona": "Be brief."} for i in range(4)])
    jsonl(folder / "test.jsonl", [{"query": f"test {i}", "persona": "Be brief."} for i in range(9)])
    source = {"source": f"file://{folder}/", "columns": {"prompt": "query", "system": "persona"}, "limit": 2}
    bench = Bench(tmp_path, data={"sft": [{**source, "split": "test"}], "preference": [source]})
    await bench.run(resolve, "i0-resolve")
    manifest = await bench.run(stage_data, "i0-stage-data")
    rows = await read_table(bench.store, manifest, "sft-0")
    assert [m["role"] for m in rows[0]["messages"]] == ["system", "user"]
    assert {r["messages"][1]["content"] for r in rows} == {f"test {i}" for i in range(9)}
    assert manifest.outputs["preference-0"].rows == 4
    assert set(manifest.outputs) == {"sft-0", "preference-0", "eval-e", "dropped"}


async def test_answers_to_compare_with_are_kept_beside_the_question(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"instruction": "Which?", "output": "That.", "generator": "m"}]
    (tmp_path / "data").mkdir()
    benchmark = {
        "name": "e",
        "type": "Pairwise",
        "baseline": "$given",
        "source": jsonl(tmp_path / "data" / "a.jsonl", rows),
        "judge": {"method": "Single", "aggregator": {"model": "judge"}},
    }
    bench = Bench(tmp_path, evaluation={"selection": [benchmark]})
    await bench.run(resolve, "i0-resolve")
    [row] = await read_table(bench.store, await bench.run(stage_data, "i0-stage-data"), "eval-e")
    assert (row["messages"], row["answer"]) == ([{"role": "user", "content": "Which?"}], "That.")


async def test_what_a_further_file_says_stands_in_every_row(tmp_path: Path) -> None:
    questions: list[dict[str, object]] = [{"instruction": f"Which {k}?", "output": f"{k}."} for k in range(3)]
    (tmp_path / "data").mkdir()
    known = tmp_path / "data" / "df_gamed.csv"
    lines = [f"{k},long,0.5,1.0,{k + 0.25}" for k in range(3)]
    known.write_text("\n".join(["index,model,preference,std_delta_len,instruction_difficulty", *lines]))
    benchmark = {
        "name": "alpaca",
        "type": "AlpacaEval",
        "source": jsonl(tmp_path / "data" / "a.jsonl", questions),
        "judgeModel": {"model": "judge"},
        "known": {"source": f"file://{known}"},
        "limit": 2,
    }
    bench = Bench(tmp_path, evaluation={"selection": [benchmark]})
    pinned = await bench.run(resolve, "i0-resolve")
    assert "eval-alpaca.known" in pinned.outputs
    staged = await bench.run(stage_data, "i0-stage-data")
    assert "eval-alpaca.known" not in staged.outputs, "its content is in the rows"
    rows = await read_table(bench.store, staged, "eval-alpaca")
    assert [json.loads(row["facts"])["difficulty"] for row in rows] == [float(row["answer"]) + 0.25 for row in rows]
    assert len(rows) == 2


async def test_a_further_file_of_other_questions_ends_the_stage(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    known = tmp_path / "data" / "df_gamed.csv"
    known.write_text("index,model,preference,std_delta_len,instruction_difficulty\n0,long,0.5,1.0,2.0\n")
    benchmark = {
        "name": "alpaca",
        "type": "AlpacaEval",
        "source": jsonl(tmp_path / "data" / "a.jsonl", [{"instruction": f"{k}?", "output": f"{k}."} for k in range(3)]),
        "judgeModel": {"model": "judge"},
        "known": {"source": f"file://{known}"},
    }
    bench = Bench(tmp_path, evaluation={"selection": [benchmark]})
    await bench.run(resolve, "i0-resolve")
    with pytest.raises(DataError, match="difficulty of 1 questions, and the benchmark's source has 3"):
        await bench.run(stage_data, "i0-stage-data")


async def test_a_second_attempt_writes_nothing(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    await bench.run(resolve, "i0-resolve")
    first = await bench.run(stage_data, "i0-stage-data")
    for file in (tmp_path / "data").iterdir():
        file.unlink()
    assert await bench.run(stage_data, "i0-stage-data") == first


async def test_shards_hold_a_fixed_number_of_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Bench(tmp_path)
    await whole.run(resolve, "i0-resolve")
    expected = await read_table(whole.store, await whole.run(stage_data, "i0-stage-data"), "sft-0")
    monkeypatch.setattr(stage_data, "ROWS_PER_SHARD", 5)
    whole.store = DirectoryStore(tmp_path / "other")
    whole.store.prepare()
    whole.results.clear()
    await whole.run(resolve, "i0-resolve")
    manifest = await whole.run(stage_data, "i0-stage-data")
    assert len(manifest.tables["sft-0"]) == 3
    assert await read_table(whole.store, manifest, "sft-0") == expected


class Killed(BaseException):
    """Passes through whatever catches exceptions, as a kill does."""


async def test_killed_between_any_two_shards_and_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_data, "ROWS_PER_SHARD", 5)
    bench = Bench(tmp_path)
    await bench.run(resolve, "i0-resolve")
    whole = await bench.run(stage_data, "i0-stage-data")
    for survivors in range(4):
        store = DirectoryStore(tmp_path / f"killed-{survivors}")
        store.prepare()
        bench.store = store
        await bench.run(resolve, "i0-resolve")
        published = 0

        async def killed(*args: Any, **options: Any) -> ShardManifest:
            nonlocal published
            published += 1
            if published > survivors:  # noqa: B023  called within this pass only
                raise Killed
            return await publish_shard(*args, **options)

        with monkeypatch.context() as patch:
            patch.setattr("moaa_jobs.runner.one_worker.publish_shard", killed)
            if survivors < 3:
                context = bench.context("i0-stage-data")
                task = asyncio.ensure_future(stage_data.run(context.job, context))
                with pytest.raises(Killed):
                    await task
        resumed = await bench.run(stage_data, "i0-stage-data")
        assert resumed.outputs == whole.outputs
        assert len(resumed.tables["sft-0"]) == 3


async def test_a_stopped_stage_stops_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"id": i, "prompt": f"sft {i}"} for i in range(3000)]
    bench = Bench(tmp_path)
    jsonl(tmp_path / "data" / "s.jsonl", list(rows))
    await bench.run(resolve, "i0-resolve")
    context = bench.context("i0-stage-data")
    reports: list[int] = []
    reading, stopped = threading.Event(), threading.Event()

    def update(**figures: object) -> None:
        if "rows_done" in figures:
            reports.append(int(str(figures["rows_done"])))
            reading.set()
            stopped.wait(10)

    monkeypatch.setattr(context.progress, "update", update)
    task = asyncio.ensure_future(stage_data.run(context.job, context))
    await asyncio.to_thread(reading.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    stopped.set()
    await asyncio.get_running_loop().shutdown_default_executor()
    assert reports == [256]
    assert not list((tmp_path / "store" / "stages" / "stage-data").rglob("manifest.json"))


async def test_a_source_that_changed_after_it_was_pinned_is_refused(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    await bench.run(resolve, "i0-resolve")
    with (tmp_path / "data" / "s.jsonl").open("a") as file:
        file.write('{"prompt": "new"}\n')
    with pytest.raises(DataError, match=r"s\.jsonl: found sha256:.* was pinned when the run resolved its sources"):
        await bench.run(stage_data, "i0-stage-data")


async def test_too_few_rows_for_the_last_iteration_is_found_at_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path, iterations=3)
    await bench.run(resolve, "i0-resolve")
    with pytest.raises(
        DataError, match=r"spec\.data\.sft\[0\]\.limit: 4 rows from row 8 on are needed, and there are 11"
    ):
        await bench.run(stage_data, "i0-stage-data")
