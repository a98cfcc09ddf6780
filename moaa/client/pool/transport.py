"""One HTTP exchange with one replica, and what came of it. No retries, no choice of replica."""

import asyncio
import json
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

from moaa.client.outcome import HttpFailure, Permanent, Retry, Trouble, is_retryable
from moaa.client.pool.policy import Policy
from moaa.client.pool.replicas import Address
from moaa.client.request import Request
from moaa.client.target import Target
from moaa.conversation import Conversation

MAX_BODY_BYTES = 32 * 1024 * 1024
"""Of a response; far above any completion, far below what would hurt."""


ResultT = TypeVar("ResultT")


class Transport:
    """An HTTP session for one model's servers. Open it with `async with`."""

    def __init__(self, target: Target, *, policy: Policy) -> None:
        self._target = target
        self._policy = policy
        self._session: aiohttp.ClientSession | None = None
        self._proxy: str | None = None
        self.last_response = float("-inf")
        """When any replica last answered anything, by the loop's clock."""
        self.last_success = float("-inf")
        """When any replica last answered well: a reply, or a refusal that concerns one request only."""

    async def __aenter__(self) -> Self:
        headers = {name: value.get_secret_value() for name, value in self._target.headers.items()}
        if self._target.proxied and self._target.urls:
            self._proxy = await asyncio.to_thread(proxy_of, self._target.urls[0])
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),  # the pool's adaptive limits bound it
            timeout=aiohttp.ClientTimeout(total=self._policy.try_s, sock_connect=self._policy.connect_s),
            headers={"Content-Type": "application/json", **headers},
            # Not trust_env: aiohttp would read ~/.netrc for every request, send a login from there where no key is
            # declared, and refuse to send at all where one is.
            trust_env=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def send(
        self,
        address: Address,
        request: Request[ResultT],
        *,
        messages: Conversation,
        heard: Callable[[Mapping[str, str]], None] = lambda _: None,
    ) -> ResultT | Permanent | Retry:
        """Ask once. `messages` are the request's own, or folded for a model without a system role; `heard` gets the
        headers of the answer, whatever it is."""
        target = self._target
        asked = request.body(served_name=target.served_name, messages=messages, dialect=target.dialect)
        body, url = json.dumps(asked).encode(), request.address(address.url)
        outcome: ResultT | Permanent | Retry
        try:
            status, payload, headers = await self._exchange(address, url, body)
        except Exception as error:  # noqa: BLE001 - the retry boundary: is_retryable re-raises what is our mistake
            return is_retryable(error)
        now = asyncio.get_running_loop().time()
        heard(headers)
        if status == 200:
            outcome = request.read(payload)
        else:
            outcome = is_retryable(HttpFailure(status, payload.decode("utf-8", "replace"), headers.get("Retry-After")))
        if not isinstance(outcome, Retry):
            self.last_response = self.last_success = now
        elif outcome.trouble is not Trouble.DISCONNECTED:  # the last words of a dying server are no answer
            self.last_response = now
        return outcome

    async def _exchange(self, address: Address, url: str, body: bytes) -> tuple[int, bytes, Mapping[str, str]]:
        assert self._session is not None, "the pool is used inside `async with`"
        headers = {} if address.host is None else {"Host": address.host}
        async with self._session.post(
            url, data=body, headers=headers, allow_redirects=False, proxy=self._proxy
        ) as response:
            chunks: list[bytes] = []
            size = 0
            async for chunk in response.content.iter_any():
                size += len(chunk)
                if size > MAX_BODY_BYTES:
                    raise aiohttp.ClientPayloadError(f"the response is longer than {MAX_BODY_BYTES} bytes")
                chunks.append(chunk)
            return response.status, b"".join(chunks), response.headers


def proxy_of(url: str) -> str | None:
    """The proxy that the environment names for `url` (https_proxy, no_proxy, …), or None."""
    parts = urlsplit(url)
    proxy = None if proxy_bypass(parts.netloc.rpartition("@")[2]) else getproxies().get(parts.scheme)
    return f"http://{proxy}" if proxy and "://" not in proxy else proxy or None
