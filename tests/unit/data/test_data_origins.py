"""Sources are pinned and fetched exactly, or refused: folders for real, S3 by boto3's own stubs, the Hub's real client
against a small server."""

import errno
import hashlib
import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from botocore.response import StreamingBody
from botocore.stub import Stubber
from pydantic import SecretStr

from moaa.data.origin import Origin, PinnedFile, open_origin
from moaa.data.origin.hub import HubOrigin
from moaa.data.origin.s3 import S3Origin
from moaa.errors import DataError, MoaaError, StoreError
from moaa.store.objects.s3_requests import Requests, S3Account, S3Limits, connect


def everything(names: Any) -> list[str]:
    return list(names)


def sha256(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def opened(uri: str) -> Origin:
    def none(_bucket: str) -> Requests:
        raise AssertionError("no S3 here")

    return open_origin(uri, revision=None, token=None, s3=none)


async def test_a_file_and_a_folder(tmp_path: Path) -> None:
    (tmp_path / "d" / "sub").mkdir(parents=True)
    (tmp_path / "d" / ".git").mkdir()
    (tmp_path / "d" / ".git" / "x").write_text("hidden")
    (tmp_path / "d" / "b.jsonl").write_text("b")
    (tmp_path / "d" / "sub" / "a name.jsonl").write_text("aa")
    folder, file = opened(f"file://{tmp_path}/d"), opened(f"file://{tmp_path}/d/sub/a%20name.jsonl")
    found = (await folder.pin(everything)).files
    assert found == (PinnedFile("b.jsonl", 1, sha256(b"b")), PinnedFile("sub/a name.jsonl", 2, sha256(b"aa")))
    assert (await folder.fetch(found[1], None, tmp_path)).read_text() == "aa"
    alone = (await file.pin(everything)).files
    assert alone == (PinnedFile("a name.jsonl", 2, sha256(b"aa")),)
    assert (await file.fetch(alone[0], None, tmp_path)).read_text() == "aa"


async def test_a_changed_or_lost_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("one")
    origin = opened(f"file://{tmp_path}")
    [pinned] = (await origin.pin(everything)).files
    (tmp_path / "a.jsonl").write_text("two")
    with pytest.raises(DataError, match=r"a\.jsonl: found sha256:.*\(3 bytes\), but sha256:.* was pinned"):
        await origin.fetch(pinned, None, tmp_path)
    (tmp_path / "a.jsonl").unlink()
    with pytest.raises(DataError, match=r"a\.jsonl: No such file"):
        await origin.fetch(pinned, None, tmp_path)


@pytest.mark.parametrize(
    ("uri", "match"),
    [
        ("file://relative/a.jsonl", "three slashes"),
        ("file:///no/such/folder", "no such file or folder"),
        ("hf://datasets/name", "an owner and a name are needed"),
        ("hf://name", "write hf://owner/name"),
        ("ftp://host/a.jsonl", "only hf://, s3:// and file://"),
    ],
)
async def test_uris_that_name_nothing(uri: str, match: str) -> None:
    with pytest.raises(DataError, match=match):
        await opened(uri).pin(everything)


class Bucket:
    """boto3's client with stubbed answers; every request and its parameters are checked."""

    def __init__(self, requests: Requests) -> None:
        self.requests = requests
        self.stub = Stubber(requests.client)

    def origin(self, uri: str) -> S3Origin:
        def of(bucket: str) -> Requests:
            assert bucket == "bucket"
            return self.requests

        return S3Origin(uri, of)

    def lists(self, prefix: str, *objects: tuple[str, int, str]) -> None:
        contents = [{"Key": k, "Size": s, "ETag": f'"{e}"'} for k, s, e in objects]
        self.stub.add_response("list_objects_v2", {"Contents": contents}, {"Bucket": "bucket", "Prefix": prefix})

    def gives(self, key: str, etag: str, body: bytes) -> None:
        answer = {"Body": StreamingBody(io.BytesIO(body), len(body))}
        self.stub.add_response("get_object", answer, {"Bucket": "bucket", "Key": key, "IfMatch": f'"{etag}"'})

    def fails(self, operation: str, code: str, status: int) -> None:
        self.stub.add_client_error(operation, service_error_code=code, http_status_code=status)


@pytest.fixture(scope="module")
def requests() -> Requests:
    """One client for all tests: making one takes longer than any of them."""
    client = connect(S3Account("http://s3.test", "r", SecretStr("a"), SecretStr("b")), S3Limits())
    return Requests(client, "bucket", S3Limits(tries=2, first_delay_s=0.0))


@pytest.fixture
def bucket(requests: Requests) -> Iterator[Bucket]:
    found = Bucket(requests)
    with found.stub:
        yield found
        found.stub.assert_no_pending_responses()


async def test_an_object_is_the_source_whatever_is_below_it(bucket: Bucket, tmp_path: Path) -> None:
    origin = bucket.origin("s3://bucket/d/a.jsonl")
    bucket.lists("d/a.jsonl", ("d/a.jsonl", 3, "e1"), ("d/a.jsonl.bak", 9, "e2"))
    [pinned] = (await origin.pin(everything)).files
    assert pinned == PinnedFile("a.jsonl", 3, "etag:e1")
    bucket.gives("d/a.jsonl", "e1", b"abc")
    assert (await origin.fetch(pinned, None, tmp_path)).read_bytes() == b"abc"


@pytest.mark.parametrize("uri", ["s3://bucket/d", "s3://bucket/d/"])
async def test_a_prefix(bucket: Bucket, tmp_path: Path, uri: str) -> None:
    origin = bucket.origin(uri)
    objects = [("d/", 0, "e0"), ("d/b.jsonl", 1, "e1"), ("d/sub/c.jsonl", 2, "e2"), ("data.jsonl", 4, "e3")]
    bucket.lists(uri.removeprefix("s3://bucket/"), *objects)
    files = (await origin.pin(everything)).files
    assert [(f.name, f.digest) for f in files] == [("b.jsonl", "etag:e1"), ("sub/c.jsonl", "etag:e2")]
    bucket.gives("d/sub/c.jsonl", "e2", b"cc")
    assert (await origin.fetch(files[1], None, tmp_path)).read_bytes() == b"cc"


async def test_a_bucket_may_be_the_source(bucket: Bucket, tmp_path: Path) -> None:
    origin = bucket.origin("s3://bucket")
    bucket.lists("", ("a.jsonl", 1, "e1"))
    [pinned] = (await origin.pin(everything)).files
    bucket.gives("a.jsonl", "e1", b"a")
    assert (await origin.fetch(pinned, None, tmp_path)).name == "a.jsonl"


async def test_an_object_below_a_prefix_of_its_own_name(bucket: Bucket, tmp_path: Path) -> None:
    bucket.fails("get_object", "NoSuchKey", 404)
    bucket.gives("d/x/x", "e", b"a")
    path = await bucket.origin("s3://bucket/d/x").fetch(PinnedFile("x", 1, "etag:e"), None, tmp_path)
    assert path.read_bytes() == b"a"


@pytest.mark.parametrize(
    ("code", "status", "times", "error", "match"),
    [
        ("PreconditionFailed", 412, 2, DataError, "found another version, but etag:e1"),
        ("NoSuchKey", 404, 1, DataError, "found nothing, but etag:e1"),
        ("AccessDenied", 403, 1, DataError, "s3://bucket/d/: .*AccessDenied"),
        ("SlowDown", 503, 2, StoreError, "s3://bucket/d/: .*SlowDown"),
    ],
)
async def test_s3_failures(
    bucket: Bucket, tmp_path: Path, code: str, status: int, times: int, error: type[MoaaError], match: str
) -> None:
    for _ in range(times):
        bucket.fails("get_object", code, status)
    with pytest.raises(error, match=match):
        await bucket.origin("s3://bucket/d/").fetch(PinnedFile("a.jsonl", 1, "etag:e1"), None, tmp_path)
    assert not list(tmp_path.iterdir())


async def test_a_busy_server_is_asked_again(bucket: Bucket) -> None:
    bucket.fails("list_objects_v2", "SlowDown", 503)
    bucket.lists("d", ("d/a.jsonl", 1, "e1"))
    assert len((await bucket.origin("s3://bucket/d").pin(everything)).files) == 1


async def test_nothing_under_a_prefix(bucket: Bucket) -> None:
    bucket.lists("d", ("data.jsonl", 1, "e1"))
    with pytest.raises(DataError, match=r"s3://bucket/d: there is no such object and nothing under that prefix"):
        await bucket.origin("s3://bucket/d").pin(everything)


COMMIT = "c" * 40
FILES = {"README.md": b"# data", "data/train-00000-of-00001.parquet": b"PAR1....PAR1"}


class Hub(BaseHTTPRequestHandler):
    """As much of the Hub's API as a pin and a download need. `o/gated` wants a token."""

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        path = self.path.partition("?")[0]
        status, headers, body = self._find(path)
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def _find(self, path: str) -> tuple[int, dict[str, str], bytes]:
        if "o/gated" in path and self.headers.get("Authorization") != "Bearer hub-token":
            return 403, {"X-Error-Code": "GatedRepo"}, b""
        if "o/missing" in path:
            return 404, {"X-Error-Code": "RepoNotFound"}, b""
        if "o/busy" in path:
            return 500, {}, b""
        if path.endswith("/revision/nowhere"):
            return 404, {"X-Error-Code": "RevisionNotFound"}, b""
        if path.endswith("/auth-check"):
            accepted = "o/terms" not in path
            return (200, {}, b"") if accepted else (403, {"X-Error-Code": "GatedRepo"}, b"")
        if path.startswith("/api/"):
            siblings = [
                {"rfilename": name, "size": len(body), "blobId": "b" * 40}
                | (
                    {"lfs": {"sha256": "5" * 64, "size": len(body), "pointerSize": 1}}
                    if name.endswith("parquet")
                    else {}
                )
                for name, body in FILES.items()
            ]
            gated = "auto" if "o/terms" in path or "o/gated" in path else False
            body = json.dumps({"id": "o/n", "sha": COMMIT, "siblings": siblings, "gated": gated}).encode()
            return 200, {"Content-Type": "application/json"}, body
        name = path.partition(f"/resolve/{COMMIT}/")[2]
        if name in FILES:
            return 200, {"ETag": f'"{"b" * 40}"', "X-Repo-Commit": COMMIT}, FILES[name]
        return 404, {"X-Error-Code": "EntryNotFound"}, b""

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def on_hub(hub: str, repo: str, revision: str | None = None, token: str | None = None) -> HubOrigin:
    return HubOrigin(
        f"hf://datasets/{repo}", revision=revision, token=SecretStr(token) if token else None, endpoint=hub
    )


@pytest.mark.parametrize(("repo", "token"), [("o/n", None), ("o/gated", "hub-token")])
async def test_a_hub_data_set(hub: str, tmp_path: Path, repo: str, token: str | None) -> None:
    origin = on_hub(hub, repo, token=token)
    listing = await origin.pin(everything)
    assert listing.revision == COMMIT
    assert listing.files == (
        PinnedFile("README.md", 6, f"git:{'b' * 40}"),
        PinnedFile("data/train-00000-of-00001.parquet", 12, f"sha256:{'5' * 64}"),
    )
    path = await origin.fetch(listing.files[1], listing.revision, tmp_path)
    assert path.read_bytes() == b"PAR1....PAR1"
    assert path.is_relative_to(tmp_path)


async def test_a_folder_of_a_hub_data_set(hub: str, tmp_path: Path) -> None:
    origin = on_hub(hub, "o/n/data")
    [pinned] = (await origin.pin(everything)).files
    assert pinned.name == "train-00000-of-00001.parquet"
    assert (await origin.fetch(pinned, COMMIT, tmp_path)).read_bytes() == b"PAR1....PAR1"


async def test_a_hub_model_is_pinned_to_its_commit(hub: str) -> None:
    origin = HubOrigin("hf://o/n", revision="main", token=None, endpoint=hub)
    assert (await origin.pin(everything)).revision == COMMIT


@pytest.mark.parametrize(
    ("repo", "revision", "error", "match"),
    [
        ("o/gated", None, DataError, "access is gated; accept its terms on the Hub and set tokenSecret"),
        # Anybody may list its files; its terms are not accepted.
        ("o/terms", None, DataError, "access is gated; accept its terms on the Hub and set tokenSecret"),
        ("o/missing", None, DataError, "the Hub knows no such dataset"),
        ("o/n", "nowhere", DataError, "there is no revision 'nowhere'"),
        ("o/busy", None, StoreError, "did not answer as expected"),
        ("o/bad..name", None, DataError, "correct source"),
    ],
)
async def test_hub_failures(hub: str, repo: str, revision: str | None, error: type[MoaaError], match: str) -> None:
    with pytest.raises(error, match=match):
        await on_hub(hub, repo, revision).pin(everything)


async def test_a_hub_that_is_not_there() -> None:
    with pytest.raises(StoreError, match="hf://datasets/o/n: "):
        await on_hub("http://127.0.0.1:9", "o/n").pin(everything)


async def test_a_file_that_left_the_hub_is_refused(hub: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.parquet: found nothing, but git:x"):
        await on_hub(hub, "o/n").fetch(PinnedFile("gone.parquet", 1, "git:x"), COMMIT, tmp_path)


async def test_no_token_is_ever_shown(hub: str) -> None:
    with pytest.raises(DataError) as caught:
        await on_hub(hub, "o/gated", token="wrong-token").pin(everything)
    assert "wrong-token" not in str(caught.value)


async def test_a_full_disk_is_not_laid_to_the_hub(hub: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    origin = on_hub(hub, "o/n")
    [file, *_] = (await origin.pin(everything)).files

    def full(*_: object, **__: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path))

    monkeypatch.setattr("moaa.data.origin.hub.hf_hub_download", full)
    with pytest.raises(StoreError, match=r"hf://datasets/o/n: .*No space left on device; free space"):
        await origin.fetch(file, COMMIT, tmp_path)
