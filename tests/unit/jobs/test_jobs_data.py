"""resolve, stage-data and promote end to end, on a store in a folder."""

import asyncio
import json
import os
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from moaa.api import MoAA
from moaa.contract.job import StageJob
from moaa.data.schemas import SCORES
from moaa.errors import DataError
from moaa.plan.fingerprint import identify
from moaa.plan.graph import build
from moaa.plan.history.repeats import IterationRecord
from moaa.plan.result import Output, StageResult
from moaa.rows import ScoreRow
from moaa.store.objects.directory import DirectoryStore
from moaa.store.stages.manifest import ObjectRef, ShardManifest, StageManifest
from moaa.store.stages.shards import publish_shard, read_manifest, read_table
from moaa.store.stages.tables import TableRows
from moaa_jobs.runner.context import Context, Permanent
from moaa_jobs.runner.one_worker import publish
from moaa_jobs.runner.settings import JobSettings
from moaa_jobs.stages import promote, resolve, stage_data
from moaa_jobs.tell.progress import Progress
from tests.model_folder import write_model

RUN = "default-m-1234"


def jsonl(path: Path, rows: list[dict[str, object]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"file://{path}"


class Bench:
    """A resource, a store, and the results so far."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.folder = folder
        write_model(folder / "weights")
        files = folder / "data"
        files.mkdir(exist_ok=True)
        spec: dict[str, Any] = {
            "seed": 3,
            "storage": {"uri": f"file://{folder}/store"},
            "models": [
                {"name": "llama", "source": f"file://{folder}/weights", "license": "llama3"},
                {"name": "volume", "source": "pvc://claim/folder"},
                {"name": "judge", "endpoint": {"url": "http://h/v1", "model": "j"}},
            ],
            "student": "llama",
            "mixture": {"layers": [{"proposers": [{"model": "volume"}]}], "aggregator": {"model": "volume"}},
            "judge": {"method": "Single", "aggregator": {"model": "judge"}},
            "data": {
                "sft": [
                    {
                        "source": jsonl(files / "s.jsonl", [{"id": i, "prompt": f"sft {i}"} for i in range(12)]),
                        "limit": 4,
                    },
                ],
                "preference": [
                    {"source": jsonl(files / "p.jsonl", [{"prompt": f"pref {i}"} for i in range(6)]), "limit": 3}
                ],
            },
            "training": {"sft": {"precision": "BF16"}, "dpo": {}},
            "evaluation": {
                "selection": [
                    {
                        "name": "e",
                        "type": "ExactMatch",
                        "source": jsonl(files / "e.jsonl", [{"id": "q", "prompt": "SFT 3", "answer": 4}]),
                    }
                ]
            },
            "iterations": 2,
        }
        self.resource = MoAA.model_validate(
            {"apiVersion": "moaa.dev/v1alpha1", "kind": "MoAA", "metadata": {"name": "m"}, "spec": {**spec, **changes}}
        )
        (folder / "store").mkdir(exist_ok=True)
        self.store = DirectoryStore(folder / "store")
        self.store.prepare()
        self.results: dict[str, StageResult] = {}

    def context(self, stage: str) -> Context:
        node = build(self.resource).stages[stage]
        identity = identify(node, self.resource, self.results)
        assert identity is not None, f"{stage} needs {node.needs}"
        job = StageJob(
            run=RUN,
            resource=self.resource.model_dump(mode="json", by_alias=True),
            stage=stage,
            kind=node.kind,
            iteration=node.iteration,
            student=node.student,
            candidates=node.candidates,
            inputs=identity.inputs,
            fingerprint=identity.fingerprint,
            document=dict(identity.document),
            results=self.results,
            models=self.results["i0-resolve"].models if "i0-resolve" in self.results else {},
        )
        work = self.folder / "work" / stage
        work.mkdir(parents=True, exist_ok=True)
        return Context(
            job=job,
            resource=self.resource,
            store=self.store,
            work_dir=work,
            progress=Progress(stage, None),
            settings=JobSettings(job=Path("unused")),
        )

    async def run(self, module: Any, stage: str) -> StageManifest:
        context = self.context(stage)
        await module.run(context.job, context)
        return await self.took(context)

    async def took(self, context: Context) -> StageManifest:
        path = f"stages/{context.job.kind}/{context.job.inputs[:32]}/{context.job.fingerprint[:32]}"
        manifest = await read_manifest(self.store, path)
        assert manifest is not None
        self.results[context.job.stage] = manifest.result()
        return manifest

    async def pretend(self, stage: str, scores: dict[str, dict[str, float]] | None = None) -> StageManifest:
        """A finished stage: evaluate with these scores by label and question, each asked in ten ways, so that the gate
        has enough of them; any other with a folder of weights."""
        context = self.context(stage)
        rows = [
            ScoreRow(
                benchmark="e",
                model=label,
                id=f"{row_id}-{way}",
                score=score,
                length=1.0,
                baseline_length=None,
                refused=0.0,
                repeated=0.0,
            )
            for label, found in (scores or {}).items()
            for row_id, score in found.items()
            for way in range(10)
        ]
        ref = ObjectRef(key=f"stages/x/{stage}/model/config.json", size_bytes=2, sha256="a" * 64)
        made = Output(digest=stage.encode().hex().ljust(64, "0"), uri=f"stages/x/{stage}/model")
        await publish(
            context,
            iter([{"scores": TableRows(rows, SCORES)}]),
            main_table="scores",
            started=datetime.now(UTC),
            rows_in=len(rows),
            outputs={} if scores else {"model": made, "conversations": made, "samples": made, "pairs": made},
            files={} if scores else {"model": [ref]},
        )
        return await self.took(context)

    async def up_to_training(self) -> None:
        await self.run(resolve, "i0-resolve")
        await self.run(stage_data, "i0-stage-data")
        await self.pretend("i0-evaluate", {"base": {"1": 0.0, "2": 0.5}, "volume": {"1": 1.0, "2": 1.0}})


def test_a_job_reads_the_resource_with_all_its_defaults(tmp_path: Path) -> None:
    resource = Bench(tmp_path).resource
    assert MoAA.model_validate(resource.model_dump(mode="json", by_alias=True)) == resource


async def test_resolve_pins_models_and_files(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    manifest = await bench.run(resolve, "i0-resolve")
    assert set(manifest.outputs) == {"sft-0", "preference-0", "eval-e", "models"}
    assert set(manifest.models) == {"llama", "volume", "judge"}
    assert manifest.metrics == {"models.unpinned": 2}
    assert manifest.licenses == {"llama": "llama3"}
    models = {row["name"]: row for row in await read_table(bench.store, manifest, "models")}
    assert [models[n]["is_pinned"] for n in ("llama", "volume", "judge")] == [True, False, False]
    [pinned] = await read_table(bench.store, manifest, "sft-0")
    assert (pinned["name"], pinned["revision"]) == ("s.jsonl", None)
    assert pinned["digest"].startswith("sha256:")


async def test_a_models_digest_is_that_of_its_folder(tmp_path: Path) -> None:
    one = (await Bench(tmp_path).run(resolve, "i0-resolve")).models["llama"]
    from moaa.store.stages.folders import file_digest, folder_digest

    assert one == folder_digest({file.name: file_digest(file) for file in (tmp_path / "weights").iterdir()})


async def test_files_elsewhere_with_the_same_content_pin_the_same(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one = await Bench(tmp_path / "a").run(resolve, "i0-resolve")
    other = await Bench(tmp_path / "b").run(resolve, "i0-resolve")
    assert {n: o.digest for n, o in one.outputs.items() if n != "models"} == {
        n: o.digest for n, o in other.outputs.items() if n != "models"
    }


async def test_a_models_file_whose_name_cannot_be_written_down_is_named(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    (tmp_path / "weights" / os.fsdecode(b"a\xff.json")).write_text("{}")
    with pytest.raises(DataError, match=r"weights: the name of file a\\udcff\.json is not UTF-8; rename"):
        await bench.run(resolve, "i0-resolve")


async def test_a_missing_source_is_named(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    (tmp_path / "data" / "p.jsonl").unlink()
    with pytest.raises(DataError, match=r"file:///.*/p\.jsonl: there is no such file"):
        await bench.run(resolve, "i0-resolve")


async def test_a_token_that_was_not_given_is_named(tmp_path: Path) -> None:
    source = {"source": "hf://datasets/o/n", "tokenSecret": {"name": "hub", "key": "token"}, "limit": 1}
    bench = Bench(tmp_path, data={"sft": [source], "preference": [source]})
    with pytest.raises(DataError, match=r"spec\.data\.sft\[0\]\.tokenSecret: MOAA_SECRET_HUB_TOKEN is not set"):
        await bench.run(resolve, "i0-resolve")


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
