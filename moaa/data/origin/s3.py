"""s3:// sources: one object, or everything under a prefix. Objects are pinned by ETag and size.

An ETag is not a content hash for objects uploaded in parts, but it changes whenever the object is written, and
`IfMatch` makes the server compare it, so that nothing is downloaded twice to be compared.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from moaa.data.hashing import CHUNK_BYTES
from moaa.data.origin.base import Listing, PinnedFile, Select, changed
from moaa.errors import DataError, StoreError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_MISSING = frozenset({"404", "NoSuchKey", "NoSuchBucket", "NotFound"})
_REFUSED = frozenset({"403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"})


class S3Origin:
    def __init__(self, uri: str, client: "S3Client") -> None:
        """`uri` is s3://bucket/key of an object, or of a prefix that stands before `/`."""
        self._uri = uri
        self._client = client
        self._bucket, _, self._key = uri.removeprefix("s3://").partition("/")

    async def pin(self, select: Select) -> Listing:
        return await asyncio.to_thread(self._pin, select)

    async def fetch(self, file: PinnedFile, revision: str | None, folder: Path) -> Path:  # noqa: ARG002  S3 has none
        target = folder / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        await asyncio.to_thread(self._download, file, target)
        return target

    def _pin(self, select: Select) -> Listing:
        objects = self._objects()
        return Listing(None, tuple(objects[name] for name in sorted(select(sorted(objects)))))

    def _objects(self) -> dict[str, PinnedFile]:
        """Objects by relative name. An object whose key is the whole URI is the source, whatever else is below."""
        found: dict[str, PinnedFile] = {}
        folder = self._key.rstrip("/") + "/" if self._key.rstrip("/") else ""
        with self._errors():
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._key):
                for item in page.get("Contents", []):
                    key, etag = item["Key"], item["ETag"].strip('"')
                    if key == self._key and not key.endswith("/"):
                        name = key.rpartition("/")[2]
                        return {name: PinnedFile(name, item["Size"], f"etag:{etag}")}
                    name = key.removeprefix(folder)
                    if key.startswith(folder) and name and not name.endswith("/"):
                        found[name] = PinnedFile(name, item["Size"], f"etag:{etag}")
        if not found:
            raise DataError(f"{self._uri}: there is no such object and nothing under that prefix; correct the URI")
        return found

    def _download(self, file: PinnedFile, target: Path) -> None:
        partial = target.with_name(target.name + ".part")
        with self._errors(file):
            answer = self._client.get_object(
                Bucket=self._bucket, Key=self._key_of(file), IfMatch=file.digest.removeprefix("etag:")
            )
            with partial.open("wb") as out:
                for block in answer["Body"].iter_chunks(CHUNK_BYTES):
                    out.write(block)
        if (size := partial.stat().st_size) != file.size_bytes:
            raise StoreError(f"{self._uri}: {file.name}: {size} of {file.size_bytes} bytes arrived")
        partial.replace(target)

    def _key_of(self, file: PinnedFile) -> str:
        """The source itself when it is an object of that name, else the object of that name below it."""
        if self._key.rpartition("/")[2] == file.name:
            try:
                self._client.head_object(Bucket=self._bucket, Key=self._key)
            except ClientError as error:
                if error.response["Error"]["Code"] not in _MISSING:
                    raise
            else:
                return self._key
        return f"{self._key.rstrip('/')}/{file.name}".lstrip("/")

    @contextmanager
    def _errors(self, file: PinnedFile | None = None) -> Iterator[None]:
        try:
            yield
        except NoCredentialsError as error:
            raise DataError(f"{self._uri}: there are no credentials; set spec.storage.secret or a cloud identity") from error
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if file is not None and (code in _MISSING or code in ("412", "PreconditionFailed")):
                raise changed(self._uri, file, "nothing" if code in _MISSING else "another version") from error
            if code in _MISSING:
                raise DataError(f"{self._uri}: the server says {code}; correct the bucket or the key") from error
            if code in _REFUSED:
                raise DataError(f"{self._uri}: the server says {code}; allow listing and reading it") from error
            raise StoreError(f"{self._uri}: the server says {code}: {error.response['Error'].get('Message')}") from error
        except BotoCoreError as error:
            raise StoreError(f"{self._uri}: {error}") from error
