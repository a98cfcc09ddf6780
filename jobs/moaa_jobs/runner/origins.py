"""Origins of the resource's sources, with the secrets this process was given."""

from typing import TYPE_CHECKING

from pydantic import SecretStr

from moaa.api.base import SecretKey
from moaa.api.resource import Storage
from moaa.data.origin import Origin, open_origin
from moaa.errors import DataError
from moaa.store.objects.open import StoreSettings
from moaa_jobs.runner.settings import secret_value

if TYPE_CHECKING:
    from moaa.store.objects.s3_requests import Requests


class Origins:
    """Opens sources. s3:// is asked for with the run's own endpoint and credentials; clients are made on first use."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._buckets: dict[str, Requests] = {}

    def open(self, uri: str, *, revision: str | None, secret: SecretKey | None, field: str) -> Origin:
        """The origin behind a URI. Raises DataError: the URI is malformed, or its secret was not given."""
        return open_origin(uri, revision=revision, token=_token(secret, field), s3=self._connect)

    async def close(self) -> None:
        for requests in self._buckets.values():
            await requests.close()

    def _connect(self, bucket: str) -> "Requests":
        from moaa.store.objects.s3_requests import Requests, S3Account, S3Limits, connect

        if bucket not in self._buckets:
            settings = StoreSettings()
            account = S3Account(
                endpoint=self._storage.endpoint or settings.endpoint,
                region=self._storage.region or settings.region,
                access_key_id=settings.access_key_id,
                secret_access_key=settings.secret_access_key,
                session_token=settings.session_token,
            )
            limits = S3Limits()
            self._buckets[bucket] = Requests(connect(account, limits), bucket, limits)
        return self._buckets[bucket]


def _token(secret: SecretKey | None, field: str) -> SecretStr | None:
    if secret is None:
        return None
    token = secret_value(secret)
    if token is None:
        raise DataError(f"{field}.tokenSecret: {secret.environment_variable} is not set; set it to the Hub token")
    return token
