"""The runner of row stages: every row once, whatever is killed, absent or fails."""

import asyncio
import json
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from aiohttp import web

from moaa.api import MoAA
from moaa.api.mixture import Sampling
from moaa.api.training import Dpo
from moaa.asking.asker import Asker
from moaa.asking.reasons import Reason
from moaa.client.ledgered import Calls
from moaa.client.pool.clients import Clients
from moaa.client.pool.policy import Policy
from moaa.client.request import sampling_seed
from moaa.contract.job import StageJob
from moaa.errors import CallError, Fenced, StageError
from moaa.mixture.alone import sample_answers
from moaa.plan.result import ledger_path, stage_path
from moaa.plan.stage import Kind
from moaa.store.fencing import claim
from moaa.store.ledger.ledger import Ledger
from moaa.store.ledger.segments import Entry, decode_segment
from moaa.store.objects.directory import DirectoryStore
from moaa.store.stages.shards import read_manifest, read_table
from moaa_jobs.runner import rows
from moaa_jobs.runner.context import Context, Deferred, Permanent
from moaa_jobs.runner.items import Item, Listed, Rows
from moaa_jobs.runner.rows import RowStage, run_rows
from moaa_jobs.runner.settings import JobSettings
from moaa_jobs.tell.progress import Progress
from tests.endpoint import Endpoint, serve

SCHEMA = pa.schema([pa.field("id", pa.string(), nullable=False), pa.field("text", pa.string(), nullable=False)])
SAMPLING = Sampling(max_tokens=8)


def resource(folder: Path, *, max_fraction: str = "0") -> MoAA:
    return MoAA.model_validate(
        {
            "apiVersion": "moaa.dev/v1alpha1",
            "kind": "MoAA",
            "metadata": {"name": "rows"},
            "spec": {
                "storage": {"uri": f"file://{folder}/store"},
                "models": [{"name": name, "source": f"file://{folder}/{name}"} for name in ("first", "second")],
                "student": "first",
                "data": {},
                "training": {"sft": {}},
                "failures": {"maxFraction": max_fraction},
            },
        }
    )


def context(folder: Path, endpoints: Mapping[str, str], **changes: Any) -> Context:
    declared = resource(folder, **changes)
    job = StageJob(
        run="default-rows-local",
        resource=json.loads(declared.model_dump_json(by_alias=True)),
        stage="i1-generate",
        kind=Kind.GENERATE,
        iteration=1,
        serves=("first", "second"),
        inputs="a" * 64,
        fingerprint="b" * 64,
        document={},
        results={},
        models={"first": "1" * 64, "second": "2" * 64},
        endpoints={name: [url] for name, url in endpoints.items()},
    )
    return Context(
        job=job,
        resource=declared,
        store=DirectoryStore(folder / "store"),
        work_dir=folder,
        progress=Progress("i1-generate", folder / "progress.json"),
        settings=JobSettings(job=folder / "job.json", rows_in_flight=4),
    )


def stage(rows: int, *, per_shard: int = 4) -> RowStage:
    def item(row: str) -> Item:
        async def work(asker: Asker) -> Rows:
            one = await asker.at("one").ask("first", [{"role": "user", "content": row}], SAMPLING)
            two = await asker.at("two").ask("second", [{"role": "user", "content": one.text}], SAMPLING)
            return {"texts": [{"id": row, "text": two.text}]}

        return Item(row, work)

    return RowStage(
        items=Listed([item(f"r{i}") for i in range(rows)]),
        items_per_shard=per_shard,
        schemas={"texts": SCHEMA},
        main_table="texts",
    )


def echo(body: dict[str, Any]) -> str:
    return f"{body['model']}({body['messages'][0]['content']})"


async def rows_of(ctx: Context) -> list[dict[str, Any]]:
    path = stage_path(ctx.job.kind, ctx.job.inputs, ctx.job.fingerprint)
    manifest = await read_manifest(ctx.store, path)
    assert manifest is not None
    return await read_table(ctx.store, manifest, "texts")


