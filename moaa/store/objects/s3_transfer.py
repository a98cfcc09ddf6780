"""Bodies to and from S3: small ones in one request, large files in parts, several at once.

A large download pins the object by its ETag, so that parts of two versions never mix. An upload in parts becomes
visible only when it is completed; one that fails or is cancelled is aborted. A kill leaves parts that are invisible
but cost money: give the bucket a lifecycle rule that aborts incomplete uploads.
"""

import asyncio
import base64
import hashlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from moaa.errors import NotFound, StoreError
from moaa.store.objects.base import whole_range
from moaa.store.objects.s3_requests import Requests, get_if_match
from moaa.store.objects.tasks import map_bounded

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

log = logging.getLogger(__name__)

MAX_PARTS = 10_000
"""S3's own bound."""


@dataclass(frozen=True)
class Head:
    size_bytes: int
    etag: str


@dataclass(frozen=True)
class Part:
    """Bytes [start, start + size) of a file; numbers count from 1."""

    number: int
    start: int
    size: int


def parts_of(size_bytes: int, part_bytes: int) -> list[Part]:
    """The parts of a file, in order: of `part_bytes`, or larger where there would be more than MAX_PARTS."""
    part_bytes = max(part_bytes, -(-size_bytes // MAX_PARTS))
    starts = range(0, size_bytes, part_bytes)
    return [Part(n, start, min(part_bytes, size_bytes - start)) for n, start in enumerate(starts, start=1)]


async def head(requests: Requests, name: str) -> Head:
    """Size and ETag. Raises NotFound, StoreError."""

    def ask() -> Head:
        answer = requests.client.head_object(Bucket=requests.bucket, Key=name)
        return Head(answer["ContentLength"], answer["ETag"])

    return await requests.ask(name, ask)


async def get(requests: Requests, name: str) -> bytes:
    """The whole object in memory. Raises NotFound, StoreError."""

    def read() -> bytes:
        return requests.client.get_object(Bucket=requests.bucket, Key=name)["Body"].read()

    return await requests.ask(name, read)


async def get_range(requests: Requests, name: str, start: int, size_bytes: int) -> bytes:
    """A part of an object that nobody writes again. Raises NotFound, StoreError: other bytes came than were asked."""
    span = f"bytes={start}-{start + size_bytes - 1}"

    def read() -> bytes:
        return requests.client.get_object(Bucket=requests.bucket, Key=name, Range=span)["Body"].read()

    body = await requests.ask(name, read)
    return whole_range(f"s3://{requests.bucket}/{name}", body, start, size_bytes)


async def put(requests: Requests, name: str, body: bytes) -> None:
    md5 = md5_header(body)

    def write() -> None:
        requests.client.put_object(Bucket=requests.bucket, Key=name, Body=body, ContentMD5=md5)

    await requests.ask(name, write)


def md5_header(body: bytes) -> str:
    """Content-MD5, by which the server refuses a body that was damaged on its way."""
    return base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()


async def upload(requests: Requests, name: str, file: Path) -> None:
    """Write a file of any size. Raises StoreError."""
    try:
        size = file.stat().st_size
        if size <= requests.limits.part_bytes:
            await put(requests, name, await asyncio.to_thread(file.read_bytes))
        else:
            await _upload_in_parts(requests, name, file, size)
    except OSError as error:
        raise StoreError(f"{file}: {error.strerror}; it was to be uploaded to s3://{requests.bucket}/{name}") from error


async def download(requests: Requests, name: str, file: Path) -> None:
    """Write the object to `file`, which is there whole or not at all. Raises NotFound, StoreError."""
    found = await head(requests, name)
    partial = file.with_name(f".{file.name}.{uuid4().hex[:8]}.partial")
    try:
        fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            await _download_parts(requests, name, fd, found)
        finally:
            os.close(fd)
        os.replace(partial, file)
    except OSError as error:
        raise StoreError(f"{file}: {error.strerror}, while downloading {name}; free space, then start again") from error
    finally:
        partial.unlink(missing_ok=True)


async def _upload_in_parts(requests: Requests, name: str, file: Path, size: int) -> None:
    def create() -> str:
        return requests.client.create_multipart_upload(Bucket=requests.bucket, Key=name)["UploadId"]

    upload_id = await requests.ask(name, create)
    try:
        await _send_parts(requests, name, file, upload_id, size)
    except BaseException:
        await _abort(requests, name, upload_id)
        raise


async def _send_parts(requests: Requests, name: str, file: Path, upload_id: str, size: int) -> None:
    async def send(part: Part) -> "CompletedPartTypeDef":
        body = await asyncio.to_thread(_read_part, file, part)
        md5 = md5_header(body)

        def write() -> str:
            return requests.client.upload_part(
                Bucket=requests.bucket,
                Key=name,
                UploadId=upload_id,
                PartNumber=part.number,
                Body=body,
                ContentMD5=md5,
            )["ETag"]

        return {"PartNumber": part.number, "ETag": await requests.ask(name, write)}

    done = await map_bounded(parts_of(size, requests.limits.part_bytes), send, at_once=requests.limits.parts_at_once)

    def complete() -> None:
        requests.client.complete_multipart_upload(
            Bucket=requests.bucket, Key=name, UploadId=upload_id, MultipartUpload={"Parts": done}
        )

    try:
        await requests.ask(name, complete)
    except NotFound:
        # A try that ended without an answer had completed it; the key is this upload's alone.
        if (await head(requests, name)).size_bytes != size:
            raise


async def _abort(requests: Requests, name: str, upload_id: str) -> None:
    def abort() -> None:
        requests.client.abort_multipart_upload(Bucket=requests.bucket, Key=name, UploadId=upload_id)

    try:
        await requests.ask(name, abort)
    except StoreError as error:
        log.warning("s3_upload_not_aborted key=%s error=%s", name, error)


async def _download_parts(requests: Requests, name: str, fd: int, found: Head) -> None:
    async def fetch(part: Part) -> None:
        last = part.start + part.size - 1

        def read() -> bytes:
            where = {"Bucket": requests.bucket, "Key": name, "Range": f"bytes={part.start}-{last}"}
            answer = get_if_match(requests.client, found.etag, **where)
            return answer["Body"].read()

        body = await requests.ask(name, read)
        if len(body) != part.size:
            raise StoreError(
                f"s3://{requests.bucket}/{name}: {len(body)} bytes came for a range of {part.size}; the server does "
                "not honour ranges, use another for spec.storage.endpoint"
            )
        await asyncio.to_thread(_write_part, fd, body, part.start)

    await map_bounded(
        parts_of(found.size_bytes, requests.limits.part_bytes), fetch, at_once=requests.limits.parts_at_once
    )


def _read_part(file: Path, part: Part) -> bytes:
    with file.open("rb") as reader:
        reader.seek(part.start)
        body = reader.read(part.size)
    if len(body) != part.size:
        raise StoreError(f"{file}: became shorter while it was uploaded; nothing may write to it then")
    return body


def _write_part(fd: int, body: bytes, start: int) -> None:
    view = memoryview(body)
    while view:
        written = os.pwrite(fd, view, start)
        view, start = view[written:], start + written
