"""How a model is reached: addresses, the name it is served under, and the key."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from pydantic import SecretStr

from moaa.api.models import Model


@dataclass(frozen=True)
class Target:
    """One model behind an OpenAI-compatible API."""

    model: str
    """Name in the resource, or `@stage` of a student."""
    urls: tuple[str, ...]
    """Base URLs up to /v1; an http:// host name stands for every address behind it. Empty: nobody serves it."""
    served_name: str
    """The `model` field of requests."""
    max_concurrency: int
    """Most requests in flight at one address."""
    api_key: SecretStr | None = field(default=None, repr=False)
    startup_s: float | None = None
    """Seconds in which a server of ours has to come up, again too if it dies; None: an endpoint of others."""
    proxied: bool = False
    """Whether proxies of the environment apply: for endpoints of others, never for servers of ours."""

    def masked(self, message: str) -> str:
        """`message` without the key, should a server echo it."""
        secret = self.api_key.get_secret_value() if self.api_key is not None else ""
        return message.replace(secret, "***") if secret else message


def target_of(
    model: Model, *, urls: Iterable[str] = (), served_name: str | None = None, api_key: SecretStr | None = None
) -> Target:
    """How a declared model is reached: its own endpoint, or the `urls` at which we serve it."""
    if model.endpoint is not None:
        endpoint = model.endpoint
        return Target(
            model.name, (endpoint.url,), endpoint.model, endpoint.max_concurrency, api_key=api_key, proxied=True
        )
    serving = model.serving
    startup_s = 60.0 * serving.startup_minutes
    return Target(model.name, tuple(urls), served_name or model.name, serving.max_concurrency, startup_s=startup_s)