def expected(rows: int) -> list[dict[str, str]]:
    return [{"id": f"r{i}", "text": f"second(first(r{i}))"} for i in range(rows)]


def most_often(endpoint: Endpoint) -> int:
    return max(endpoint.count().values(), default=0)


async def test_rows_come_out_in_input_order_and_a_second_run_sends_nothing(tmp_path: Path) -> None:
    async with serve(echo) as endpoint:
        ctx = context(tmp_path, {"first": endpoint.url, "second": endpoint.url})
        manifest = await run_rows(ctx, stage(10))
        assert manifest is not None
        assert manifest.rows_in == 10
        assert manifest.usage["first"].calls == 10
        assert await rows_of(ctx) == expected(10)
        sent = len(endpoint.requests)
        assert sent == 20
        await run_rows(ctx, stage(10))
        assert len(endpoint.requests) == sent


async def test_a_finished_shard_leaves_its_totals_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[weakref.ref[object]] = []
    alive: list[int] = []

    def noted(kind: Any) -> None:
        begin = kind.__init__

        def init(self: object, *arguments: object, **named: object) -> None:
            made.append(weakref.ref(self))
            begin(self, *arguments, **named)

        monkeypatch.setattr(kind, "__init__", init)

    noted(Calls)
    noted(Ledger)

    def item(row: str) -> Item:
        async def work(asker: Asker) -> Rows:
            reply = await asker.at("one").ask("first", [{"role": "user", "content": row}], SAMPLING)
            alive.append(sum(one() is not None for one in made))
            return {"texts": [{"id": row, "text": reply.text}]}

        return Item(row, work)

    rows = RowStage(
        items=Listed([item(f"r{i}") for i in range(24)]),
        items_per_shard=2,
        schemas={"texts": SCHEMA},
        main_table="texts",
    )
    async with serve(echo) as endpoint:
        ctx = context(tmp_path, {"first": endpoint.url})
        await run_rows(ctx, rows)
    assert len(made) == 2 * 12
    # Four workers, a queue of four, and one shard that is being opened: at most six shards of two rows at a time.
    assert max(alive) <= 2 * 6
    figures = ctx.progress.figures
    assert (figures["calls"], figures["prompt_tokens"], figures["completion_tokens"]) == (24, 24 * 7, 24 * 3)


async def test_a_stage_without_rows_ends_like_any_other(tmp_path: Path) -> None:
    ctx = context(tmp_path, {})
    manifest = await run_rows(ctx, stage(0))
    assert manifest is not None
    assert manifest.outputs["texts"].rows == 0


async def test_rows_wait_for_a_model_that_is_not_served(tmp_path: Path) -> None:
    async with serve(echo) as endpoint:
        with pytest.raises(Deferred) as first:
            await run_rows(context(tmp_path, {"second": endpoint.url}), stage(10))
        assert first.value.waiting == {"first": 10}
        assert endpoint.requests == []
        with pytest.raises(Deferred) as second:
            await run_rows(context(tmp_path, {"first": endpoint.url}), stage(10))
        assert second.value.waiting == {"second": 10}
        ctx = context(tmp_path, {"second": endpoint.url})
        await run_rows(ctx, stage(10))
        assert await rows_of(ctx) == expected(10)
        assert len(endpoint.requests) == 20
        assert most_often(endpoint) == 1


