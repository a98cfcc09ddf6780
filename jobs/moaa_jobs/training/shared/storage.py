"""The store as Ray Train sees it: an Arrow file system and a path in it.

Where the store is, is settled as `moaa.store.objects.open` settles it: the resource, then the environment. Credentials
are never part of it: each process takes its own from the environment or the cloud.
"""

from typing import Literal
from urllib.parse import urlsplit

import pyarrow.fs as pafs

from moaa.api.file_uri import SCHEME, file_path
from moaa.api.resource import Storage
from moaa.store.objects.open import StoreSettings


def file_system(storage: Storage) -> tuple[pafs.FileSystem, str]:
    """The file system of the store, and the store's root in it without a trailing slash."""
    if storage.uri.startswith(SCHEME):
        return pafs.LocalFileSystem(), str(file_path(storage.uri))
    bucket, _, prefix = storage.uri.removeprefix("s3://").partition("/")
    root = f"{bucket}/{prefix.strip('/')}".rstrip("/")
    settings = StoreSettings()
    region, url = storage.region or settings.region, storage.endpoint or settings.endpoint
    if url is None:
        return pafs.S3FileSystem(region=region), root
    endpoint = urlsplit(url)
    scheme: Literal["http", "https"] = "http" if endpoint.scheme == "http" else "https"
    address = f"{endpoint.netloc}{endpoint.path}".rstrip("/")
    return pafs.S3FileSystem(region=region, endpoint_override=address, scheme=scheme), root
