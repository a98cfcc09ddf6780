"""Find the recorded outcome of a call: digests and places in memory, text in an unnamed temporary file.

100,000 calls with their answers are hundreds of MiB of text but some 20 MB here. The file has no name, so a kill leaves
nothing behind.
"""

import os
import tempfile
from typing import NamedTuple

from moaa.errors import StoreError
from moaa.store.ledger.segments import Line


class _Place(NamedTuple):
    offset: int
    length: int
    chain: str


class CallIndex:
    """Outcomes by call, for a reader whose own chain is `chain`.

    Own outcomes come before those of other chains; among others, the pinned chain's, else the first remembered. Within
    a chain the first counts. Of other chains only answers count: a failure there is no outcome here.
    """

    def __init__(self, chain: str) -> None:
        self._chain = chain
        self._places: dict[bytes, _Place] = {}
        self._pins: dict[bytes, str] = {}
        self._text = tempfile.TemporaryFile(prefix="moaa-ledger-")  # noqa: SIM115 - closed by close()
        self._end = 0

    def __len__(self) -> int:
        return len(self._places)

    def clear(self) -> None:
        self._places.clear()
        self._pins.clear()
        self._end = 0

    def close(self) -> None:
        self._text.close()

    def remember(self, chain: str, line: Line) -> None:
        """Take in a line read from `chain`; the own chain must come before all others."""
        if line.pinned is not None:
            if chain == self._chain:
                self._pins.setdefault(line.call, line.pinned)
        elif line.failed and chain != self._chain:
            return
        elif line.call not in self._places and (chain == self._chain or self._pins.get(line.call, chain) == chain):
            self._keep(line.call, line.raw, chain)

    def add(self, call: bytes, line: bytes) -> bool:
        """Take in an outcome of the own chain. False: the call has one, and it stays."""
        if call in self._places:
            return False
        self._keep(call, line, self._chain)
        return True

    def take(self, line: Line) -> bool:
        """Take in a line of the own chain that no segment holds. False: what it says is known."""
        if line.pinned is not None:
            return self.pin(line.call, line.pinned)
        return self.add(line.call, line.raw)

    def find(self, call: bytes) -> tuple[bytes, str] | None:
        """The outcome's line and chain, or None."""
        place = self._places.get(call)
        if place is None:
            return None
        return os.pread(self._text.fileno(), place.length, place.offset), place.chain

    def pin(self, call: bytes, chain: str) -> bool:
        """Tie a call to the chain its outcome was taken from. False: it is tied already."""
        if call in self._pins:
            return False
        self._pins[call] = chain
        return True

    def _keep(self, call: bytes, line: bytes, chain: str) -> None:
        folder = f"{tempfile.gettempdir()}: the ledger keeps its text there"
        remedy = "free space or point TMPDIR elsewhere, then start again"
        try:
            written = os.pwrite(self._text.fileno(), line, self._end)
        except OSError as error:
            raise StoreError(f"{folder}: {error.strerror}; {remedy}") from error
        if written < len(line):
            raise StoreError(f"{folder}: no space left; {remedy}")
        self._places[call] = _Place(self._end, len(line), chain)
        self._end += len(line)