async def test_after_a_crash_only_what_was_not_answered_is_sent(tmp_path: Path) -> None:
    class Crash(Exception):
        pass

    def item(row: str, crashes: bool) -> Item:
        async def work(asker: Asker) -> Rows:
            reply = await asker.at("one").ask("first", [{"role": "user", "content": row}], SAMPLING)
            if crashes and row == "r6":
                raise Crash
            return {"texts": [{"id": row, "text": reply.text}]}

        return Item(row, work)

    def crashing(crashes: bool) -> RowStage:
        items = [item(f"r{i}", crashes) for i in range(10)]
        return RowStage(items=Listed(items), items_per_shard=4, schemas={"texts": SCHEMA}, main_table="texts")

    async with serve(echo) as endpoint:
        ctx = context(tmp_path, {"first": endpoint.url})
        with pytest.raises(Crash):
            await run_rows(ctx, crashing(True))
        await run_rows(ctx, crashing(False))
        assert [row["id"] for row in await rows_of(ctx)] == [f"r{i}" for i in range(10)]
        # A request cut off by the crash may be sent again; one that was answered may not.
        answered = {b["messages"][0]["content"] for b in endpoint.requests[:6]}
        repeated = [json.loads(body) for body, count in endpoint.count().items() if count > 1]
        assert len(repeated) <= 4
        assert all(b["messages"][0]["content"] not in {"r0", "r1", "r2"} for b in repeated), answered


async def test_a_zombie_changes_nothing(tmp_path: Path) -> None:
    path = stage_path(Kind.GENERATE, "a" * 64, "b" * 64)
    taken_over = False

    async with serve(echo) as endpoint:
        ctx = context(tmp_path, {"first": endpoint.url})

        def item(row: str, zombie: bool) -> Item:
            async def work(asker: Asker) -> Rows:
                nonlocal taken_over
                reply = await asker.at("one").ask("first", [{"role": "user", "content": row}], SAMPLING)
                if zombie and not taken_over:
                    taken_over = True
                    await claim(ctx.store, path, "00000")
                return {"texts": [{"id": row, "text": f"{reply.text}{'!' if zombie else ''}"}]}

            return Item(row, work)

        def shard(zombie: bool) -> RowStage:
            return RowStage(
                items=Listed([item(f"r{i}", zombie) for i in range(4)]),
                items_per_shard=4,
                schemas={"texts": SCHEMA},
                main_table="texts",
            )

        with pytest.raises(Fenced):
            await run_rows(ctx, shard(True))
        await run_rows(ctx, shard(False))
        assert [row["text"] for row in await rows_of(ctx)] == [f"first(r{i})" for i in range(4)]


