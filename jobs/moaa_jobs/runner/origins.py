"""Origins of the resource's sources, with the secrets this process was given."""

from pydantic import SecretStr

from moaa.api.base import SecretKey
from moaa.api.resource import Storage
from moaa.data.origin import Origin, open_origin
from moaa.data.origin.buckets import Buckets
from moaa.errors import DataError
from moaa.weights.find import ModelWeights
from moaa_jobs.runner.settings import secret_value


class Origins:
    """Opens sources; connections to buckets are made on first use."""

    def __init__(self, storage: Storage) -> None:
        self._buckets = Buckets(storage)

    def open(self, uri: str, *, revision: str | None, secret: SecretKey | None, field: str) -> Origin:
        """The origin behind a URI. Raises DataError: the URI is malformed, or its secret was not given."""
        return open_origin(uri, revision=revision, token=_token(secret, field), s3=self._buckets.connect)

    async def close(self) -> None:
        await self._buckets.close()


def hub_token(weights: ModelWeights) -> SecretStr | None:
    """The token to bring these weights with. Raises DataError: one is declared and was not given."""
    return _token(weights.model.token_secret, f"spec.models {weights.model.name}") if weights.is_on_hub else None


def _token(secret: SecretKey | None, field: str) -> SecretStr | None:
    if secret is None:
        return None
    token = secret_value(secret)
    if token is None:
        raise DataError(f"{field}.tokenSecret: {secret.environment_variable} is not set; set it to the Hub token")
    return token
