"""Send one request to S3: in a thread, bounded, repeated as long as that can help.

boto3 blocks, so its calls run in a bounded pool of threads. boto3's own retries are off: what a failure means depends
on the call (a conditional PUT that timed out may have succeeded), so it is decided here and in `moaa.store.objects.s3`.
"""

import asyncio
import functools
import logging
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import boto3
import botocore.loaders
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import SecretStr

from moaa.backoff import backoff_s
from moaa.errors import NotFound, StoreError
from moaa.store.objects.s3_errors import Outcome, sort_error

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef

log = logging.getLogger(__name__)
Answer = TypeVar("Answer")

FAILURES = (ClientError, BotoCoreError, OSError)
"""All that a boto3 call raises when the outside world fails."""


@dataclass(frozen=True)
class S3Account:
    """Server and credentials. None: as boto3 finds them."""

    endpoint: str | None = None
    region: str | None = None
    access_key_id: SecretStr | None = None
    secret_access_key: SecretStr | None = None
    session_token: SecretStr | None = None


@dataclass(frozen=True)
class S3Limits:
    """Bounds of everything that waits, repeats or fills memory."""

    connect_timeout_s: float = 10.0
    read_timeout_s: float = 60.0
    tries: int = 8
    """Of one request; with the delays below half a minute when the server answers at once."""
    first_delay_s: float = 0.3
    """Doubles with each try; the actual delay is drawn between half of it and all of it."""
    max_delay_s: float = 20.0
    threads: int = 16
    part_bytes: int = 32 * 1024 * 1024
    """Files above this go and come in parts of this size."""
    parts_at_once: int = 4
    """For each file; part_bytes times this is what a transfer holds in memory."""


class Requests:
    """Sends requests about the objects of one bucket."""

    def __init__(self, client: "S3Client", bucket: str, limits: S3Limits) -> None:
        self.client = client
        self.bucket = bucket
        self.limits = limits
        self._threads = ThreadPoolExecutor(max_workers=limits.threads, thread_name_prefix="moaa-s3")

    async def once(self, call: Callable[[], Answer]) -> Answer:
        """Run a boto3 call in the pool. Raises what it raises."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    async def ask(self, name: str, call: Callable[[], Answer]) -> Answer:
        """Run a boto3 call that may be repeated without harm, until it succeeds or cannot.

        Raises:
            NotFound: the server has no such object.
            StoreError: refused, or failed `limits.tries` times.
        """
        outcome = Outcome("unknown", "")
        for number in range(self.limits.tries):
            await self.pause(number, name, outcome)
            try:
                return await self.once(call)
            except FAILURES as error:
                outcome = sort_error(error)
                if outcome.meaning == "missing":
                    raise NotFound(f"s3://{self.bucket}/{name}: no such object") from error
                if outcome.meaning not in {"conflict", "unknown"}:
                    raise self.failed(name, outcome) from error
                cause = error
        raise self.failed(name, outcome) from cause

    async def pause(self, number: int, name: str, outcome: Outcome) -> None:
        """Wait before try `number`; the first one (0) does not wait."""
        if number:
            delay_s = backoff_s(number, first_s=self.limits.first_delay_s, max_s=self.limits.max_delay_s)
            delay_s *= random.uniform(0.5, 1.0)
            log.warning("s3_retry key=%s try=%d delay_s=%.2f reason=%s", name, number + 1, delay_s, outcome.text)
            await asyncio.sleep(delay_s)

    def failed(self, name: str, outcome: Outcome) -> StoreError:
        gave_up = f" (gave up after {self.limits.tries} tries)" if outcome.meaning in {"conflict", "unknown"} else ""
        return StoreError(f"s3://{self.bucket}/{name}: {outcome.text}{gave_up}")

    async def close(self) -> None:
        """Wait for the requests under way."""
        await asyncio.to_thread(self._threads.shutdown, wait=True, cancel_futures=True)
        self.client.close()


def get_if_match(client: "S3Client", etag: str, **where: Any) -> "GetObjectOutputTypeDef":
    """GET an object only while it has this ETag, with or without its quotes.

    RFC 9110 and R2 compare it with quotes, Ceph and Spaces without, AWS either way: a 412 to both says that it differs.

    Raises:
        ClientError, BotoCoreError, OSError: as boto3 does.
    """
    bare = etag.strip('"')
    try:
        return client.get_object(IfMatch=f'"{bare}"', **where)
    except ClientError as error:
        if sort_error(error).meaning != "taken":
            raise
    return client.get_object(IfMatch=bare, **where)


def connect(account: S3Account, limits: S3Limits) -> "S3Client":
    """A boto3 client; nothing is sent yet. Raises BotoCoreError, ValueError: the configuration is unusable."""
    secrets = account.access_key_id, account.secret_access_key, account.session_token
    access_key_id, secret_access_key, session_token = (s.get_secret_value() if s else None for s in secrets)
    config = Config(
        connect_timeout=limits.connect_timeout_s,
        read_timeout=limits.read_timeout_s,
        retries={"total_max_attempts": 1, "mode": "standard"},
        max_pool_connections=limits.threads,
        tcp_keepalive=True,
        # Servers that are not AWS rarely have a DNS name for each bucket.
        s3={"addressing_style": "path" if account.endpoint else "auto"},
        # Newer boto3 adds checksums as trailers, which many servers refuse; we send Content-MD5, which all know.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    session = botocore.session.Session()
    session.register_component("data_loader", _api_descriptions())
    return boto3.session.Session(botocore_session=session).client(
        "s3",
        endpoint_url=account.endpoint,
        region_name=account.region or ("us-east-1" if account.endpoint else None),
        aws_access_key_id=access_key_id,
        aws_secret_access_key=secret_access_key,
        aws_session_token=session_token,
        config=config,
    )


@functools.cache
def _api_descriptions() -> botocore.loaders.Loader:
    """Shared by all sessions: reading the descriptions of S3 takes most of the time of making a client."""
    return botocore.loaders.create_loader()
