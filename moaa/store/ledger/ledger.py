"""The ledger: every finished model call of one shard. No call whose answer is durable is made again.

**What survives a kill is closed under dependency.** Records are written in the order in which they were made, one
segment after the other, and a call is recorded before a call that read its answer is sent. Whatever was durable is
therefore a prefix: no answer is there without those it was built on.

**Once read, an answer stays.** A chain (`moaa.store.ledger.segments`) belongs to one fingerprint. Opening it for a new
attempt first puts an empty segment under the next number; from then on an earlier attempt cannot add to the chain,
because the number it would write is taken, and it learns that it is fenced. An answer found in another fingerprint's
chain is pinned in this one; a failure there does not count here, the call is made again. So a later attempt reads
exactly the answers this one used, and the same ledger gives the same rows. A published shard agrees with it because a
worker publishes only after `close`.

**A killed process** loses nothing it had received, as long as the next attempt runs on the same machine: what is not
flushed yet is in a journal (`moaa.store.ledger.journal`). Opening takes it in between the own chain, whose outcomes
stay, and the others, and makes it durable before anything can be looked up.

**Bounds.** Text lies in an unnamed temporary file and is read on demand; memory holds 16 bytes of digest and a place
for each entry. Buffered lines are flushed at `flush_bytes`, after `flush_s`, or when they cost enough (`Worth`). Beyond
`max_buffer_bytes` the recording worker waits for the store. A store that fails `max_failed_flushes` times in a row ends
the work.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import uuid4

from moaa.errors import AlreadyExists, Fenced, NotFound, StoreError
from moaa.store.fencing import Token, chain_of
from moaa.store.ledger.call_index import CallIndex
from moaa.store.ledger.compaction import choose_run, delete_superfluous, list_segments, merge
from moaa.store.ledger.journal import Journal, Left, begin, left_behind
from moaa.store.ledger.segments import (
    Entry,
    Line,
    Pin,
    Segment,
    call_digest,
    decode_segment,
    encode_segment,
    readable_order,
    segment_key,
)
from moaa.store.objects.base import Store
from moaa.store.objects.tasks import map_bounded

log = logging.getLogger(__name__)

_LOAD_AHEAD = 4
"""Segments fetched at once while loading; each is at most a few tens of MiB."""
_LOAD_TRIES = 5
"""A load starts over when a compaction removed what it had listed."""


Worth = Callable[[Entry], float]
"""What an answer cost, as a part of what a flush should save at most: at a sum of 1 the ledger flushes."""


def no_worth(_: Entry) -> float:
    """Bytes and time alone say when to flush."""
    return 0.0


@dataclass(frozen=True)
class LedgerLimits:
    """When the ledger writes, and how many failures of the store it bears."""

    flush_bytes: int = 4 * 1024 * 1024
    """Of lines before compression."""
    flush_s: float = 10.0
    max_buffer_bytes: int = 32 * 1024 * 1024
    max_failed_flushes: int = 5
    max_segments: int = 64
    """A chain longer than this is compacted."""
    max_merged_bytes: int = 16 * 1024 * 1024
    """Compressed size up to which segments are merged."""


class Ledger:
    """One shard's ledger, open for reading and for appending under a fencing token.

    Use it as `async with await Ledger.load(...) as ledger:`; leaving the block closes it.
    """

    def __init__(
        self, store: Store, folder: str, token: Token, limits: LedgerLimits, journals: Path | None, worth: Worth
    ) -> None:
        self._store = store
        self._folder = folder
        self._token = token
        self._limits = limits
        self._chain = chain_of(token.stage_path)
        self._writer = uuid4().hex
        self._segments: list[Segment] = []
        self._calls = CallIndex(self._chain)
        self._journals = journals
        self._journal: Journal | None = None
        self._worth = worth
        self._buffer: list[bytes] = []
        self._buffered_bytes = 0
        self._buffered_worth = 0.0
        self._unconfirmed: tuple[int, bytes] | None = None
        self._lock = asyncio.Lock()
        self._wake = asyncio.Event()
        self._flusher: asyncio.Task[None] | None = None
        self._fenced: Fenced | None = None

    @classmethod
    async def load(
        cls,
        store: Store,
        ledger_path: str,
        token: Token,
        *,
        limits: LedgerLimits | None = None,
        journals: Path | None = None,
        worth: Worth = no_worth,
    ) -> "Ledger":
        """Read the shard's ledger and seal it against earlier attempts; the shard is the token's. `journals` is a
        folder of this machine for what is not durable yet; None keeps none.

        Raises:
            Fenced: a later attempt sealed it first.
            StoreError: the store fails, or a segment is damaged; names the object.
        """
        ledger = cls(store, f"{ledger_path}/{token.shard}", token, limits or LedgerLimits(), journals, worth)
        try:
            await ledger._open()
            if journals is not None:
                ledger._journal = await begin(journals, token)
        except BaseException:
            ledger._calls.close()
            raise
        ledger._flusher = asyncio.create_task(ledger._flush_regularly())
        return ledger

    def __len__(self) -> int:
        """Calls whose outcome can be looked up."""
        return len(self._calls)

    async def lookup(self, row: str, path: str, request_hash: str) -> Entry | None:
        """The recorded outcome of exactly this call, or None when it has to be made.

        `Entry.reused` tells that another fingerprint made it, which is then an answer and never a failure; the choice
        is recorded, so that it is repeated.

        Raises:
            StoreError: an earlier flush failed for good (Fenced: a later attempt took over).
        """
        self._raise_error()
        call = call_digest(row, path, request_hash)
        found = self._calls.find(call)
        if found is None:
            return None
        line, chain = found
        entry = Entry.model_validate_json(line)
        if chain == self._chain:
            return entry
        if self._calls.pin(call, chain):
            pin = Pin(row=row, path=path, key=request_hash, chain=chain)
            await self._append(pin.model_dump_json().encode(), worth=0.0)
        return entry.model_copy(update={"reused": True})

    async def record(self, entry: Entry) -> None:
        """Add a finished call. Durable after the next flush; the first record of a call counts, later ones are dropped.

        Raises:
            StoreError: an earlier flush failed for good (Fenced: a later attempt took over).
        """
        self._raise_error()
        line = entry.model_dump_json(exclude_defaults=True).encode()
        if self._calls.add(call_digest(entry.row, entry.path, entry.key), line):
            await self._append(line, worth=self._worth(entry))

    async def flush(self) -> None:
        """Return when everything recorded before the call is durable.

        Raises:
            Fenced: a later attempt took over; what was not durable before is lost to this process.
            StoreError: the store fails; the lines stay buffered and the next flush tries them again.
        """
        async with self._lock:
            self._raise_error()
            try:
                while self._buffer or self._unconfirmed:
                    await self._write_next()
                # Nothing is awaited since the buffer was empty, so the journal holds nothing that is not durable.
                if self._journal is not None:
                    self._journal.clear()
                await self._compact()
            except Fenced as fenced:
                self._fenced = fenced
                raise

    async def close(self) -> None:
        """Flush and let go. A shard may be published only after this returned.

        Raises:
            StoreError: as `flush`.
        """
        if self._flusher is not None:
            self._flusher.cancel()
            await asyncio.wait({self._flusher})
            if self._flusher.cancelled():
                self._flusher = None  # its traceback would keep this ledger, index and all, until a full collection
        journal, self._journal = self._journal, None
        try:
            await self.flush()
        except BaseException:
            if journal is not None:
                journal.release()  # for the next attempt, which finds in it what could not be flushed
            raise
        else:
            if journal is not None:
                journal.remove()
        finally:
            self._calls.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.close()
        except StoreError as second:
            if error is None:
                raise
            # The work has failed already and its error says more; what could not be flushed is called again.
            log.warning("ledger_flush_failed shard=%s error=%s", self._token.shard, second)

    # Loading

    async def _open(self) -> None:
        left = [] if self._journals is None else await left_behind(self._journals, self._token)
        try:
            await self._read_and_seal(left)
            await self.flush()
        except BaseException:
            for journal in left:
                journal.release()
            raise
        for journal in left:
            journal.remove()

    async def _read_and_seal(self, left: Sequence[Left]) -> None:
        for _ in range(_LOAD_TRIES):
            try:
                taken = await self._read_all(left)
                await self._seal()
            except (NotFound, AlreadyExists):
                # Between listing and reading, the chain was compacted, or an earlier attempt wrote a last segment
                # before our seal. Either way the chain is not what was read.
                continue
            self._buffer, self._buffered_bytes = taken, sum(map(len, taken))
            return
        raise StoreError(
            f"{self._folder}: the ledger changed while it was opened, {_LOAD_TRIES} times in a row; make sure that one "
            "executor runs this stage and that nothing else deletes objects there"
        )

    async def _read_all(self, left: Sequence[Left]) -> list[bytes]:
        """Fill the index; returns the lines of journals that the chain lacks."""
        self._calls.clear()
        chains: dict[str, list[Segment]] = {self._chain: []}
        for segment in await list_segments(self._store, f"{self._folder}/"):
            chains.setdefault(segment.chain, []).append(segment)
        self._segments = readable_order(chains.pop(self._chain))
        await self._read(self._segments)
        taken = [line.raw for journal in left for line in self._take(journal)]
        for chain in sorted(chains):
            await self._read(readable_order(chains[chain]))
        return taken

    def _take(self, journal: Left) -> list[Line]:
        new = [line for line in journal.lines if self._calls.take(line)]
        log.info(
            "answers_recovered shard=%s attempt=%d lines=%d new=%d dropped_bytes=%d",
            self._token.shard,
            journal.header.attempt,
            len(journal.lines),
            len(new),
            journal.dropped_bytes,
        )
        return new

    async def _read(self, segments: Sequence[Segment]) -> None:
        for start in range(0, len(segments), _LOAD_AHEAD):
            batch = segments[start : start + _LOAD_AHEAD]
            bodies = await map_bounded([segment.key for segment in batch], self._store.get, at_once=_LOAD_AHEAD)
            for segment, body in zip(batch, bodies, strict=True):
                for line in await asyncio.to_thread(decode_segment, segment.key, body):
                    self._calls.remember(segment.chain, line)

    async def _seal(self) -> None:
        """Take the next number, so that no earlier attempt can. Raises AlreadyExists: one was faster."""
        await self._token.check()
        number = self._following
        body = encode_segment(self._header(number), [])
        key = segment_key(self._folder, self._chain, number, number)
        await self._store.put_if_absent(key, body)
        self._segments.append(Segment(key, self._chain, number, number, len(body)))

    # Writing

    @property
    def _following(self) -> int:
        return self._segments[-1].last + 1 if self._segments else 0

    def _header(self, number: int) -> dict[str, object]:
        return {"format": 1, "attempt": self._token.attempt, "number": number, "writer": self._writer}

    async def _append(self, line: bytes, *, worth: float) -> None:
        if self._journal is not None:
            self._journal.add(line)
        self._buffer.append(line)
        self._buffered_bytes += len(line)
        self._buffered_worth += worth
        if self._buffered_bytes >= self._limits.max_buffer_bytes:
            await self.flush()
        elif self._buffered_bytes >= self._limits.flush_bytes or self._buffered_worth >= 1:
            self._wake.set()

    async def _write_next(self) -> None:
        """Put the unconfirmed segment of a failed flush, or a new one of all that is buffered."""
        await self._token.check()
        if self._unconfirmed is None:
            number, lines = self._following, list(self._buffer)
            body = await asyncio.to_thread(encode_segment, self._header(number), lines)
            # From the buffer to the segment without an await between, so that a cancelled flush loses nothing.
            del self._buffer[: len(lines)]
            self._buffered_bytes -= sum(map(len, lines))
            self._buffered_worth = 0.0
            self._unconfirmed = number, body
        number, body = self._unconfirmed
        key = segment_key(self._folder, self._chain, number, number)
        try:
            await self._store.put_if_absent(key, body)
        except AlreadyExists as error:
            # Ours, if an earlier try was given up although it had arrived: the header is unique.
            if await self._store.get(key) != body:
                raise Fenced(f"{key}: written by a later attempt; this process stops") from error
        self._segments.append(Segment(key, self._chain, number, number, len(body)))
        self._unconfirmed = None

    async def _compact(self) -> None:
        """Shorten a long chain. A failure is put off to a later flush: the chain is as readable as before."""
        if len(self._segments) <= self._limits.max_segments:
            return
        try:
            await self._token.check()
            # Listed again: an earlier attempt's last compaction may have removed what is remembered here.
            listed = await list_segments(self._store, f"{self._folder}/{self._chain}-")
            self._segments = readable_order(listed)
            run = choose_run(self._segments, self._limits.max_merged_bytes)
            if run is not None:
                self._segments = await merge(self._store, self._folder, self._segments, run, self._writer)
                await delete_superfluous(self._store, listed, self._segments)
        except Fenced:
            raise
        except StoreError as error:
            log.warning("ledger_not_compacted shard=%s error=%s", self._token.shard, error)

    async def _flush_regularly(self) -> None:
        failed = 0
        while True:
            try:
                async with asyncio.timeout(self._limits.flush_s):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            try:
                await self.flush()
                failed = 0
            except StoreError as error:
                failed += 1
                if isinstance(error, Fenced) or failed >= self._limits.max_failed_flushes:
                    raise
                log.warning("ledger_flush_failed shard=%s tries=%d error=%s", self._token.shard, failed, error)

    def _raise_error(self) -> None:
        """Raise to a worker what the background flush ran into."""
        if self._fenced is not None:
            raise self._fenced
        if self._flusher is not None and self._flusher.done() and not self._flusher.cancelled():
            self._flusher.result()
