"""Lines that a ledger has taken and the store does not hold yet, in a file on this machine.

The ledger flushes every few seconds. What came in since is in this file, written as it comes, so that a process that is
killed with -9 loses no answer it had received: the next attempt **on the same machine** takes the lines into the ledger
before it asks anything. The file is a help and never the truth. It is lost with the machine's disk (a pod's goes with
the pod), and nothing is synced, so a power cut may cost its end.

**A journal is read by the attempt it belongs to, and when its writer is gone.** The writer holds a lock on the file
that ends with its process, however that ends; a reader takes the lock or leaves the file alone. The first frame names
stage, shard and attempt with the digest of the attempt's claim. Claims are unique, so the journal of another store, of
a store that was emptied, or of another fingerprint never matches.

A frame is length and CRC-32 of its bytes, 32 bits each and little-endian, then the bytes: the header, then lines of the
ledger in the order in which they were recorded. Reading ends at the first frame that is not whole: what is read is a
prefix, so no answer comes without those it was built on.
"""

import asyncio
import errno
import fcntl
import logging
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from uuid import uuid4

from pydantic import BaseModel, ConfigDict

from moaa.errors import NotFound
from moaa.store.fencing import Token
from moaa.store.ledger.segments import Line, parse_line

log = logging.getLogger(__name__)

_FRAME = struct.Struct("<II")
_SUFFIX = ".lines"


class Header(BaseModel):
    """Whose lines follow."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    stage: str
    """The stage's path in its store."""
    shard: str
    attempt: int
    claim: str
    """`Token.claim_digest`."""


class Journal:
    """The lines of one attempt at a shard since its ledger's last flush.

    A disk that takes no more is told once and costs nothing but the help: lines are left out until the next flush.
    """

    def __init__(self, file: Path, fd: int, start: int) -> None:
        self._file = file
        self._fd = fd
        self._start = start
        """Bytes of the header's frame."""
        self._is_whole = True
        self._has_told = False

    @classmethod
    def create(cls, folder: Path, header: Header) -> "Journal | None":
        """A new journal in `folder`; None where the machine refuses one, which is logged."""
        file = folder / f"{header.shard}-{uuid4().hex}{_SUFFIX}"
        hidden = file.with_suffix(".new")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            fd = os.open(hidden, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND, 0o600)
            try:
                # Nobody looks at a file of this name, so nobody can take the lock before its writer.
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                start = _write(fd, header.model_dump_json().encode())
                hidden.rename(file)
            except OSError:
                os.close(fd)
                hidden.unlink(missing_ok=True)
                raise
        except OSError as error:
            _tell(header.shard, folder, error)
            return None
        return cls(file, fd, start)

    def add(self, line: bytes) -> None:
        """Keep a line until the next `clear`."""
        if not self._is_whole:
            return
        try:
            _write(self._fd, line)
        except OSError as error:
            self._give_up(error)

    def clear(self) -> None:
        """All lines are durable: forget them."""
        try:
            os.ftruncate(self._fd, self._start)
        except OSError as error:
            self._give_up(error)
        else:
            self._is_whole = True

    def remove(self) -> None:
        """Nothing is left to keep: let go of the file and delete it."""
        self._file.unlink(missing_ok=True)
        self.release()

    def release(self) -> None:
        """Let go of the file and leave it for a later attempt."""
        os.close(self._fd)

    def _give_up(self, error: OSError) -> None:
        # What came before stays readable; a line after one that is missing would be no prefix.
        self._is_whole = False
        if not self._has_told:
            self._has_told = True
            _tell(self._file.name.partition("-")[0], self._file.parent, error)


@dataclass(frozen=True)
class Left:
    """What an earlier attempt left, locked until `remove` or `release`."""

    file: Path
    fd: int
    header: Header
    lines: list[Line]
    dropped_bytes: int
    """At its end: a frame that a kill or a full disk cut short, and what follows it."""

    def remove(self) -> None:
        """Its lines are in the ledger."""
        self.file.unlink(missing_ok=True)
        self.release()

    def release(self) -> None:
        """Leave it for a later attempt."""
        os.close(self.fd)