@pytest.mark.parametrize(("max_fraction", "passes"), [("0.1", True), ("0.05", False)])
async def test_failed_rows_are_counted_and_tolerated_up_to_the_stated_fraction(
    tmp_path: Path, max_fraction: str, passes: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse_one(body: dict[str, Any]) -> str:
        if body["messages"][0]["content"] == "r3":
            raise web.HTTPBadRequest(text='{"error": {"message": "maximum context length is 8 tokens"}}')
        return echo(body)

    async with serve(refuse_one) as endpoint:
        ctx = context(tmp_path, {"first": endpoint.url, "second": endpoint.url}, max_fraction=max_fraction)
        if passes:
            manifest = await run_rows(ctx, stage(10))
            assert manifest is not None
            assert manifest.failures == {"context-length": 1}
            said = "row r3: model 'first': HTTP 400: maximum context length is 8 tokens"
            assert manifest.examples == {"context-length": said}
            assert manifest.usage["first"].failures == {"context-length": 1}
            assert [row["id"] for row in await rows_of(ctx)] == [f"r{i}" for i in range(10) if i != 3]
        else:
            words = (
                r"1 of 10 rows failed \(context-length: 1\).*maxFraction.*context-length: row r3: model 'first': HTTP"
            )
            with pytest.raises(Permanent, match=words):
                await run_rows(ctx, stage(10))
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert line.startswith("row_failed row=r3 reason=context-length error=model 'first': HTTP 400: maximum context")


TOO_LONG = '{"error": {"message": "maximum context length is 8 tokens"}}'
FLAGGED = '{"error": {"message": "flagged by moderation"}}'


@pytest.mark.parametrize(
    ("rows", "per_shard", "bad", "asked", "says"),
    [
        pytest.param(
            12, 12, (0, 5, 11), 12, r"3 of 12 rows failed \(context-length: 2, refused: 1\), more.*row r.*row r11: ",
            id="a small stage",
        ),
        pytest.param(
            40, 4, (0,), 4, r"1 of 40 rows failed \(context-length: 1\) when 3\d were still to come, more.*row r0: ",
            id="a shard is through",
        ),
        pytest.param(
            400, 400, range(0, 400, 2), 16, r"8 of 400 rows failed \(context-length: 8\) when 3\d\d were still to come",
            id="eight have failed",
        ),
    ],
)  # fmt: skip
async def test_a_stage_ends_when_eight_rows_failed_or_a_shard_is_through_and_tells_of_all(
    tmp_path: Path, rows: int, per_shard: int, bad: Sequence[int], asked: int, says: str
) -> None:
    def refuse(body: dict[str, Any]) -> str:
        row = body["messages"][0]["content"]
        if row in {f"r{number}" for number in bad}:
            raise web.HTTPForbidden(text=FLAGGED) if row == "r11" else web.HTTPBadRequest(text=TOO_LONG)
        return echo(body)

    async with serve(refuse) as endpoint:
        ctx = context(tmp_path, {"first": endpoint.url, "second": endpoint.url})
        with pytest.raises(Permanent, match=says):
            await run_rows(ctx, stage(rows, per_shard=per_shard))
        first = [body for body in endpoint.requests if body["model"] == "first"]
    assert asked - 4 <= len(first) <= asked + 4  # as many as are in flight


async def test_a_row_without_a_call_that_may_pass_is_counted_and_another_attempt_completes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moaa_jobs.runner.rows.Clients", partial(Clients, policy=Policy(tries=2, backoff_s=0.001)))

    def item(row: str) -> Item:
        async def work(asker: Asker) -> Rows:
            samples = Dpo(samples=3, max_tokens=8)
            texts = await sample_answers([{"role": "user", "content": row}], "first", samples, asker)
            return {"texts": [{"id": row, "text": "|".join(texts)}]}

        return Item(row, work)

    failing = True

    def answer(body: dict[str, Any]) -> str:
        if failing and body["messages"][0]["content"] == "r2" and body["seed"] == seed:
            raise web.HTTPInternalServerError
        return f"{body['seed']}"

    seed = sampling_seed(run_seed=0, row="r2", path="s1", key="")
    items = [item(f"r{i}") for i in range(4)]
    rows = RowStage(items=Listed(items), items_per_shard=4, schemas={"texts": SCHEMA}, main_table="texts")
    async with serve(answer) as endpoint:
        ctx = context(tmp_path, {"first": endpoint.url})
        with pytest.raises(StageError, match=r"1 of 4 rows failed \(server-error: 1\)"):
            await run_rows(ctx, rows)
        failing = False
        manifest = await run_rows(ctx, rows)
        assert manifest is not None
        assert manifest.failures == {}
        texts = [row["text"].split("|") for row in await rows_of(ctx)]
        assert [len(text) for text in texts] == [3, 3, 3, 3]
        assert texts[2][1] == str(seed)


async def test_one_shard_alone_does_not_finalise(tmp_path: Path) -> None:
    async with serve(echo) as endpoint:
        endpoints = {"first": endpoint.url, "second": endpoint.url}
        whole = context(tmp_path, endpoints)
        for shard in range(3):
            settings = JobSettings(job=tmp_path / "job.json", shard=shard)
            one = Context(whole.job, whole.resource, whole.store, tmp_path, whole.progress, settings)
            assert await run_rows(one, stage(10)) is None
            rows = (4, 4, 2)[shard]
            figures = whole.progress.figures
            assert (figures["rows_done"], figures["rows_total"], figures["rows_stage"]) == (rows, rows, 10)
        sent = len(endpoint.requests)
        assert await run_rows(whole, stage(10)) is not None
        assert len(endpoint.requests) == sent
        assert await rows_of(whole) == expected(10)


async def test_answers_that_are_out_when_the_job_is_told_to_end_are_recorded(tmp_path: Path) -> None:
    is_out, may_answer = asyncio.Event(), asyncio.Event()

    async def slowly(body: dict[str, Any]) -> str:
        is_out.set()
        await may_answer.wait()
        return echo(body)

    async with serve(slowly) as endpoint:
        ctx = context(tmp_path, {"first": endpoint.url, "second": endpoint.url})
        job = asyncio.create_task(run_rows(ctx, stage(2)))
        await is_out.wait()
        job.cancel()
        may_answer.set()
        with pytest.raises(asyncio.CancelledError):
            await job
        asked = len(endpoint.requests)
        assert asked <= 2, "nothing new is asked after the end"
        assert ctx.progress.figures["prompt_spent"] == {"first": 7 * asked}
        await run_rows(context(tmp_path, {"first": endpoint.url, "second": endpoint.url}), stage(2))
        assert max(endpoint.count().values()) == 1


def giving_up(rows: int) -> RowStage:
    """As `stage`, with rows that say when they will not ask the first model again."""

    def item(row: str) -> Item:
        async def work(asker: Asker) -> Rows:
            one = await asker.at("one").ask("first", [{"role": "user", "content": row}], SAMPLING)
            asker.only({"second"})
            two = await asker.at("two").ask("second", [{"role": "user", "content": one.text}], SAMPLING)
            return {"texts": [{"id": row, "text": two.text}]}

        return Item(row, work)

    return replace(stage(0), items=Listed([item(f"r{i}") for i in range(rows)]))


async def test_a_model_is_given_up_once_all_that_it_answered_is_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moaa_jobs.runner.rows.TELL_S", 0.01)
    gate = asyncio.Event()

    async def late(body: dict[str, Any]) -> str:
        await gate.wait()
        return echo(body)

    async with serve(echo) as first, serve(late) as second:
        ctx = context(tmp_path, {"first": first.url, "second": second.url})
        run = asyncio.create_task(run_rows(ctx, giving_up(4)))
        async with asyncio.timeout(30):
            while not ctx.progress.figures.get("finished_with"):
                assert not run.done()
                await asyncio.sleep(0.01)
        assert ctx.progress.figures["finished_with"] == ["first"]
        folder = tmp_path / "store" / ledger_path(ctx.job.kind, ctx.job.inputs)
        lines = [line for file in sorted(folder.rglob("*.zst")) for line in decode_segment("", file.read_bytes())]
        assert [Entry.model_validate_json(line.raw).model for line in lines] == ["first"] * 4
        gate.set()
        await run
        assert await rows_of(ctx) == expected(4)


@pytest.mark.parametrize("absent", [True, False], ids=["a model is absent", "a server fails"])
async def test_rows_that_another_attempt_asks_again_keep_their_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, absent: bool
) -> None:
    made: list[rows._Run] = []

    class Kept(rows._Run):
        def __init__(self, context: Context, stage: RowStage) -> None:
            super().__init__(context, stage)
            made.append(self)

    monkeypatch.setattr(rows, "_Run", Kept)

    async with serve(echo) as first:
        ctx = context(tmp_path, {"first": first.url} if absent else {"first": first.url, "second": first.url})
        work = giving_up(3)
        if not absent:
            items = [Item(f"r{i}", failing) for i in range(3)]
            work = replace(work, items=Listed(items))
        with pytest.raises(Deferred if absent else StageError):
            await run_rows(ctx, work)
    assert dict(made[0].asking) == ({"first": 0, "second": 3} if absent else {"first": 3, "second": 3})


async def failing(_: Asker) -> Rows:
    raise CallError(Reason.TIMEOUT, "no answer")


async def test_a_model_that_a_row_has_given_up_cannot_be_asked(tmp_path: Path) -> None:
    async def work(asker: Asker) -> Rows:
        asker.only({"second"})
        await asker.at("one").ask("first", [{"role": "user", "content": "x"}], SAMPLING)
        raise AssertionError("it was asked")

    async with serve(echo) as endpoint:
        ctx = context(tmp_path, {"first": endpoint.url, "second": endpoint.url})
        with pytest.raises(StageError, match="'first' is asked by a row that had said that it would not ask it again"):
            await run_rows(ctx, replace(stage(0), items=Listed([Item("r0", work)])))
        assert endpoint.count() == {}
