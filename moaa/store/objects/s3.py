"""The store in an S3 bucket: AWS, or any server that honours `If-None-Match: *` on PUT and lists in key order.

A PUT carries the MD5 of its body, so that the server refuses one that was damaged on its way. A conditional PUT that
ended without a clear answer is resolved by reading back: our bytes mean success, other bytes mean that the key is
taken, none mean another try. Callers that must recognise their own write put something unique into the body.
"""

import functools
from collections.abc import AsyncIterator
from pathlib import Path

from botocore.exceptions import BotoCoreError

from moaa.errors import AlreadyExists, NotFound, StoreError
from moaa.store.objects import s3_transfer
from moaa.store.objects.base import ObjectInfo
from moaa.store.objects.keys import check_key, check_prefix
from moaa.store.objects.s3_errors import Outcome, sort_error
from moaa.store.objects.s3_requests import FAILURES, Requests, S3Account, S3Limits, connect


class S3Store:
    """Objects under `s3://bucket/prefix`."""

    def __init__(self, requests: Requests, prefix: str) -> None:
        self._requests = requests
        self._prefix = f"{prefix}/" if prefix else ""

    @classmethod
    def connect(cls, uri: str, account: S3Account, limits: S3Limits | None = None) -> "S3Store":
        """A store for `s3://bucket/prefix`; nothing is sent yet.

        Raises:
            StoreError: boto3's own configuration is unusable, for example a profile that does not exist.
        """
        limits = limits or S3Limits()
        try:
            client = connect(account, limits)
        except (BotoCoreError, ValueError) as error:
            raise StoreError(f"spec.storage: {error}; correct the AWS configuration of the environment") from error
        # Not urlsplit: a key may hold '#' and '?', and cutting there would put two stores into one folder.
        bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        return cls(Requests(client, bucket, limits), prefix.strip("/"))

    @property
    def uri(self) -> str:
        return f"s3://{self._requests.bucket}/{self._prefix}".rstrip("/")

    async def get(self, key: str) -> bytes:
        return await s3_transfer.get(self._requests, self._name(key))

    async def get_range(self, key: str, start: int, size_bytes: int) -> bytes:
        return await s3_transfer.get_range(self._requests, self._name(key), start, size_bytes)

    async def put(self, key: str, body: bytes) -> None:
        await s3_transfer.put(self._requests, self._name(key), body)

    async def put_if_absent(self, key: str, body: bytes) -> None:
        """As `Store.put_if_absent`. Raises AlreadyExists: another writer's object has the key."""
        requests, name = self._requests, self._name(key)
        md5 = s3_transfer.md5_header(body)

        def create() -> None:
            requests.client.put_object(Bucket=requests.bucket, Key=name, Body=body, ContentMD5=md5, IfNoneMatch="*")

        may_be_ours = False
        outcome = Outcome("unknown", "")
        for number in range(requests.limits.tries):
            await requests.pause(number, name, outcome)
            try:
                return await requests.once(create)
            except FAILURES as error:
                outcome = sort_error(error)
                if outcome.meaning not in {"taken", "conflict", "unknown"}:
                    raise requests.failed(name, outcome) from error
                # Unless a try ended without an answer, nothing of ours can be there.
                may_be_ours = may_be_ours or outcome.meaning == "unknown"
                if outcome.meaning == "taken" and not may_be_ours:
                    raise AlreadyExists(f"{self.uri}/{key}: exists") from error
            if may_be_ours and await self._is_there(key, body):
                return None
        raise requests.failed(name, outcome)

    async def exists(self, key: str) -> bool:
        try:
            await s3_transfer.head(self._requests, self._name(key))
        except NotFound:
            return False
        return True

    async def list(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        """As `Store.list`. Raises StoreError: the server lists in another order than by key."""
        start = self._prefix + check_prefix(prefix)
        token = last = ""
        while True:
            found, token = await self._requests.ask(start, functools.partial(self._page, start, token))
            for info in found:
                if info.key <= last:
                    raise StoreError(
                        f"{self.uri}/{prefix}: the server lists {info.key} after {last}, not in key order (S3 "
                        "directory buckets do that); point spec.storage.uri at a general purpose bucket"
                    )
                last = info.key
                yield info
            if not token:
                return

    async def delete(self, key: str) -> None:
        requests, name = self._requests, self._name(key)

        def remove() -> None:
            requests.client.delete_object(Bucket=requests.bucket, Key=name)

        try:
            await requests.ask(name, remove)
        except NotFound:
            return

    async def upload(self, key: str, file: Path) -> None:
        await s3_transfer.upload(self._requests, self._name(key), file)

    async def download(self, key: str, file: Path) -> None:
        await s3_transfer.download(self._requests, self._name(key), file)

    def local_path(self, key: str) -> Path | None:
        check_key(key)
        return None

    async def close(self) -> None:
        await self._requests.close()

    def _name(self, key: str) -> str:
        return self._prefix + check_key(key)

    async def _is_there(self, key: str, body: bytes) -> bool:
        """Whether the key holds exactly `body`. Raises AlreadyExists: it holds something else."""
        try:
            found = await self.get(key)
        except NotFound:
            return False
        if found != body:
            raise AlreadyExists(f"{self.uri}/{key}: exists")
        return True

    def _page(self, start: str, token: str) -> tuple[tuple[ObjectInfo, ...], str]:
        """Up to 1,000 objects and the token of the next page, empty on the last."""
        requests = self._requests
        if token:
            page = requests.client.list_objects_v2(Bucket=requests.bucket, Prefix=start, ContinuationToken=token)
        else:
            page = requests.client.list_objects_v2(Bucket=requests.bucket, Prefix=start)
        found = tuple(
            ObjectInfo(item["Key"].removeprefix(self._prefix), item["Size"], item["LastModified"])
            for item in page.get("Contents", [])
            if not item["Key"].endswith("/")  # folders that other tools leave
        )
        return found, page.get("NextContinuationToken", "")
