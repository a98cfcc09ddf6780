"""The store as Ray Train sees it: an Arrow file system and a path in it.

Built explicitly, so that driver, controller and workers agree whatever is in their environment. Credentials are never
part of it: each process takes its own from the environment or the cloud.
"""

from typing import Literal
from urllib.parse import urlsplit

import pyarrow.fs as pafs

from moaa.api.resource import Storage


def file_system(storage: Storage) -> tuple[pafs.FileSystem, str]:
    """The file system of the store, and the store's root in it without a trailing slash."""
    parts = urlsplit(storage.uri)
    if parts.scheme == "file":
        return pafs.LocalFileSystem(), parts.path.rstrip("/")
    root = f"{parts.netloc}{parts.path}".rstrip("/")
    if storage.endpoint is None:
        return pafs.S3FileSystem(region=storage.region), root
    endpoint = urlsplit(storage.endpoint)
    scheme: Literal["http", "https"] = "http" if endpoint.scheme == "http" else "https"
    return pafs.S3FileSystem(region=storage.region, endpoint_override=endpoint.netloc, scheme=scheme), root
