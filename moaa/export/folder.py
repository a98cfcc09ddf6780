"""The folder of an export: whole or absent, with a note of what it was taken from, and checked before it is pushed.

The note (`.moaa-export.json`) lets the same command go on after an interruption: a folder that holds what the run would
give now is not written again. The card may be edited by hand; nothing else may.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import yaml
from pydantic import BaseModel, ValidationError

from moaa.errors import StoreError, UsageError
from moaa.store.stages.folders import file_digest
from moaa.store.stages.partial import partial_folder

CARD = "README.md"
NOTE = ".moaa-export.json"
_SHOWN = 5
"""Names of files that an error lists."""

Fill = Callable[[Path], Awaitable[None]]


class Note(BaseModel, extra="forbid", frozen=True):
    """What a folder was taken from."""

    source: str
    """Digest of the weights, or of the stages whose rows it has."""
    files: Mapping[str, str]
    """sha256 by relative name, the card's as MoAA wrote it."""


def require_free(target: Path) -> None:
    """Raises UsageError: there is something at `target` that is no export."""
    if is_export(target) or (target.is_dir() and not any(target.iterdir())):
        return
    if target.exists() or target.is_symlink():
        raise UsageError(f"{target}: is there already, and nothing is written over; name a folder that is not there")


def is_export(target: Path) -> bool:
    return (target / NOTE).is_file()


async def filled(target: Path, source: str, fill: Fill) -> None:
    """`target` as `fill` leaves it, and the note; it is whole or absent at every instant.

    Raises:
        UsageError: `target` holds something.
        StoreError: the disk does not take it.
    """
    require_free(target)
    try:
        async with partial_folder(target) as partial:
            await fill(partial)
            await asyncio.to_thread(_put_note, partial, source)
            await asyncio.to_thread(partial.replace, target)
    except OSError as error:
        raise _disk(target, error) from error


def renew_card(target: Path, source: str, card: Callable[[], str]) -> bool:
    """Check an export that is there, and give it the card of now unless its own was edited; True: it was.

    Raises:
        UsageError: it was taken from something else, or other files of it are gone or were changed.
        StoreError: it cannot be read or written.
    """
    try:
        note = Note.model_validate_json((target / NOTE).read_bytes())
        if note.source != source:
            raise UsageError(
                f"{target}: holds an export of something else, perhaps of an earlier state of this run; name a folder "
                "that is not there"
            )
        found = {name: file_digest(target / name) for name in contents(target)}
        harmed = [name for name, sha256 in note.files.items() if name != CARD and found.get(name) != sha256]
        if harmed:
            more = f" and {len(harmed) - _SHOWN} more" if len(harmed) > _SHOWN else ""
            raise UsageError(
                f"{target}: no longer what was exported: {', '.join(harmed[:_SHOWN])}{more}; remove the folder, then "
                "export it again"
            )
        if CARD in found and found[CARD] != note.files.get(CARD):
            return True
        (target / CARD).write_text(card(), encoding="utf-8")
        _put_note(target, source, {**note.files, CARD: file_digest(target / CARD)})
        return False
    except (ValidationError, OSError) as error:
        raise StoreError(f"{target}: its note {NOTE} or its files cannot be read: {error}; remove the folder, then "
                         "export it again") from error  # fmt: skip


def card_metadata(folder: Path) -> Mapping[str, object]:
    """What the card says to programs. Raises UsageError: it has been edited and cannot be read."""
    remedy = "put them between two lines of --- at its top"
    parts = (folder / CARD).read_text(encoding="utf-8").split("---\n", 2)
    try:
        found = yaml.safe_load(parts[1]) if len(parts) == 3 and not parts[0] else None
    except yaml.YAMLError as error:
        raise UsageError(f"{folder / CARD}: its metadata are no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict):
        raise UsageError(f"{folder / CARD}: has no metadata; {remedy}")
    return found


def contents(folder: Path) -> list[str]:
    """Relative names of all files but hidden ones, sorted. Raises OSError: the folder cannot be read."""

    def refuse(error: OSError) -> None:
        raise error

    names: list[str] = []
    for where, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        names += [(Path(where) / name).relative_to(folder).as_posix() for name in files if not name.startswith(".")]
    return sorted(names)


def _put_note(folder: Path, source: str, files: Mapping[str, str] | None = None) -> None:
    if files is None:
        files = {name: file_digest(folder / name) for name in contents(folder)}
    (folder / NOTE).write_text(Note(source=source, files=files).model_dump_json(indent=1), encoding="utf-8")


def _disk(target: Path, error: OSError) -> StoreError:
    return StoreError(f"{target}: {error.strerror or error}; mend it, then start again")
