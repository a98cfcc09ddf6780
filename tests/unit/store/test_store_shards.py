"""Tables, shards, manifests and folders."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_type_hints

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moaa import rows
from moaa.data import schemas
from moaa.errors import Fenced, StageError, StoreError
from moaa.plan.result import Output
from moaa.plan.stage import Kind
from moaa.store.fencing import claim
from moaa.store.objects.base import Store
from moaa.store.objects.directory import DirectoryStore
from moaa.store.stages.folders import fetch_folder, folder_digest, publish_folder
from moaa.store.stages.manifest import ObjectRef, ShardManifest, StageManifest, TokenUsage
from moaa.store.stages.shards import (
    StageTotals,
    finalise,
    publish_shard,
    read_manifest,
    read_shards,
    read_table,
    seconds_worked,
    shard_names,
    shard_slice,
    write_manifest,
)
from moaa.store.stages.tables import TableRows, canonical_json, decode, encode, rows_digest
from tests.store_helpers import MemoryStore
from tests.store_worker import STAGE

STARTED = datetime(2026, 11, 29, 12, tzinfo=UTC)
USER = {"role": "user", "content": "question 日本"}
RANKING = {
    "id": "r1",
    "messages": [USER],
    "samples": ["one", "two"],
    "points": [1.0, None],
    "scores": None,
    "comparisons": [
        {
            "a": 0,
            "b": 1,
            "criteria": ["c"],
            "chosen": True,
            "score": None,
            "forward": 1,
            "backward": None,
            "votes": [[1, None]],
            "skipped": ["ba"],
        }
    ],
    "outcome": "pair",
}
PAIR = {"id": "a", "messages": [USER], "chosen": "x", "rejected": "", "chosen_points": 1, "rejected_points": 0.5}


def test_rows_round_trip_and_equal_rows_give_equal_bytes() -> None:
    first, second = (encode(TableRows([RANKING, {**RANKING, "id": "r2"}], schemas.RANKINGS)) for _ in "12")
    assert first.body == second.body
    read = decode(first.body, source="k")
    assert read == [RANKING, {**RANKING, "id": "r2"}]
    assert first.digest == rows_digest(read)
    assert first.rows == 2


def test_the_digest_is_over_rows_as_they_are_read_back() -> None:
    """An integer in a float column and a column left out do not make another table; another order does."""
    prompt = {"id": "a", "messages": [USER]}
    digests = {encode(TableRows([row], schemas.PROMPTS)).digest for row in (prompt, {"answer": None, **prompt})}
    assert len(digests) == 1
    assert encode(TableRows([PAIR], schemas.PAIRS)).digest == rows_digest([{**PAIR, "chosen_points": 1.0}])
    two = [PAIR, {**PAIR, "id": "b"}]
    assert encode(TableRows(two, schemas.PAIRS)).digest != encode(TableRows(two[::-1], schemas.PAIRS)).digest


def test_a_digest_computed_by_hand() -> None:
    """printf '{"a":"é","b":[1,2.5]}\\n' | sha256sum"""
    row = {"b": [1, 2.5], "a": "é"}
    assert canonical_json(row) == '{"a":"é","b":[1,2.5]}'
    assert rows_digest([row]) == "7af8474615fe89e41fa294e1cefa72954ae6d3c6b2e4261e82e1bc436aa9f12d"
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json({"a": float("nan")})


@pytest.mark.parametrize(
    ("row", "message"),
    [
        pytest.param({**PAIR, "margin": 1}, r"column margin is not in the schema", id="unknown"),
        pytest.param(
            {k: v for k, v in PAIR.items() if k != "chosen"}, "column chosen is missing or null", id="missing"
        ),
        pytest.param({**PAIR, "messages": [{"role": "user"}]}, r"messages\[0\].content is missing", id="nested"),
        pytest.param({**PAIR, "messages": [{**USER, "n": 1}]}, r"messages\[0\].n is not in", id="nested unknown"),
        pytest.param({**PAIR, "messages": "hi"}, "messages must be a list, found str", id="no list"),
        pytest.param({**PAIR, "messages": ["hi"]}, r"messages\[0\]\. must be an object", id="no object"),
        pytest.param({**PAIR, "chosen": 3}, "do not fit their schema", id="wrong type"),
        pytest.param({**PAIR, "chosen": "\ud800"}, "do not fit their schema", id="no Unicode text"),
    ],
)
def test_rows_that_do_not_fit_are_errors(row: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encode(TableRows([PAIR, row], schemas.PAIRS))


@pytest.mark.parametrize(
    ("row", "schema"),
    [
        (rows.PromptRow, schemas.PROMPTS),
        (rows.ConversationRow, schemas.CONVERSATIONS),
        (rows.SampleRow, schemas.SAMPLES),
        (rows.RankingRow, schemas.RANKINGS),
        (rows.PairRow, schemas.PAIRS),
        (rows.AnswerRow, schemas.ANSWERS),
        (rows.ScoreRow, schemas.SCORES),
    ],
)
def test_schemas_have_the_columns_of_their_rows(row: type, schema: pa.Schema) -> None:
    assert list(get_type_hints(row)) == schema.names


def test_threads_of_arrow_are_given_no_python_to_call(monkeypatch: pytest.MonkeyPatch) -> None:
    sources: list[pa.BufferReader] = []
    read_table = pq.read_table

    def read(source: pa.BufferReader) -> pa.Table:
        sources.append(source)
        return read_table(source)

    body = encode(TableRows([{"id": "a", "text": "b"}], pa.schema([("id", pa.string()), ("text", pa.string())]))).body
    monkeypatch.setattr("moaa.store.stages.tables.pq.read_table", read)
    assert decode(body, source="x") == [{"id": "a", "text": "b"}]
    assert [type(source) for source in sources] == [pa.BufferReader]


def test_unreadable_parquet_is_named() -> None:
    with pytest.raises(StoreError, match="out/1/x: not a readable Parquet file"):
        decode(b"PAR1nonsense", source="out/1/x")


@settings(deadline=None)
@given(rows=st.integers(0, 1000), per_shard=st.integers(1, 300))
def test_shards_cover_each_row_once_in_order(rows: int, per_shard: int) -> None:
    names = shard_names(rows, per_shard)
    assert names == sorted(set(names))
    covered = [row for index in range(len(names)) for row in range(rows)[shard_slice(index, rows, per_shard)]]
    assert covered == list(range(rows))


def pairs(*ids: str) -> dict[str, TableRows]:
    return {"pairs": TableRows([{**PAIR, "id": each} for each in ids], schemas.PAIRS)}


def build(totals: StageTotals) -> StageManifest:
    now = datetime.now(UTC)
    return StageManifest(
        stage="i1-judge",
        kind=Kind.JUDGE,
        iteration=1,
        run="default-test-1",
        inputs="1" * 64,
        fingerprint="a" * 64,
        attempt=totals.attempt,
        document={},
        outputs=totals.outputs,
        tables=totals.tables,
        rows_in=totals.rows_in,
        failures=totals.failures,
        usage=totals.usage,
        started=now,
        finished=now,
        seconds=totals.seconds,
    )


async def publish(
    store: Store, shard: str, *ids: str, failures: dict[str, int] | None = None, after_s: float = 0.0
) -> ShardManifest:
    token = await claim(store, STAGE, shard)
    return await publish_shard(
        store,
        STAGE,
        token,
        pairs(*ids),
        main_table="pairs",
        rows_in=len(ids) + sum((failures or {}).values()),
        failures=failures,
        usage={"m": TokenUsage(calls=len(ids), prompt_tokens=7)},
        started=STARTED + timedelta(seconds=after_s),
        seconds=1.5,
    )


async def test_a_stage_is_its_shards_in_order() -> None:
    store = MemoryStore()
    names = shard_names(3, 2)
    await publish(store, names[1], "c", failures={"too-long": 1})
    with pytest.raises(StageError, match=r"1 of 2 shards are not finished \(00000\); run the stage again"):
        await finalise(store, STAGE, names, main_table="pairs", build=build)
    assert await read_manifest(store, STAGE) is None
    await publish(store, names[0], "a", "b", after_s=60)
    manifest = await finalise(store, STAGE, names, main_table="pairs", build=build)
    read = await read_table(store, manifest, "pairs")
    assert [row["id"] for row in read] == ["a", "b", "c"]
    assert manifest.outputs == {"pairs": Output(digest=rows_digest(read), rows=3)}
    assert (manifest.rows_in, manifest.failures, manifest.seconds) == (4, {"too-long": 1}, 3.0)
    assert manifest.usage == {"m": TokenUsage(calls=3, prompt_tokens=14)}
    assert await finalise(store, STAGE, names, main_table="pairs", build=build) == manifest
    assert await read_manifest(store, STAGE) == manifest
    assert list(await read_shards(store, STAGE, [*names, "00009"])) == names


@pytest.mark.parametrize(
    ("intervals", "worked"),
    [
        pytest.param([(0, 10)], 10, id="one"),
        pytest.param([(0, 10), (0, 10)], 10, id="side by side"),
        pytest.param([(5, 10), (0, 10)], 15, id="overlapping, the later first"),
        pytest.param([(0, 100), (10, 5), (50, 10)], 100, id="within another"),
        pytest.param([(0, 10), (10, 10)], 20, id="one after the other"),
        pytest.param([(0, 10), (86_400, 10)], 20, id="resumed the day after"),
        pytest.param([(0, 0)], 0, id="nothing to do"),
    ],
)
def test_shards_side_by_side_take_their_time_once(intervals: list[tuple[float, float]], worked: float) -> None:
    shards = [
        ShardManifest(shard="00000", attempt=1, started=STARTED + timedelta(seconds=begin), seconds=seconds)
        for begin, seconds in intervals
    ]
    assert seconds_worked(shards) == worked


async def test_a_stage_takes_what_the_clock_says_and_begins_with_its_first_shard() -> None:
    store = MemoryStore()
    names = shard_names(4, 1)
    for name, after_s in zip(names, (3.0, 0.0, 0.5, 0.5), strict=True):
        await publish(store, name, name, after_s=after_s)
    seen: list[StageTotals] = []

    def keep(totals: StageTotals) -> StageManifest:
        seen.append(totals)
        return build(totals)

    manifest = await finalise(store, STAGE, names, main_table="pairs", build=keep)
    assert manifest.seconds == 2.0 + 1.5  # 0 to 2 and 3 to 4.5; their sum is 6
    assert seen[0].started == STARTED


async def test_the_first_publication_counts() -> None:
    store = MemoryStore()
    first = await publish(store, "00000", "a")
    assert await publish(store, "00000", "b") == first
    assert first.tables["pairs"].key == f"{STAGE}/out/1/00000-pairs.parquet"


async def test_a_fenced_writer_does_not_publish() -> None:
    store = MemoryStore()
    token = await claim(store, STAGE, "00000")
    await claim(store, STAGE, "00000")
    with pytest.raises(Fenced):
        await publish_shard(store, STAGE, token, pairs("a"), main_table="pairs", rows_in=1, started=STARTED, seconds=0)
    assert not [key for key in store.objects if "/out/" in key or "/shards/" in key]


async def test_counts_must_add_up() -> None:
    store = MemoryStore()
    token = await claim(store, STAGE, "00000")
    with pytest.raises(StageError, match="3 rows went in, but 1 came out and 1 failed; nothing was published"):
        await publish_shard(
            store, STAGE, token, pairs("a"), main_table="pairs", rows_in=3, failures={"too-long": 1}, started=STARTED,
            seconds=0,
        )  # fmt: skip
    assert not [key for key in store.objects if "/out/" in key or "/shards/" in key]


async def test_two_finalisers_agree() -> None:
    store = MemoryStore()
    await publish(store, "00000", "a")
    both = await asyncio.gather(*(finalise(store, STAGE, ["00000"], main_table="pairs", build=build) for _ in "12"))
    assert both[0] == both[1]
    assert await write_manifest(store, STAGE, both[0].with_(seconds=99.0)) == both[0]


async def test_damaged_and_missing_objects_are_named() -> None:
    store = MemoryStore()
    shard = await publish(store, "00000", "a")
    manifest = await finalise(store, STAGE, ["00000"], main_table="pairs", build=build)
    key = shard.tables["pairs"].key
    body = store.objects[key]
    store.objects[key] = body[:-1] + b"x"
    with pytest.raises(StoreError, match=f"{key}: {len(body)} bytes with sha256 .* restore the object"):
        await read_table(store, manifest, "pairs")
    del store.objects[key]
    with pytest.raises(StoreError, match=f"{key}: named by a manifest but missing"):
        await read_table(store, manifest, "pairs")
    with pytest.raises(StoreError, match="no table 'rankings', only pairs"):
        await read_table(store, manifest, "rankings")
    store.objects[f"{STAGE}/manifest.json"] = b'{"stage": 1}'
    with pytest.raises(StoreError, match=r"manifest.json: not a manifest this version reads"):
        await read_manifest(store, STAGE)


def weights(folder: Path) -> Path:
    (folder / "sub").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "sub" / "model.safetensors").write_bytes(b"w" * 5000)
    return folder


async def folder_manifest(store: Store, local: Path) -> StageManifest:
    token = await claim(store, STAGE, "00000")
    output, refs = await publish_folder(store, STAGE, token, local, "model")
    totals = StageTotals(token.attempt, {"model": output}, {}, 0, {}, {}, STARTED, 0.0, ())
    return build(totals).with_(files={"model": refs})


async def test_a_folder_is_fetched_once_and_whole(tmp_path: Path) -> None:
    store = MemoryStore()
    manifest = await folder_manifest(store, weights(tmp_path / "made"))
    assert manifest.outputs["model"].digest == folder_digest(
        {
            "config.json": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
            "sub/model.safetensors": manifest.files["model"][1].sha256,
        }
    )
    target = tmp_path / "cache" / "model"
    for _ in range(2):
        assert await fetch_folder(store, manifest, "model", target) == target
        assert (target / "sub" / "model.safetensors").read_bytes() == b"w" * 5000
        store.objects = {}  # the second time nothing is fetched
    with pytest.raises(StoreError, match="no folder 'adapter', only model"):
        await fetch_folder(store, manifest, "adapter", target)


async def test_a_damaged_or_outdated_folder_never_takes_the_name(tmp_path: Path) -> None:
    store = MemoryStore()
    manifest = await folder_manifest(store, weights(tmp_path / "made"))
    target = tmp_path / "cache" / "model"
    target.mkdir(parents=True)
    (target / "old").write_text("of another model")
    key = manifest.files["model"][1].key
    body = store.objects[key]
    store.objects[key] = body[:-1]
    with pytest.raises(StoreError, match="4999 bytes"):
        await fetch_folder(store, manifest, "model", target)
    assert [path.name for path in target.parent.iterdir()] == ["model"]
    assert (target / "old").exists()
    store.objects[key] = body
    await fetch_folder(store, manifest, "model", target)
    assert not (target / "old").exists()
    assert [path.name for path in target.parent.iterdir()] == ["model"]


async def test_a_local_store_lends_its_own_folder(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    manifest = await folder_manifest(store, weights(tmp_path / "made"))
    found = await fetch_folder(store, manifest, "model", tmp_path / "unused")
    assert found == store.local_path(manifest.outputs["model"].uri or "")
    assert not (tmp_path / "unused").exists()
    (found / "config.json").write_text("[]")
    with pytest.raises(StoreError, match=r"config.json: 2 bytes with sha256"):
        await fetch_folder(store, manifest, "model", tmp_path / "unused")


async def test_a_manifest_cannot_point_out_of_its_folder(tmp_path: Path) -> None:
    store = MemoryStore()
    manifest = await folder_manifest(store, weights(tmp_path / "made"))
    root = manifest.outputs["model"].uri or ""
    for key in (f"{root}/../../evil", "elsewhere/evil"):
        ref = ObjectRef(key=key, size_bytes=1, sha256="0" * 64)
        with pytest.raises(StoreError, match=r"key |outside its folder"):
            await fetch_folder(store, manifest.with_(files={"model": [ref]}), "model", tmp_path / "cache")


async def test_an_empty_or_missing_folder_is_an_error(tmp_path: Path) -> None:
    token = await claim(MemoryStore(), STAGE, "00000")
    with pytest.raises(StoreError, match="is not a folder"):
        await publish_folder(token.store, STAGE, token, tmp_path / "none", "model")
    with pytest.raises(StoreError, match="holds no files"):
        await publish_folder(token.store, STAGE, token, tmp_path, "model")
