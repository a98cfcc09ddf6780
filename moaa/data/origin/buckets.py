"""Buckets of s3:// sources, reached with the run's own endpoint and credentials."""

from typing import TYPE_CHECKING

from moaa.api.resource import Storage
from moaa.store.objects.open import StoreSettings

if TYPE_CHECKING:
    from moaa.store.objects.s3_requests import Requests


class Buckets:
    """Connects on first use; close it afterwards."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._open: dict[str, Requests] = {}

    def connect(self, bucket: str) -> "Requests":
        from moaa.store.objects.s3_requests import Requests, S3Account, S3Limits, connect

        if bucket not in self._open:
            settings = StoreSettings()
            account = S3Account(
                endpoint=self._storage.endpoint or settings.endpoint,
                region=self._storage.region or settings.region,
                access_key_id=settings.access_key_id,
                secret_access_key=settings.secret_access_key,
                session_token=settings.session_token,
            )
            limits = S3Limits()
            self._open[bucket] = Requests(connect(account, limits), bucket, limits)
        return self._open[bucket]

    async def close(self) -> None:
        for requests in self._open.values():
            await requests.close()
