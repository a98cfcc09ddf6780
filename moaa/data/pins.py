"""What resolve pins, as rows of its tables, and stage-data's way back to them.

| table of resolve | rows |
|---|---|
| `sft-<k>`, `preference-<k>`, `eval-<benchmark>` | PinnedFileRow: the files of the source, in reading order |
| `models` | ModelRow: one for each declared model |

Rows hold what identifies content and nothing about when or from where it was read, so that the same files elsewhere
give the same digest.
"""

from typing import TypedDict

import pyarrow as pa

from moaa.data.origin.base import Listing, PinnedFile

MODELS = "models"


class PinnedFileRow(TypedDict):
    name: str
    size_bytes: int
    digest: str
    """As `PinnedFile.digest`."""
    revision: str | None
    """Commit on the Hub."""


class ModelRow(TypedDict):
    name: str
    source: str
    """URI of the weights, or URL of the endpoint."""
    revision: str | None
    """Commit on the Hub."""
    digest: str
    is_pinned: bool
    """False for endpoints and volumes: what stands behind them may change unseen."""
    license: str | None


_FILE_COLUMNS: list[tuple[str, pa.DataType]] = [
    ("name", pa.string()),
    ("size_bytes", pa.int64()),
    ("digest", pa.string()),
    ("revision", pa.string()),
]
_MODEL_COLUMNS: list[tuple[str, pa.DataType]] = [
    ("name", pa.string()),
    ("source", pa.string()),
    ("revision", pa.string()),
    ("digest", pa.string()),
    ("is_pinned", pa.bool_()),
    ("license", pa.string()),
]
PINNED_FILES = pa.schema(_FILE_COLUMNS)
PINNED_MODELS = pa.schema(_MODEL_COLUMNS)


def pin_rows(listing: Listing) -> list[PinnedFileRow]:
    return [
        PinnedFileRow(name=f.name, size_bytes=f.size_bytes, digest=f.digest, revision=listing.revision)
        for f in listing.files
    ]


def pinned_file(row: PinnedFileRow) -> PinnedFile:
    return PinnedFile(row["name"], row["size_bytes"], row["digest"])
