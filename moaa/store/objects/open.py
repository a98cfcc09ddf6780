"""From `spec.storage` and the environment to a store. The only place that knows which stores exist."""

from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from moaa.api.file_uri import SCHEME, file_path
from moaa.api.resource import Storage
from moaa.errors import StoreError
from moaa.store.objects.base import Store
from moaa.store.objects.directory import DirectoryStore


class StoreSettings(BaseSettings):
    """Settings of S3 in the environment, under the names that every AWS tool uses. Nothing is needed with a cloud
    identity (pod identity, web identity, instance role), a profile or another source that boto3 finds by itself."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_ignore_empty=True, use_attribute_docstrings=True, populate_by_name=True
    )

    access_key_id: SecretStr | None = Field(default=None, validation_alias="AWS_ACCESS_KEY_ID")
    secret_access_key: SecretStr | None = Field(default=None, validation_alias="AWS_SECRET_ACCESS_KEY")
    session_token: SecretStr | None = Field(default=None, validation_alias="AWS_SESSION_TOKEN")
    endpoint: str | None = Field(default=None, validation_alias=AliasChoices("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"))
    """Used when `spec.storage.endpoint` is absent."""
    region: str | None = Field(default=None, validation_alias=AliasChoices("AWS_REGION", "AWS_DEFAULT_REGION"))
    """Used when `spec.storage.region` is absent."""


def open_store(storage: Storage, settings: StoreSettings | None = None) -> Store:
    """The store that `spec.storage` names; `settings` are read from the environment when not given.

    Sends no request yet; `moaa.store.objects.preflight` does.

    Raises:
        StoreError: the keys are incomplete, or boto3 is not installed.
    """
    if storage.uri.startswith(SCHEME):
        store = DirectoryStore(file_path(storage.uri))
        store.prepare()
        return store
    return _open_s3(storage, settings or StoreSettings())


def _open_s3(storage: Storage, settings: StoreSettings) -> Store:
    try:
        from moaa.store.objects.s3 import S3Store
        from moaa.store.objects.s3_requests import S3Account
    except ModuleNotFoundError as error:
        raise StoreError(
            f"spec.storage.uri {storage.uri}: S3 needs {error.name}, which is not installed; install moaa[data]"
        ) from error
    given = {
        "AWS_ACCESS_KEY_ID": settings.access_key_id,
        "AWS_SECRET_ACCESS_KEY": settings.secret_access_key,
    }
    missing = [name for name, value in given.items() if value is None]
    if len(missing) == 1:
        raise StoreError(
            f"spec.storage.secret: {missing[0]} is not set although its partner is; set both in the environment (a "
            "Secret needs both keys), or neither to use a cloud identity"
        )
    account = S3Account(
        endpoint=storage.endpoint or settings.endpoint,
        region=storage.region or settings.region,
        access_key_id=settings.access_key_id,
        secret_access_key=settings.secret_access_key,
        session_token=settings.session_token,
    )
    return S3Store.connect(storage.uri, account)
