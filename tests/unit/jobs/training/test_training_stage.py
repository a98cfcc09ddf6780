"""What the driver refuses before it starts a worker, and what it leaves alone."""

import asyncio
import json
import re
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from moaa.api.models import Model
from moaa.api.resource import Failures
from moaa.api.training import TrainingResources
from moaa.contract.job import StageJob
from moaa.errors import DataError, StageError, StoreError
from moaa.plan.result import Output, StageResult
from moaa.plan.stage import Kind
from moaa.store.fencing import claim
from moaa.store.stages.shards import read_manifest
from moaa_jobs.runner.context import Context, Permanent
from moaa_jobs.stages import dpo, sft
from moaa_jobs.training.driver import publish, train, watch
from moaa_jobs.training.rows.chat import open_chat
from moaa_jobs.training.rows.table import row_lengths
from moaa_jobs.training.rows.tokenizer import load_tokenizer, stop_ids
from moaa_jobs.training.shared import weights
from moaa_jobs.training.shared.messages import SHARD, CurveRow, LoopProgress, LoopResult, progress_key
from tests.training_world import World, build_tokenizer, conversations, digest, resource
from tests.unit.test_cause import DEATHS


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A student without weights: the driver must not look for them."""
    student = tmp_path / "student"
    build_tokenizer().save_pretrained(student)
    (student / "config.json").write_text("{}")
    return World(tmp_path, student)


async def prepared(
    world: World, rows: list[dict[str, Any]], *, failures: dict[str, int] | None = None, **changes: Any
) -> tuple[StageJob, Context]:
    spec = resource(world.root / "store", world.student, sft=changes, dpo={})
    made = await world.stage(Kind.GENERATE, "conversations", rows, failures=failures)
    job = world.job(spec, Kind.SFT, [made])
    return job, world.context(spec, job)


async def test_too_many_long_rows_are_permanent_and_named(world: World) -> None:
    rows = conversations(10)
    rows[3]["messages"][0]["content"] = "x" * 100
    job, context = await prepared(world, rows)
    with pytest.raises(
        Permanent, match=r"1 of 10 rows cannot be trained.*allows 0; too-long: 1, for example 'c3' \(\d+ tokens"
    ):
        await sft.run(job, context)


async def test_a_student_that_gpus_cannot_hold_is_refused_before_a_row_is_read_or_a_worker_asked_for(
    world: World,
) -> None:
    """The size of a GPU may be told after resolve is through: it is in no fingerprint."""
    sizes = {"hidden_size": 4096, "num_attention_heads": 32, "num_hidden_layers": 32, "intermediate_size": 14336}
    (world.student / "config.json").write_text(json.dumps({"model_type": "llama", "vocab_size": 128256, **sizes}))
    job, context = await prepared(world, conversations(2))
    spec = context.resource.spec
    one = spec.training.with_(resources=TrainingResources(gpu_memory_gib=Decimal(80)))
    changed = replace(context, resource=context.resource.with_(spec=spec.with_(training=one)))
    with pytest.raises(DataError, match=r"^student: spec\.training\.sft: takes .* does not fit"):
        await train._encode_rows(job, changed, sft.RECIPE)


async def test_tolerated_failures_are_counted(world: World) -> None:
    rows = conversations(100)
    rows[3]["messages"][0]["content"] = "x" * 100
    job, context = await prepared(world, rows)
    encoded = await train._encode_rows(job, context, sft.RECIPE)
    assert (encoded.rows_in, encoded.table.num_rows, encoded.failures) == (100, 99, {"too-long": 1})


async def test_dropped_rows_are_counted_apart_from_those_that_may_fail(world: World) -> None:
    rows = conversations(10)
    for row in rows[3:6]:
        row["messages"][0]["content"] = "x" * 100
    job, context = await prepared(world, rows, tooLong="Drop")
    encoded = await train._encode_rows(job, context, sft.RECIPE)
    assert (encoded.rows_in, encoded.table.num_rows, encoded.failures) == (10, 7, {})
    assert encoded.too_long == {"too_long_dropped": 3.0}


async def test_rows_whose_prompt_is_cut_are_trained_and_counted(world: World) -> None:
    rows = conversations(10)
    for row in rows[3:6]:
        row["messages"][0]["content"] = "x" * 100
    job, context = await prepared(world, rows, tooLong="CutPrompt", maxLength=90)
    encoded = await train._encode_rows(job, context, sft.RECIPE)
    assert (encoded.failures, encoded.too_long) == ({}, {"too_long_cut": 3.0})
    ids = {str(name).partition("#")[0] for name in encoded.table.column("id").to_pylist()}
    assert ids == {f"c{i}" for i in range(10)}
    assert max(row_lengths(encoded.table)) == 90


async def test_a_stage_whose_rows_are_all_dropped_is_permanent(world: World) -> None:
    job, context = await prepared(world, [conversations(2)[0]], maxLength=16, tooLong="Drop")
    with pytest.raises(Permanent, match="no row is left to train on, of 1; too-long: 1, for example 'c0'"):
        await sft.run(job, context)


async def test_held_out_prompts_lie_behind_the_rows_that_are_trained_on(world: World) -> None:
    """52 rows of 26 prompts: of a prompt both rows are held out, or none; whatever order they come in."""
    rows = conversations(52)
    found = []
    for given in (rows, rows[::-1]):
        job, context = await prepared(world, given, heldOut="0.1")
        encoded = await train._encode_rows(job, context, sft.RECIPE)
        assert (encoded.held_out, encoded.table.num_rows) == (4, 52)
        ids = [str(name) for name in encoded.table.column("id").to_pylist()]
        found.append(set(ids[-4:]))
        letters = [{rows[int(name[1:])]["messages"][0]["content"] for name in part} for part in (ids[:-4], ids[-4:])]
        assert not letters[0] & letters[1]
        assert len(letters[1]) == 2
    assert found[0] == found[1]


async def test_one_prompt_cannot_be_on_both_sides(world: World) -> None:
    rows = [conversations(1)[0] | {"id": name} for name in ("a", "b")]
    job, context = await prepared(world, rows, heldOut="0.5")
    with pytest.raises(Permanent, match="i1-sft: heldOut would leave nothing to train on, since all rows have one"):
        await sft.run(job, context)


async def test_failed_rows_stand_in_the_manifest_with_an_example_of_each_reason(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = conversations(100)
    for row in (rows[3], rows[8]):
        row["messages"][0]["content"] = "x" * 100
    rows[5]["messages"][-1]["content"] = "   "
    job, context = await prepared(world, rows)

    async def trained(*_: object) -> LoopResult:
        point = CurveRow(step=1, epoch=1.0, loss=0.5, learning_rate=1e-5, grad_norm=1.0, tokens=10)
        return LoopResult(
            model=Output(digest=digest("m"), uri="m"), files=[], curve=[point], resumed_step=0, packed=True, seconds={}
        )

    monkeypatch.setattr(train, "_train_on_ray", trained)
    loose = context.resource.spec.with_(failures=Failures(max_fraction=Decimal("0.05")))
    await sft.run(job, replace(context, resource=context.resource.with_(spec=loose)))
    manifest = await read_manifest(world.store, publish.path_of(job))
    assert manifest is not None
    assert manifest.failures == {"too-long": 2, "empty-answer": 1}
    assert manifest.examples["empty-answer"] == "row c5"
    assert re.fullmatch(r"row c3: \d+ tokens, and maxLength is \d+", manifest.examples["too-long"])


async def test_no_row_left_is_permanent(world: World) -> None:
    job, context = await prepared(world, [conversations(2)[0]], maxLength=16)
    with pytest.raises(Permanent, match="no row is left to train on, of 1; too-long: 1, for example 'c0'"):
        await sft.run(job, context)


async def test_a_stage_that_was_left_nothing_says_by_whom(world: World) -> None:
    """maxLength, which mends rows that are too long, has nothing to do with it."""
    job, context = await prepared(world, [], failures={"refused": 7, "empty-answer": 2})
    expected = r"i1-sft: no row to train on: i1-generate left none in its table conversations, of 9 that it read "
    with pytest.raises(Permanent, match=expected + r"\(failed: empty-answer: 2, refused: 7\)"):
        await sft.run(job, context)


async def test_without_a_pair_it_says_what_became_of_the_prompts(world: World) -> None:
    messages = [{"role": "user", "content": "say a"}]
    contradicted = {
        "a": 0,
        "b": 1,
        "criteria": [],
        "chosen": False,
        "score": 0.5,
        "forward": 1,
        "backward": 0,
        "votes": [],
    }
    rankings = [
        {"id": str(i), "messages": messages, "samples": ["x", "y"], "points": [0.5, 0.5],
         "comparisons": [contradicted], "outcome": "tie" if i < 3 else "equal-texts"}
        for i in range(4)
    ]  # fmt: skip
    spec = resource(world.root / "store", world.student, sft={}, dpo={})
    made = await world.stage(Kind.JUDGE, "pairs", [], rankings=rankings, failures={"too-few-samples": 1})
    job = world.job(spec, Kind.DPO, [made])
    with pytest.raises(Permanent) as caught:
        await dpo.run(job, world.context(spec, job))
    assert str(caught.value) == (
        "i1-dpo: no row to train on: i1-judge: of 5 prompts that were judged, none gave a pair (best and worst drew: "
        "3, the student's answers were the same text: 1, failed as too-few-samples: 1, 4 of 4 comparisons changed "
        "with the order of the answers); most verdicts follow the order of the answers and not the answers: choose "
        "other judges"
    )


async def test_without_a_pair_it_names_the_rule_that_dropped_most(world: World) -> None:
    rankings = [
        {"id": str(i), "messages": [{"role": "user", "content": "say a"}], "samples": ["x", "y"], "points": [1.0, 0.0],
         "comparisons": [], "outcome": outcome}
        for i, outcome in enumerate(["lengths-differ", "small-margin", "lengths-differ", "orders-disagree"])
    ]  # fmt: skip
    spec = resource(world.root / "store", world.student, sft={}, dpo={})
    made = await world.stage(Kind.JUDGE, "pairs", [], rankings=rankings)
    job = world.job(spec, Kind.DPO, [made])
    with pytest.raises(Permanent) as caught:
        await dpo.run(job, world.context(spec, job))
    assert str(caught.value) == (
        "i1-dpo: no row to train on: i1-judge: of 4 prompts that were judged, none gave a pair (the lengths differed "
        "by more than maxLengthDifference: 2, the margin was below minMargin: 1, best against rejected was not decided "
        "alike in both orders: 1); raise spec.training.dpo.pairs.maxLengthDifference; it counts characters"
    )


async def test_a_finished_stage_is_not_run_again(world: World) -> None:
    job, context = await prepared(world, conversations(2))
    finished = await world.stage(Kind.GENERATE, "conversations", conversations(3))
    body = await world.store.get(f"{finished.path}/manifest.json")
    result = StageResult(stage=job.stage, kind=job.kind, inputs=job.inputs, fingerprint=job.fingerprint)
    await world.store.put(f"{result.path}/manifest.json", body)
    await sft.run(job, context)
    assert [found.key async for found in world.store.list(f"{result.path}/")] == [f"{result.path}/manifest.json"]


async def test_a_refused_packing_is_one_line_of_the_log(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, context = await prepared(world, conversations(2))
    token = await claim(world.store, publish.path_of(job), SHARD)
    config = await train._configure(job, context, sft.RECIPE, token, await train._encode_rows(job, context, sft.RECIPE))
    report = LoopProgress(phase="training", step=3, steps=9, packing_refused=True)
    await world.store.put(progress_key(config), report.model_dump_json().encode())
    monkeypatch.setattr(watch, "POLL_S", 0.001)
    training: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0.05, training.set_result, {})
    await watch.watch(training, config, context, token)
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert line.startswith("packing_refused model=student rows laid end to end gave other logits")


async def test_a_store_that_is_out_ends_no_training(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, context = await prepared(world, conversations(2))
    token = await claim(world.store, publish.path_of(job), SHARD)
    config = await train._configure(job, context, sft.RECIPE, token, await train._encode_rows(job, context, sft.RECIPE))

    async def fail(*_: object) -> bytes:
        raise StoreError("HTTP 503")

    monkeypatch.setattr(type(context.store), "get", fail)
    monkeypatch.setattr(type(context.store), "exists", fail)
    monkeypatch.setattr(watch, "POLL_S", 0.001)
    monkeypatch.setattr(watch, "FENCE_EVERY_S", 0.0)
    training: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0.05, training.set_result, {})
    await watch.watch(training, config, context, token)
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [line.split(" error=")[0] for line in warned] == [
        "store_unreachable what=progress", "store_unreachable what=fencing-token",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("death", "error", "words"),
    [
        ("ray-library", Permanent, "run: training failed: the library libnuma-absent.so.1 is not installed on this"),
        ("ray-package", Permanent, "run: training failed: the Python package flash_attn_absent is not installed"),
        ("address-space", StageError, "run: training failed: MemoryError"),
        ("stopped-while-serving", StageError, "run: training failed: "),
    ],
)
def test_a_worker_that_failed_shows_the_cause_first(death: str, error: type[Exception], words: str) -> None:
    told = (DEATHS / f"{death}.log").read_text()
    failed = train.worker_failed("run", told)
    assert type(failed) is error
    assert str(failed).startswith(words)
    assert str(failed).endswith(told)


async def test_weights_are_found_by_name_by_stage_and_through_a_promotion(world: World) -> None:
    job, context = await prepared(world, conversations(2))
    folder = Output(digest=digest("sft"), uri="stages/sft/a/b/out/1/train-model")
    made = {
        "i1-sft": StageResult(
            stage="i1-sft", kind=Kind.SFT, inputs=digest("i"), fingerprint=digest("f"), outputs={"model": folder}
        ),
        "i1-promote": StageResult(
            stage="i1-promote", kind=Kind.PROMOTE, inputs=digest("i"), fingerprint=digest("f"),
            outputs={"model": Output(digest=digest("s"))},
        ),
    }  # fmt: skip
    context = Context(**{**vars(context), "job": job.with_(results={**job.results, **made})})
    assert (await weights.find("student", context)).source == f"file://{world.student}"
    trained = await weights.find("@i1-sft", context)
    assert (trained.folder, trained.source) == ("stages/sft/a/b/out/1/train-model", None)
    kept = await weights.find("@i1-promote", context)
    assert (kept.source, kept.digest) == (f"file://{world.student}", digest("s"))


async def test_weights_that_are_not_there_are_the_users_to_correct(world: World) -> None:
    _, context = await prepared(world, conversations(2))
    (world.student / "config.json").unlink()
    found = await weights.find("student", context)
    with pytest.raises(DataError, match=r"has no config\.json"):
        await weights.bring(found, context.store, context.resource.spec.storage, context.work_dir)


async def test_weights_that_changed_since_they_were_pinned_are_refused_before_a_worker_starts(world: World) -> None:
    job, context = await prepared(world, conversations(2))
    (world.student / "generation_config.json").write_text("{}")
    with pytest.raises(DataError, match=r"spec\.models student: .* is not what it was when the run resolved"):
        await sft.run(job, context)


def test_stop_ids_come_from_tokenizer_and_generation_config(world: World) -> None:
    tokenizer = load_tokenizer(world.student)
    assert stop_ids(world.student, tokenizer) == {tokenizer.eos_token_id}
    (world.student / "generation_config.json").write_text(json.dumps({"eos_token_id": [7, 8]}))
    assert stop_ids(world.student, tokenizer) == {tokenizer.eos_token_id, 7, 8}


def test_a_student_without_chat_template_is_refused(tmp_path: Path) -> None:
    tokenizer = build_tokenizer()
    tokenizer.chat_template = None
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(DataError, match=r"spec\.models m: its tokenizer has no chat template"):
        open_chat(tmp_path, Model(name="m", source="file:///m"), thinking=None)
