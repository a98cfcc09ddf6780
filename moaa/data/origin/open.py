"""A URI to its origin."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr

from moaa.data.origin.base import Origin
from moaa.data.origin.local import LocalOrigin
from moaa.errors import DataError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

S3ClientFactory = Callable[[], "S3Client"]


def open_origin(uri: str, *, revision: str | None, token: SecretStr | None, s3: S3ClientFactory) -> Origin:
    """The origin of an hf://, s3:// or file:// URI. `s3` makes the client, with the store's endpoint and credentials.

    Raises:
        DataError: the scheme is unknown or the URI lacks a part.
    """
    match uri.partition("://")[0]:
        case "file":
            path = uri.removeprefix("file://")
            if not path.startswith("/"):
                raise DataError(f"{uri}: must name an absolute path; write three slashes, as in file:///folder/file.jsonl")
            return LocalOrigin(uri, Path(path))
        case "s3":
            from moaa.data.origin.s3 import S3Origin

            return S3Origin(uri, s3())
        case "hf":
            from moaa.data.origin.hub import HubOrigin

            return HubOrigin(uri, revision=revision, token=token)
    raise DataError(f"{uri}: only hf://, s3:// and file:// are read")
