"""How a model is reached: addresses, the name it is served under, and the key."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pydantic import SecretStr

from moaa.api.models import Model, ModelKind, Parameter
from moaa.client.request import NAMES, PLAIN, Dialect

START_CONCURRENCY = 32
"""Of endpoints of others, which may hold one server or a thousand."""


@dataclass(frozen=True)
class Target:
    """One model behind an OpenAI-compatible API."""

    model: str
    """Name in the resource, or `@stage` of a student."""
    urls: tuple[str, ...]
    """Base URLs up to /v1; an http:// host name stands for every address behind it. Empty: it is not served now."""
    served_name: str
    """The `model` field of requests."""
    max_concurrency: int
    """Most requests in flight at one address."""
    start_concurrency: int | None = None
    """Those it starts with, growing while that brings more answers a second; None: `max_concurrency`."""
    headers: Mapping[str, SecretStr] = field(default_factory=dict, repr=False)
    """Of every request, the key among them."""
    dialect: Dialect = PLAIN
    startup_s: float | None = None
    """Seconds in which a server of ours has to come up, again too if it dies; None: an endpoint of others."""
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    """Both are what this process may use; None: no limit is stated."""
    proxied: bool = False
    """Whether proxies of the environment apply: for endpoints of others, never for servers of ours."""
    kind: ModelKind = ModelKind.CHAT

    def masked(self, message: str) -> str:
        """`message` without what the headers hold, should a server echo it, and without what looks like a key."""
        for header in self.headers.values():
            for secret in {header.get_secret_value(), header.get_secret_value().removeprefix("Bearer ")}:
                message = message.replace(secret, "***") if len(secret) >= _LEAST_SECRET else message
        return _KEY_LIKE.sub("***", message)


_LEAST_SECRET = 4
"""Characters; a header that says `1` hides nothing, and replacing it would make words unreadable."""
_KEY_LIKE = re.compile(r"\b(?:sk|pk|gsk|xai|hf|r8|nvapi|AIza)[-_]?[A-Za-z0-9_*-]{16,}|(?<=Bearer )[^\s\"',;]{8,}")


def bearer(key: SecretStr) -> SecretStr:
    """The value of an Authorization header."""
    return SecretStr(f"Bearer {key.get_secret_value()}")


def target_of(
    model: Model,
    *,
    urls: Iterable[str] = (),
    served_name: str | None = None,
    headers: Mapping[str, SecretStr] | None = None,
    pods: int = 1,
) -> Target:
    """How a declared model is reached: its own endpoint with `headers`, or the `urls` at which we serve it. `pods`
    share an endpoint's limits."""
    dialect = dialect_of(model)
    if model.endpoint is not None:
        endpoint = model.endpoint
        return Target(
            model.name,
            (endpoint.url,),
            endpoint.model,
            endpoint.max_concurrency,
            START_CONCURRENCY,
            headers=headers or {},
            dialect=dialect,
            requests_per_minute=_part(endpoint.requests_per_minute, pods),
            tokens_per_minute=_part(endpoint.tokens_per_minute, pods),
            proxied=True,
            kind=model.kind,
        )
    serving = model.serving
    startup_s = 60.0 * serving.startup_minutes
    return Target(
        model.name,
        tuple(urls),
        served_name or model.name,
        serving.max_concurrency,
        dialect=dialect,
        startup_s=startup_s,
        kind=model.kind,
    )


def _part(limit: int | None, pods: int) -> float | None:
    return None if limit is None else limit / pods


def dialect_of(model: Model) -> Dialect:
    """Which parameters a declared model's server gets in every request, and under which names."""
    extra = model.extra_body
    if model.endpoint is None:
        return Dialect(extra=extra, goes_on=True)
    omit, given = model.endpoint.omit, model.endpoint.names
    named = {
        Parameter.TEMPERATURE: given.temperature,
        Parameter.TOP_P: given.top_p,
        Parameter.MAX_TOKENS: given.max_tokens,
        Parameter.SEED: given.seed,
    }
    names = {parameter: named[parameter] or name for parameter, name in NAMES.items() if parameter not in omit}
    may_be_one = (Parameter.TEMPERATURE, Parameter.TOP_P)
    return Dialect(names, frozenset(p for p in may_be_one if named[p] is None), extra)
