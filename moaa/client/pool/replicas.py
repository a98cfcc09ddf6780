"""A model's replicas: their addresses, and which of them gets the next request.

`choose` is pure. Requests of one row share a prefix (the question, earlier turns), so they go to the same replica,
where the prefix is cached, unless that replica is much busier than the idlest. The affinity is the row, not a hash of
the prompt's first characters: those are the same for every row where a template comes first.
"""

import asyncio
import hashlib
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from moaa.client.pool.limit import AdaptiveLimit

SLACK = 4
"""Requests by which the row's own replica may lead the idlest, on top of a factor of two."""
REST_S = 1.0
"""Seconds a replica that broke a connection gets nothing while others can take it."""


@dataclass(frozen=True)
class Address:
    """Where one replica listens."""

    url: str
    """Base URL up to /v1, the host as resolved."""
    host: str | None = None
    """Host header when `url` holds an address instead of the name."""


@dataclass
class Replica:
    address: Address
    limit: AdaptiveLimit
    in_flight: int = 0
    resting_until: float = field(default=0.0)

    @property
    def has_room(self) -> bool:
        return self.in_flight < self.limit.limit


def choose(replicas: Sequence[Replica], *, affinity: str, now: float) -> Replica | None:
    """The replica for the next request of row `affinity`, or None while all are full.

    Resting replicas are used only when every replica rests.
    """
    awake = [r for r in replicas if r.resting_until <= now] or list(replicas)
    free = [r for r in awake if r.has_room]
    if not free:
        return None
    if len(free) == 1:
        return free[0]
    idlest = min(free, key=lambda r: (r.in_flight, r.address.url))
    home = max(awake, key=lambda r: _weight(affinity, r.address.url))
    if home.has_room and home.in_flight <= 2 * idlest.in_flight + SLACK:
        return home
    return idlest


def _weight(affinity: str, url: str) -> bytes:
    """Rendezvous hashing: when a replica comes or goes, only its own rows move."""
    return hashlib.blake2b(f"{url} {affinity}".encode("utf-8", "surrogatepass"), digest_size=8).digest()


async def resolve(urls: Iterable[str]) -> list[Address]:
    """Every address behind the base URLs: one for each record of an http:// host name, in a fixed order.

    A headless Service answers with all its pods. https:// URLs stay as they are, since certificates name hosts.

    Raises:
        OSError: none of the names could be resolved; otherwise those that can are returned.
    """
    results = await asyncio.gather(*(_resolve_one(url) for url in urls), return_exceptions=True)
    addresses: list[Address] = []
    failure: OSError | None = None
    for result in results:
        if isinstance(result, OSError):
            failure = result
        elif isinstance(result, BaseException):
            raise result
        else:
            addresses += result
    if not addresses and failure is not None:
        raise failure
    return list(dict.fromkeys(addresses))


async def _resolve_one(url: str) -> list[Address]:
    parts = urlsplit(url)
    parts = parts._replace(path=parts.path.rstrip("/"))
    host = parts.hostname or ""
    if parts.scheme != "http" or _is_address(host):
        return [Address(parts.geturl())]
    port = parts.port or 80
    loop = asyncio.get_running_loop()
    records = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    families = {record[0] for record in records}
    # A dual-stack name lists every machine twice; one family is enough.
    family = socket.AF_INET if socket.AF_INET in families else socket.AF_INET6
    hosts = sorted({str(record[4][0]) for record in records if record[0] == family})
    return [Address(_with_host(parts, ip, port), f"{host}:{port}") for ip in hosts]


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _with_host(parts: SplitResult, ip: str, port: int) -> str:
    literal = f"[{ip}]" if ":" in ip else ip
    return parts._replace(netloc=f"{literal}:{port}").geturl()
