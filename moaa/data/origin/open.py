"""A URI to its origin."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from pydantic import SecretStr

from moaa.api.file_uri import file_path
from moaa.data.origin.base import Origin
from moaa.data.origin.local import LocalOrigin
from moaa.errors import DataError

if TYPE_CHECKING:
    from moaa.store.objects.s3_requests import Requests

S3Connect = Callable[[str], "Requests"]
"""Requests to the bucket of that name."""


def open_origin(uri: str, *, revision: str | None, token: SecretStr | None, s3: S3Connect) -> Origin:
    """The origin of an hf://, s3:// or file:// URI. `s3` connects with the store's endpoint and credentials.

    Raises:
        DataError: the scheme is unknown or the URI lacks a part.
    """
    match uri.partition("://")[0]:
        case "file":
            path = file_path(uri)
            if not path.is_absolute():
                raise DataError(
                    f"{uri}: must name an absolute path; write three slashes, as in file:///folder/file.jsonl"
                )
            return LocalOrigin(uri, path)
        case "s3":
            from moaa.data.origin.s3 import S3Origin

            return S3Origin(uri, s3)
        case "hf":
            from moaa.data.origin.hub import HubOrigin

            return HubOrigin(uri, revision=revision, token=token)
    raise DataError(f"{uri}: only hf://, s3:// and file:// are read")
