"""`moaa view`: what a store holds as read-only web pages, until Ctrl-C."""

import argparse
import asyncio
import signal
from typing import TYPE_CHECKING

from moaa.cli.common import EXIT_OK, say
from moaa.errors import UsageError

if TYPE_CHECKING:
    from moaa.api import MoAA
    from moaa.api.resource import Storage

WHERE = "a MoAA resource, or a store: a folder, file://… or s3://bucket/prefix"


def view(options: argparse.Namespace) -> int:
    """Raises UsageError: what is given is neither a file nor a store, or the address cannot be had."""
    from pathlib import Path

    from moaa.api.reading.load import load
    from moaa.run.records import LOCAL_UID, run_id

    storage = store_of(options.where)
    given: dict[str, MoAA] = {}
    if storage is None:
        resource = load(Path(options.where))
        storage, given = resource.spec.storage, {run_id(resource, uid=options.uid or LOCAL_UID): resource}
    elif options.uid is not None:
        raise UsageError("--uid says which run of a resource's file is meant; give the file in place of the store")
    asyncio.run(_serve(storage, given, options))
    return EXIT_OK


def store_of(where: str) -> "Storage | None":
    """The store that is named; None: it is a file, a resource then.

    Raises:
        UsageError: there is nothing by that name, or a folder that holds no runs.
    """
    from pathlib import Path

    from moaa.api.file_uri import SCHEME, file_path, file_uri

    if where.startswith("s3://"):
        return _storage(where)
    path = file_path(where) if where.startswith(SCHEME) else Path(where)
    try:
        is_file, is_folder = path.is_file(), path.is_dir()
    except OSError as error:  # a name that is too long
        raise UsageError(f"{where}: cannot be read: {error.strerror}; give {WHERE}") from error
    if is_file and not where.startswith(SCHEME):
        return None
    if not is_folder:
        raise UsageError(f"{where}: there is nothing by that name; give {WHERE}")
    if not any((path / name).is_dir() for name in ("runs", "stages")):
        raise UsageError(f"{where}: holds neither runs nor stages; give the folder that spec.storage.uri names")
    return _storage(file_uri(path.resolve()))


def _storage(uri: str) -> "Storage":
    """Raises UsageError: it is no address of a store."""
    from pydantic import ValidationError

    from moaa.api.resource import Storage

    try:
        return Storage(uri=uri)
    except ValidationError as error:
        raise UsageError(f"{uri}: {error.errors()[0]['msg']}") from error


async def _serve(storage: "Storage", given: "dict[str, MoAA]", options: argparse.Namespace) -> None:
    from moaa.store.objects.open import open_store
    from moaa.view.server import is_local, serve
    from moaa.view.site import Site

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    store = open_store(storage)
    try:
        site = Site(store, given)
        runner, address = await serve(site, host=options.host, port=options.port, hosts=options.allow_host)
        if not is_local(options.host):
            say(f"moaa: everybody who reaches {options.host} reads all that the store holds; there is no login")
        say(f"{address}  (Ctrl-C ends it)")
        ahead = asyncio.create_task(site.read_ahead())
        try:
            await stop.wait()
        finally:
            ahead.cancel()
            await runner.cleanup()
    finally:
        await store.close()
