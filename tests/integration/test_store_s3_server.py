"""The store, the ledger and the manifests on a real S3 server."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from moaa.api.resource import Storage
from moaa.errors import AlreadyExists, NotFound, StoreError
from moaa.store.objects.base import Store
from moaa.store.objects.open import StoreSettings, open_store
from moaa.store.objects.preflight import preflight
from moaa.store.objects.s3 import S3Store
from moaa.store.objects.s3_requests import S3Account, S3Limits
from tests.integration.s3_server import S3Server, run_s3_server
from tests.store_helpers import Killed, KilledStore
from tests.store_worker import OTHER_STAGE, Server, published_rows, recorded, replay, run_shard


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with run_s3_server(tmp_path_factory.mktemp("s3")) as running:
        yield running


def settings_of(server: S3Server, *, access_key_id: str = "", secret_access_key: str = "") -> StoreSettings:
    """The server's keys, or others where given."""
    return StoreSettings(
        access_key_id=SecretStr(access_key_id or server.access_key_id),
        secret_access_key=SecretStr(secret_access_key or server.secret_access_key),
        region="us-east-1",
    )


@pytest.fixture
async def store(server: S3Server, request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    """An empty prefix of its own for each test."""
    storage = Storage(uri=f"s3://{server.bucket}/{request.node.name}", endpoint=server.endpoint)
    store = open_store(storage, settings_of(server))
    yield store
    await store.close()


async def test_preflight_passes_and_leaves_nothing(store: Store) -> None:
    await preflight(store)
    assert [found.key async for found in store.list("")] == []


async def test_objects_round_trip(store: Store) -> None:
    names = sorted(["a-b/x", "a/b.c", "a/b/c", "a0", "space + % é"])
    for name in names:
        await store.put(name, name.encode())
    assert [found.key async for found in store.list("")] == names
    assert [(f.key, f.size_bytes) async for f in store.list("a/b")] == [("a/b.c", 5), ("a/b/c", 5)]
    assert await store.get("space + % é") == "space + % é".encode()
    await store.put("a0", b"new")
    assert await store.get("a0") == b"new"
    with pytest.raises(AlreadyExists):
        await store.put_if_absent("a0", b"other")
    await store.delete("a0")
    await store.delete("a0")
    assert not await store.exists("a0")
    with pytest.raises(NotFound):
        await store.get("a0")


async def test_listings_go_over_several_pages(store: Store) -> None:
    names = [f"k/{number:05d}" for number in range(1005)]
    limit = asyncio.Semaphore(16)

    async def put(name: str) -> None:
        async with limit:
            await store.put(name, b"")

    await asyncio.gather(*map(put, names))
    assert [found.key async for found in store.list("k/")] == names


async def test_one_of_many_creators_wins(store: Store) -> None:
    async def create(number: int) -> int | None:
        try:
            await store.put_if_absent("k", str(number).encode())
        except AlreadyExists:
            return None
        return number

    won = [number for number in await asyncio.gather(*map(create, range(32))) if number is not None]
    assert [await store.get("k")] == [str(number).encode() for number in won]


async def test_a_large_file_goes_and_comes_in_parts(server: S3Server, tmp_path: Path) -> None:
    body = bytes(range(256)) * 4 * 1024 * 13  # 13 MiB, in parts of S3's least size
    (tmp_path / "file").write_bytes(body)
    account = S3Account(
        endpoint=server.endpoint,
        access_key_id=SecretStr(server.access_key_id),
        secret_access_key=SecretStr(server.secret_access_key),
    )
    store = S3Store.connect(f"s3://{server.bucket}/large", account, S3Limits(part_bytes=5 * 1024 * 1024))
    try:
        await store.upload("file", tmp_path / "file")
        await store.download("file", tmp_path / "copy")
    finally:
        await store.close()
    assert (tmp_path / "copy").read_bytes() == body


async def test_killed_and_resumed_work_repeats_no_durable_call(store: Store) -> None:
    server = Server()
    for at in (9, 21, 37):
        durable, before = await recorded(store), server.asked.copy()
        with pytest.raises(Killed):
            await run_shard(KilledStore(store, at, with_effect=True), server)
        assert not durable & {" ".join(call) for call in server.asked - before}
    shard = await run_shard(store, server)
    assert await published_rows(store, shard) == await replay(store)
    other = Server()
    await run_shard(store, other, stage=OTHER_STAGE)
    assert {path for _, path, _ in other.asked} == {"agg"}


async def test_a_missing_bucket_and_wrong_keys_are_explained(server: S3Server) -> None:
    nowhere = open_store(Storage(uri="s3://no-such-bucket", endpoint=server.endpoint), settings_of(server))
    with pytest.raises(StoreError, match=r"spec.storage.uri: there is no such bucket"):
        await preflight(nowhere)
    await nowhere.close()
    for settings in (
        settings_of(server, access_key_id="wrong-key"),
        settings_of(server, secret_access_key="wrong-key"),
    ):
        refused = open_store(Storage(uri=f"s3://{server.bucket}/x", endpoint=server.endpoint), settings)
        with pytest.raises(StoreError, match=r"spec.storage.secret: the ") as caught:
            await preflight(refused)
        assert "wrong-key" not in str(caught.value)
        await refused.close()


async def test_an_unreachable_server_is_named() -> None:
    account = S3Account(endpoint="http://127.0.0.1:9", access_key_id=SecretStr("a"), secret_access_key=SecretStr("b"))
    store = S3Store.connect("s3://bucket", account, S3Limits(tries=2, first_delay_s=0.01))
    with pytest.raises(StoreError, match=r"127.0.0.1:9.*check spec.storage.endpoint and the network"):
        await preflight(store)
    await store.close()
