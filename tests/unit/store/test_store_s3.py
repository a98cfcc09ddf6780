"""The S3 store against injected faults, through a real socket and a real boto3."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    ReadTimeoutError,
)
from pydantic import SecretStr

from moaa.api.resource import Storage
from moaa.data.origin.s3 import S3Origin
from moaa.errors import AlreadyExists, DataError, NotFound, StoreError
from moaa.store.objects.directory import DirectoryStore
from moaa.store.objects.open import StoreSettings, open_store
from moaa.store.objects.preflight import preflight
from moaa.store.objects.s3 import S3Store
from moaa.store.objects.s3_errors import sort_error
from moaa.store.objects.s3_requests import Requests, S3Account, S3Limits, connect
from moaa.store.objects.s3_transfer import parts_of
from tests.fake_s3 import FakeS3, Fault, serve

QUICK = S3Limits(
    connect_timeout_s=2.0, read_timeout_s=5.0, tries=4, first_delay_s=0.001, part_bytes=1000, threads=4, parts_at_once=2
)
IMPATIENT = replace(QUICK, read_timeout_s=0.3)
KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "not-a-real-secret"}


@asynccontextmanager
async def running(
    fake: FakeS3, *, limits: S3Limits = QUICK, uri: str = "s3://bucket/pre/fix"
) -> AsyncIterator[S3Store]:
    async with serve(fake) as url:
        account = S3Account(
            endpoint=url,
            access_key_id=SecretStr(KEYS["AWS_ACCESS_KEY_ID"]),
            secret_access_key=SecretStr(KEYS["AWS_SECRET_ACCESS_KEY"]),
        )
        store = S3Store.connect(uri, account, limits)
        try:
            yield store
        finally:
            await store.close()


def limits_for(fault: Fault) -> S3Limits:
    """Short time-outs only where one is waited for, so that a busy machine causes no others."""
    return IMPATIENT if fault.act.startswith("hang") else QUICK


@pytest.mark.parametrize("quotes", ["either", "wanted", "unknown"])
async def test_a_pinned_object_is_fetched_however_the_server_compares_etags(
    quotes: Literal["either", "wanted", "unknown"], tmp_path: Path
) -> None:
    fake = FakeS3(quotes=quotes)
    big = bytes(range(256)) * 20  # more than one part, each of which is pinned
    async with serve(fake) as url:
        account = S3Account(url, "r", SecretStr("a"), SecretStr("b"))
        requests = Requests(connect(account, QUICK), "bucket", QUICK)
        fake.objects["d/a.jsonl"] = big
        origin = S3Origin("s3://bucket/d/", lambda _: requests)
        (pinned,) = (await origin.pin(list)).files
        assert (await origin.fetch(pinned, None, tmp_path)).read_bytes() == big
        store = S3Store(requests, "d")
        await store.download("a.jsonl", tmp_path / "copy")
        assert (tmp_path / "copy").read_bytes() == big
        fake.objects["d/a.jsonl"] = b"another"
        with pytest.raises(DataError, match="another version"):
            await origin.fetch(pinned, None, tmp_path)
        await requests.close()


async def test_objects_round_trip_below_the_prefix() -> None:
    fake = FakeS3(page_size=2)
    async with running(fake) as store:
        for name in ("b/1", "a-b", "a/2", "a/1 é+%&", "c"):
            await store.put(name, name.encode())
        assert sorted(fake.objects) == [f"pre/fix/{name}" for name in ("a-b", "a/1 é+%&", "a/2", "b/1", "c")]
        assert await store.get("a/1 é+%&") == "a/1 é+%&".encode()
        assert await store.get_range("a/2", 1, 2) == b"/2"
        with pytest.raises(StoreError, match="a/2: 2 bytes came for 3 bytes from byte 1"):
            await store.get_range("a/2", 1, 3)
        fake.objects["pre/fix/folder/"] = b""  # what consoles make
        assert [found.key async for found in store.list("")] == ["a-b", "a/1 é+%&", "a/2", "b/1", "c"]
        assert [(found.key, found.size_bytes) async for found in store.list("a/2")] == [("a/2", 3)]
        assert await store.exists("c")
        await store.delete("c")
        await store.delete("c")
        assert not await store.exists("c")
        with pytest.raises(NotFound, match="s3://bucket/pre/fix/c: no such object"):
            await store.get("c")
        assert store.local_path("c") is None
        assert store.uri == "s3://bucket/pre/fix"


RETRIED = [
    pytest.param(Fault("PUT", "refuse", 503, "SlowDown", times=3), id="slow down"),
    pytest.param(Fault("PUT", "refuse", 500, "InternalError", times=2), id="500"),
    pytest.param(Fault("PUT", "after", 500, "InternalError"), id="500 after the write"),
    pytest.param(Fault("PUT", "after", 502, "BadGateway", times=2), id="502 after the write, twice"),
    pytest.param(Fault("PUT", "refuse", 409, "ConditionalRequestConflict", times=2), id="409"),
    pytest.param(Fault("PUT", "refuse", 400, "RequestTimeout"), id="400 RequestTimeout"),
    pytest.param(Fault("PUT", "refuse", 400, "BadDigest"), id="damaged on its way"),
    pytest.param(Fault("PUT", "hang"), id="time-out"),
    pytest.param(Fault("PUT", "hang-after"), id="time-out after the write"),
    pytest.param(Fault("PUT", "reset", times=2), id="connection reset"),
]


@pytest.mark.parametrize("fault", RETRIED)
async def test_a_conditional_write_succeeds_exactly_once_through(fault: Fault) -> None:
    fake = FakeS3(faults=[replace(fault)])
    async with running(fake, limits=limits_for(fault)) as store:
        await store.put_if_absent("k", b"ours")
        assert fake.objects == {"pre/fix/k": b"ours"}
        with pytest.raises(AlreadyExists, match="s3://bucket/pre/fix/k: exists"):
            await store.put_if_absent("k", b"theirs")
        assert fake.objects == {"pre/fix/k": b"ours"}


@pytest.mark.parametrize("fault", RETRIED[:3])
async def test_a_plain_write_is_repeated_through(fault: Fault) -> None:
    fake = FakeS3(faults=[replace(fault)])
    async with running(fake, limits=limits_for(fault)) as store:
        await store.put("k", b"ours")
    assert fake.objects == {"pre/fix/k": b"ours"}


@pytest.mark.parametrize("fault", [Fault("PUT", "hang"), Fault("PUT", "refuse", 409, "ConditionalRequestConflict")])
async def test_after_a_time_out_or_conflict_another_writers_object_is_not_ours(fault: Fault) -> None:
    fake = FakeS3(faults=[replace(fault)], on_put=lambda fake: fake.objects.update({"pre/fix/k": b"theirs"}))
    async with running(fake, limits=limits_for(fault)) as store:
        with pytest.raises(AlreadyExists):
            await store.put_if_absent("k", b"ours")
    assert fake.objects == {"pre/fix/k": b"theirs"}


async def test_the_same_bytes_of_another_writer_are_not_ours_without_a_time_out() -> None:
    fake = FakeS3(objects={"pre/fix/k": b"same"})
    async with running(fake) as store:
        with pytest.raises(AlreadyExists):
            await store.put_if_absent("k", b"same")


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault("GET", "truncate", times=2), id="truncated body"),
        pytest.param(Fault("GET", "refuse", 503, "SlowDown", times=3), id="slow down"),
        pytest.param(Fault("GET", "hang"), id="time-out"),
        pytest.param(Fault("GET", "reset"), id="reset"),
    ],
)
async def test_reads_are_repeated_until_whole(fault: Fault, tmp_path: Path) -> None:
    body = bytes(range(256)) * 15
    fake = FakeS3(objects={"pre/fix/k": body})
    async with running(fake, limits=limits_for(fault)) as store:
        fake.faults = [replace(fault)]
        assert await store.get("k") == body
        fake.faults = [replace(fault)]
        await store.download("k", tmp_path / "k")
        assert (tmp_path / "k").read_bytes() == body
        fake.faults = [replace(fault)]
        assert [found.key async for found in store.list("")] == ["k"]
    assert [path.name for path in tmp_path.iterdir()] == ["k"]


async def test_tries_are_bounded_and_the_last_answer_is_told() -> None:
    fake = FakeS3(
        faults=[Fault("PUT", "refuse", 503, "SlowDown", times=99), Fault("GET", "refuse", 500, "X", times=99)]
    )
    async with running(fake) as store:
        with pytest.raises(StoreError, match=r"s3://bucket/pre/fix/k: .*500 X \(gave up after 4 tries\)"):
            await store.put_if_absent("k", b"")  # cannot even be read back
        assert len(fake.requests) == 5
        fake.requests.clear()
        with pytest.raises(StoreError, match=r"PutObject answered 503 SlowDown \(gave up after 4 tries\)"):
            await store.put("k", b"")
        assert len(fake.requests) == 4


async def test_large_files_go_in_parts_and_come_in_ranges(tmp_path: Path) -> None:
    body = bytes(range(256)) * 20 + b"end"
    (tmp_path / "file").write_bytes(body)
    fake = FakeS3(
        faults=[
            Fault("PUT", "refuse", 503, "SlowDown", target="partNumber=2"),
            Fault("PUT", "truncate", target="partNumber=3"),
            Fault("POST", "after", 500, "InternalError", target="uploadId"),
        ]
    )
    async with running(fake) as store:
        await store.upload("big", tmp_path / "file")
        assert fake.objects == {"pre/fix/big": body}
        await store.download("big", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == body
    assert sum("partNumber" in request for request in fake.requests) == 6 + 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "file"]


async def test_an_upload_that_fails_is_aborted(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 5000)
    fake = FakeS3(faults=[Fault("PUT", "refuse", 403, "AccessDenied", target="partNumber=4")])
    async with running(fake) as store:
        with pytest.raises(StoreError, match=r"AccessDenied; spec.storage: the identity may not do this"):
            await store.upload("big", tmp_path / "file")
        with pytest.raises(StoreError, match=r"none: No such file or directory; it was to be uploaded to s3://"):
            await store.upload("big", tmp_path / "none")
    assert fake.objects == {}
    assert fake.uploads == {}


async def test_a_file_replaced_during_its_download_is_not_mixed(tmp_path: Path) -> None:
    fake = FakeS3(objects={"pre/fix/k": b"a" * 5000})
    fake.on_get = lambda fake: fake.objects.update({"pre/fix/k": b"b" * 5000})
    async with running(fake) as store:
        with pytest.raises(StoreError, match="412 PreconditionFailed"):
            await store.download("k", tmp_path / "k")
        with pytest.raises(NotFound):
            await store.download("none", tmp_path / "k")
    assert list(tmp_path.iterdir()) == []


async def test_missing_bucket_and_refused_keys_say_what_to_do() -> None:
    fake = FakeS3()
    async with running(fake, uri="s3://other") as store:
        with pytest.raises(StoreError, match=r"NoSuchBucket; spec.storage.uri: there is no such bucket; create it"):
            await preflight(store)
        fake.faults = [Fault("PUT", "refuse", 403, "InvalidAccessKeyId")]
        with pytest.raises(StoreError, match=r"spec.storage.secret: the server does not know the access key") as caught:
            await store.put("k", b"")
    assert KEYS["AWS_SECRET_ACCESS_KEY"] not in str(caught.value)


async def test_preflight_accepts_a_good_server_and_leaves_nothing() -> None:
    fake = FakeS3()
    async with running(fake) as store:
        await preflight(store)
    assert fake.objects == {}


async def test_preflight_refuses_a_server_that_overwrites() -> None:
    fake = FakeS3(honours_if_none_match=False)
    async with running(fake) as store:
        with pytest.raises(StoreError, match=r"second conditional write .* was accepted.*use another"):
            await preflight(store)
    assert fake.objects == {}


async def test_preflight_refuses_a_server_without_conditional_writes() -> None:
    fake = FakeS3(faults=[Fault("PUT", "refuse", 501, "NotImplemented", times=9)])
    async with running(fake) as store:
        with pytest.raises(StoreError, match="use one with conditional writes"):
            await preflight(store)


def answered(status: int, code: str, **headers: str) -> ClientError:
    return ClientError(
        {
            "Error": {"Code": code, "Message": "m"},
            "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": headers},  # type: ignore[typeddict-item]
        },
        "PutObject",
    )


@pytest.mark.parametrize(
    ("error", "meaning", "text"),
    [
        pytest.param(answered(404, "NoSuchKey"), "missing", "404 NoSuchKey", id="missing"),
        pytest.param(answered(404, "404"), "missing", "404", id="missing by HEAD"),
        pytest.param(answered(403, "403"), "permanent", "allow s3:ListBucket", id="refused by HEAD"),
        pytest.param(answered(412, "PreconditionFailed"), "taken", "412", id="taken"),
        pytest.param(answered(409, "OperationAborted"), "conflict", "409", id="conflict"),
        pytest.param(answered(429, "TooManyRequests"), "unknown", "429", id="throttled"),
        pytest.param(
            answered(301, "PermanentRedirect", **{"x-amz-bucket-region": "eu-west-1"}),
            "permanent",
            "spec.storage.region: the bucket lies in another region, eu-west-1; write that region there",
            id="region",
        ),
        pytest.param(
            answered(400, "AuthorizationHeaderMalformed"), "permanent", "another region;", id="region unknown"
        ),
        pytest.param(answered(400, "ExpiredToken"), "permanent", "session token has expired", id="expired"),
        pytest.param(answered(403, "RequestTimeTooSkewed"), "permanent", "clock is wrong", id="clock"),
        pytest.param(answered(400, "Odd"), "permanent", "the server refused this", id="anything else"),
        pytest.param(NoCredentialsError(), "permanent", "give AWS_ACCESS_KEY_ID and", id="no credentials"),
        pytest.param(ReadTimeoutError(endpoint_url="u"), "unknown", "ReadTimeoutError", id="time-out"),
        pytest.param(EndpointConnectionError(endpoint_url="u"), "unknown", "check spec.storage.endpoint", id="refused"),
        pytest.param(ConnectionResetError("reset"), "unknown", "reset", id="reset"),
        pytest.param(BotoCoreError(), "permanent", "BotoCoreError", id="any other of boto3's"),
    ],
)
def test_what_a_failure_means(error: ClientError | BotoCoreError | OSError, meaning: str, text: str) -> None:
    outcome = sort_error(error)
    assert outcome.meaning == meaning
    assert text in outcome.text


def test_parts_cover_a_file_within_the_bound() -> None:
    assert [(p.number, p.start, p.size) for p in parts_of(25, 10)] == [(1, 0, 10), (2, 10, 10), (3, 20, 5)]
    assert parts_of(0, 10) == []
    huge = parts_of(10**9 + 1, 10)
    assert len(huge) <= 10_000
    assert sum(part.size for part in huge) == 10**9 + 1


def test_settings_come_from_the_environment_and_hide_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": "http://x", "AWS_DEFAULT_REGION": "r", "AWS_REGION": ""}.items():
        monkeypatch.setenv(name, value)
    settings = StoreSettings()
    assert settings.secret_access_key is not None
    assert settings.secret_access_key.get_secret_value() == KEYS["AWS_SECRET_ACCESS_KEY"]
    assert (settings.endpoint, settings.region, settings.session_token) == ("http://x", "r", None)
    assert KEYS["AWS_SECRET_ACCESS_KEY"] not in repr(settings)


async def test_half_a_key_pair_is_an_error() -> None:
    settings = StoreSettings(access_key_id=SecretStr("a"), secret_access_key=None, endpoint="http://x")
    with pytest.raises(StoreError, match=r"spec.storage.secret: AWS_SECRET_ACCESS_KEY is not set although"):
        open_store(Storage(uri="s3://bucket"), settings)


async def test_the_uri_chooses_the_store(tmp_path: Path) -> None:
    store = open_store(Storage(uri=f"file://{tmp_path}/a%20b"))
    assert isinstance(store, DirectoryStore)
    assert not (tmp_path / "a b").exists(), "whoever only looks makes nothing"
    await store.put("c", b"")
    assert (tmp_path / "a b" / "c").is_file()
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"spec.storage.uri"):
        await open_store(Storage(uri=f"file://{tmp_path}/file")).put("c", b"")
    settings = StoreSettings(access_key_id=SecretStr("a"), secret_access_key=SecretStr("b"), endpoint="http://x")
    s3 = open_store(Storage(uri="s3://bucket/prefix/"), settings)
    assert s3.uri == "s3://bucket/prefix"
    await s3.close()
