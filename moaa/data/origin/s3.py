"""s3:// sources: one object, or everything under a prefix. Objects are pinned by ETag and size.

An ETag is not a content hash for objects uploaded in parts, but it changes whenever the object is written, and
`IfMatch` makes the server compare it, so that nothing is downloaded twice to be compared.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from moaa.data.origin.base import Listing, PinnedFile, Select, changed
from moaa.errors import DataError, MoaaError, StoreError
from moaa.store.objects.s3_errors import Outcome, sort_error
from moaa.store.objects.s3_requests import FAILURES, Requests, get_if_match

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef

CHUNK_BYTES = 1 << 20
Answer = TypeVar("Answer")


class S3Origin:
    def __init__(self, uri: str, connect: Callable[[str], Requests]) -> None:
        """`uri` is s3://bucket/key of an object, or of what stands before `/` in keys; `connect` takes the bucket."""
        self._uri = uri
        self._bucket, _, self._key = uri.removeprefix("s3://").partition("/")
        self._connect = connect

    async def pin(self, select: Select) -> Listing:
        """As `Origin.pin`. Raises DataError: nothing is there."""
        requests = self._connect(self._bucket)
        objects = await self._ask(requests, lambda: self._objects(requests))
        if not objects:
            raise DataError(f"{self._uri}: there is no such object and nothing under that prefix; correct the URI")
        return Listing(None, tuple(objects[name] for name in sorted(select(sorted(objects)))))

    async def fetch(self, file: PinnedFile, revision: str | None, folder: Path) -> Path:  # noqa: ARG002
        requests = self._connect(self._bucket)
        target = folder / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        await self._ask(requests, lambda: self._download(requests, file, target), file)
        return target

    async def start(self, file: PinnedFile, size_bytes: int) -> bytes:
        """As `StartReader.start`."""
        if not file.size_bytes:  # an empty object has no range
            return b""
        requests = self._connect(self._bucket)

        def read() -> bytes:
            return self._get(requests, file, Range=f"bytes=0-{size_bytes - 1}")["Body"].read()

        return await self._ask(requests, read, file)

    def _objects(self, requests: Requests) -> dict[str, PinnedFile]:
        """Objects by relative name. An object whose key is the whole URI is the source, whatever else is below."""
        found: dict[str, PinnedFile] = {}
        folder = self._key.rstrip("/") + "/" if self._key.rstrip("/") else ""
        pages = requests.client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._key)
        for page in pages:
            for item in page.get("Contents", []):
                key, etag = item["Key"], item["ETag"].strip('"')
                if key == self._key and not key.endswith("/"):
                    name = key.rpartition("/")[2]
                    return {name: PinnedFile(name, item["Size"], f"etag:{etag}")}
                name = key.removeprefix(folder)
                if key.startswith(folder) and name and not name.endswith("/"):
                    found[name] = PinnedFile(name, item["Size"], f"etag:{etag}")
        return found

    def _get(self, requests: Requests, file: PinnedFile, **more: str) -> "GetObjectOutputTypeDef":
        """The object itself where the source is one, else the one of that name below it."""
        etag, key = file.digest.removeprefix("etag:"), f"{self._key.rstrip('/')}/{file.name}".lstrip("/")
        if self._key.rpartition("/")[2] == file.name:  # the source is most likely the object itself
            try:
                return get_if_match(requests.client, etag, Bucket=self._bucket, Key=self._key, **more)
            except FAILURES as error:
                if sort_error(error).meaning != "missing":
                    raise
        return get_if_match(requests.client, etag, Bucket=self._bucket, Key=key, **more)

    def _download(self, requests: Requests, file: PinnedFile, target: Path) -> None:
        """Through a temporary name."""
        answer = self._get(requests, file)
        partial = target.with_name(target.name + ".part")
        with partial.open("wb") as out:
            for block in answer["Body"].iter_chunks(CHUNK_BYTES):
                out.write(block)
        partial.replace(target)

    async def _ask(self, requests: Requests, call: Callable[[], Answer], file: PinnedFile | None = None) -> Answer:
        """Make a call that may be repeated without harm, as often as the limits allow."""
        outcome = Outcome("unknown", "")
        cause: Exception | None = None
        for number in range(requests.limits.tries):
            await requests.pause(number, self._uri, outcome)
            try:
                return await requests.once(call)
            except FAILURES as error:
                outcome, cause = sort_error(error), error
                if outcome.meaning not in ("unknown", "conflict"):
                    break
        raise self._failure(outcome, file) from cause

    def _failure(self, outcome: Outcome, file: PinnedFile | None) -> MoaaError:
        if file is not None and outcome.meaning in ("missing", "taken"):  # taken is 412: IfMatch did not match
            return changed(self._uri, file, "nothing" if outcome.meaning == "missing" else "another version")
        if outcome.meaning in ("unknown", "conflict"):
            return StoreError(f"{self._uri}: {outcome.text}")
        return DataError(f"{self._uri}: {outcome.text}")
