"""The ledger's objects: what a line says, how lines become a segment, and which segments make up a chain.

A chain is everything one fingerprint recorded for one shard: segments numbered from 0 without gaps, named
`<fp8>-<first>-<last>.jsonl.zst`, where last > first only after a compaction merged several. A segment is one zstd
frame with a checksum around JSON lines: a header that makes its bytes its writer's own, then entries and pins in the
order in which they were recorded.

A kill cannot tear a segment: both stores show an object whole or not at all. So an unreadable segment was damaged or
edited. It is an error that names it and is never skipped: skipping would change which answer wins.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Self

import zstandard
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from moaa.errors import StoreError

_NAME = re.compile(r"(?P<chain>[0-9a-f]{8})-(?P<first>[0-9]{6,})-(?P<last>[0-9]{6,})\.jsonl\.zst")
_ZSTD_LEVEL = 3


_CONFIG = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
"""Errors never show a prompt or an answer."""


class _Record(BaseModel):
    model_config = _CONFIG

    row: str
    path: str
    """Names the call within its row, for example `turn1/layer0/p2/s0`."""
    key: str
    """Hash of the canonical request, with what identifies the model (`moaa.client.request`)."""


class Answer(BaseModel):
    """A model's finished answer, as `moaa.asking.caller.Reply` has it; its tokens are the entry's."""

    model_config = _CONFIG

    text: str
    """Without thoughts; the entry has them."""
    finish_reason: Literal["stop", "length"]


class Failure(BaseModel):
    """A permanent failure of a call: under this fingerprint, asking again would fail again.

    Another fingerprint asks again, since the cause (a key, a template, a limit of an endpoint) may not be part of a
    call's identity.
    """

    model_config = _CONFIG

    reason: str
    message: str


class Entry(_Record):
    """One finished model call: an answer, letters, a score or a failure; exactly one of them."""

    model: str
    answer: Answer | None = None
    letters: dict[str, float] | None = None
    """Probabilities, as `moaa.asking.caller.Letters` has them."""
    score: float | None = None
    """As `moaa.asking.caller.Scalar` has it."""
    failure: Failure | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    is_counted: bool = True
    """False: the server answered and did not say how many tokens it took."""
    thought: str = ""
    """What the model thought, with or without an answer after it."""
    lowered_to: int | None = None
    """The completion tokens that were asked for, where the window had no room for as many as declared."""
    reused: bool = Field(default=False, exclude=True)
    """Made by another fingerprint over the same inputs; set by `Ledger.lookup`, never stored."""

    @model_validator(mode="after")
    def _one_outcome(self) -> Self:
        if [self.answer, self.letters, self.score, self.failure].count(None) != 3:
            raise ValueError(
                f"entry {self.row}/{self.path}: exactly one of answer, letters, score and failure must be given"
            )
        return self


class Pin(_Record):
    """A call whose answer this chain took from another: `chain` is the other's name (fp8).

    Without it, a third fingerprint that recorded the same call later could come first in the order of names, and a
    resumed run would read another answer than the one its later calls were built on.
    """

    chain: str


_RECORD: TypeAdapter[Entry | Pin] = TypeAdapter(Entry | Pin)


@dataclass(frozen=True)
class Segment:
    """A segment's place, read from its key."""

    key: str
    chain: str
    first: int
    last: int
    size_bytes: int = 0

    def covers(self, other: "Segment") -> bool:
        return self.first <= other.first and other.last <= self.last


class Line(NamedTuple):
    """One line of a segment, as far as an index needs it."""

    raw: bytes
    call: bytes
    """`call_digest` of the call it is about."""
    pinned: str | None
    """Of a pin: the chain it names; None for an entry."""
    failed: bool = False
    """Whether the entry is a failure."""


def segment_key(folder: str, chain: str, first: int, last: int) -> str:
    """`folder` is `<ledger>/<shard>`."""
    return f"{folder}/{chain}-{first:06d}-{last:06d}.jsonl.zst"


def parse_segment_key(key: str, size_bytes: int) -> Segment:
    """Raises StoreError: the name is not one MoAA gives."""
    match = _NAME.fullmatch(key.rpartition("/")[2])
    if match is None:
        raise StoreError(f"{key}: not a ledger segment; remove the object, MoAA did not write it")
    return Segment(key, match["chain"], int(match["first"]), int(match["last"]), size_bytes)


def readable_order(segments: Iterable[Segment]) -> list[Segment]:
    """The segments of one chain that a reader needs, in order: each number from 0 is in at least one of them.

    A merged segment makes those it covers superfluous, also one that a fenced writer put back after a compaction had
    deleted its place. Two compactions may overlap; the entries then appear twice and the first counts.

    Raises:
        StoreError: a number is missing.
    """
    remaining = sorted(segments, key=lambda s: (s.first, -s.last))
    chosen: list[Segment] = []
    following = 0
    while remaining:
        reachable = [s for s in remaining if s.first <= following]
        if not reachable:
            raise StoreError(
                f"{remaining[0].key}: segment {following} of its chain is missing before it; restore the object, or "
                "delete this segment and all later ones of the chain (their calls are made again)"
            )
        best = max(reachable, key=lambda s: s.last)
        if best.last >= following:
            chosen.append(best)
            following = best.last + 1
        remaining = [s for s in remaining if s.last >= following]
    return chosen


def encode_segment(header: dict[str, object], lines: Sequence[bytes]) -> bytes:
    """Lines come without their line ends. The header must hold something no other writer has."""
    head = json.dumps(header, sort_keys=True).encode()
    body = b"\n".join([head, *lines, b""])
    return zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True).compress(body)


def decode_segment(key: str, body: bytes) -> list[Line]:
    """The lines after the header, each checked; texts are not kept beside the raw line.

    Raises:
        StoreError: it is damaged; names the object and the line.
    """
    remedy = "restore the object, or delete it and all later segments of its chain (their calls are made again)"
    try:
        raw_lines = zstandard.ZstdDecompressor().decompress(body).split(b"\n")
    except zstandard.ZstdError as error:
        raise StoreError(f"{key}: not a readable ledger segment ({error}); {remedy}") from error
    if len(raw_lines) < 2 or raw_lines[-1] != b"":
        raise StoreError(f"{key}: the ledger segment has no header or no last line end; {remedy}")
    lines: list[Line] = []
    for number, raw in enumerate(raw_lines[1:-1], start=2):
        try:
            lines.append(parse_line(raw))
        except ValueError as error:
            raise StoreError(f"{key}: line {number} is not a ledger entry ({error}); {remedy}") from error
    return lines


def parse_line(raw: bytes) -> Line:
    """Raises ValueError: it is neither an entry nor a pin."""
    record = _RECORD.validate_json(raw)
    call = call_digest(record.row, record.path, record.key)
    match record:
        case Pin():
            return Line(raw, call, record.chain)
        case Entry():
            return Line(raw, call, None, failed=record.failure is not None)


def call_digest(row: str, path: str, key: str) -> bytes:
    """16 bytes that stand for one call."""
    return hashlib.sha256(json.dumps([row, path, key]).encode()).digest()[:16]