async def begin(folder: Path, token: Token) -> Journal | None:
    """The journal of the token's attempt; None where the machine refuses one, which is logged.

    Raises:
        StoreError: the claim cannot be read.
    """
    header = Header(stage=token.stage_path, shard=token.shard, attempt=token.attempt, claim=await token.claim_digest())
    return Journal.create(folder, header)


async def left_behind(folder: Path, token: Token) -> list[Left]:
    """What earlier attempts at the token's shard left, by attempt. Other files are left alone: those whose writers
    live, and those of other stages, stores and releases.

    Raises:
        StoreError: claims cannot be read.
    """
    found = await asyncio.to_thread(_of_stage, folder, token)
    ours: list[Left] = []
    for number, left in enumerate(found):
        try:
            is_ours = await _is_of(left, token)
        except BaseException:
            for other in [*ours, *found[number:]]:
                other.release()
            raise
        if is_ours:
            ours.append(left)
        else:
            left.release()
    return ours


async def _is_of(left: Left, token: Token) -> bool:
    """Whether the attempt that wrote it is one of the token's store. Raises StoreError."""
    writer = Token(token.store, token.stage_path, token.shard, left.header.attempt)
    try:
        return await writer.claim_digest() == left.header.claim
    except NotFound:
        return False


def _of_stage(folder: Path, token: Token) -> list[Left]:
    found = []
    for file in sorted(folder.glob(f"{token.shard}-*{_SUFFIX}")):
        try:
            left = _locked(file)
        except OSError as error:
            log.warning("journal_not_read file=%s error=%s", file, error.strerror)
            continue
        if left is None:
            continue
        if left.header.stage == token.stage_path and left.header.shard == token.shard:
            found.append(left)
        else:
            left.release()
    return sorted(found, key=lambda left: left.header.attempt)


def _locked(file: Path) -> Left | None:
    """The file with its lock; None: its writer lives, it is gone, or it is no journal. Raises OSError."""
    fd = os.open(file, os.O_RDWR)
    left = None
    try:
        left = _read(file, fd)
    finally:
        if left is None:
            os.close(fd)
    return left


def _read(file: Path, fd: int) -> Left | None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        log.warning("journal_in_use file=%s; an earlier attempt still runs, its last answers may be asked again", file)
        return None
    if os.fstat(fd).st_nlink == 0:
        return None  # another reader was faster and has removed it
    body = file.read_bytes()
    frames = _frames(body)
    try:
        header = Header.model_validate_json(next(frames)[0])
    except (StopIteration, ValueError):
        log.warning("journal_not_known file=%s; no header of this release, its lines are left out", file)
        return None
    lines: list[Line] = []
    end = 0
    for frame, end_of_frame in frames:
        try:
            lines.append(parse_line(frame))
        except ValueError:
            break
        end = end_of_frame
    start = end or _FRAME.size + _FRAME.unpack_from(body)[0]
    return Left(file, fd, header, lines, dropped_bytes=len(body) - start)


def _frames(body: bytes) -> Iterator[tuple[bytes, int]]:
    """Every whole frame's bytes and where it ends, up to the first that is not whole."""
    at = 0
    while at + _FRAME.size <= len(body):
        length, checksum = _FRAME.unpack_from(body, at)
        at += _FRAME.size
        frame = body[at : at + length]
        # A disk that lost power shows zeros, which are the length and checksum of nothing.
        if not length or len(frame) < length or zlib.crc32(frame) != checksum:
            return
        at += length
        yield frame, at


def _write(fd: int, frame: bytes) -> int:
    """Write a frame; returns its bytes. Raises OSError: the disk took a part of it or nothing."""
    whole = _FRAME.pack(len(frame), zlib.crc32(frame)) + frame
    if os.write(fd, whole) < len(whole):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return len(whole)


def _tell(shard: str, folder: Path, error: OSError) -> None:
    log.warning(
        "answers_not_journaled shard=%s folder=%s error=%s; the work goes on, but a kill costs the answers since the "
        "last flush",
        shard,
        folder,
        error.strerror,
    )
