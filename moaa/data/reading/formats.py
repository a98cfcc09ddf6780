"""Kinds of data files by their names: the form of the rows, and the compression. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath


class Form(StrEnum):
    """How rows stand in a file; the value is the suffix."""

    JSON_LINES = ".jsonl"
    JSON = ".json"
    """A list of objects, or objects one after another."""
    CSV = ".csv"
    TSV = ".tsv"
    PARQUET = ".parquet"
    ARROW = ".arrow"


class Packing(StrEnum):
    """Compression around a whole file; the value is the suffix."""

    NONE = ""
    GZIP = ".gz"
    BZIP2 = ".bz2"
    ZSTD = ".zst"


MAGIC = {
    b"\x1f\x8b": Packing.GZIP,
    b"BZh": Packing.BZIP2,
    b"\x28\xb5\x2f\xfd": Packing.ZSTD,
}
READ = ".jsonl, .json, .csv and .tsv (also with .gz, .bz2 or .zst), .parquet and .arrow are read"
_TABLES = (Form.PARQUET, Form.ARROW)
_FORMS = {str(form): form for form in Form}
_PACKINGS = {str(packing): packing for packing in Packing if packing}
_BESIDE_ARROW = ("dataset_info.json", "state.json")
"""What `datasets` writes beside the .arrow files of a saved data set."""


@dataclass(frozen=True)
class Kind:
    form: Form
    packing: Packing

    def __str__(self) -> str:
        return f"{self.form}{self.packing}"


def kind_of(name: str) -> Kind | None:
    """What a file is by its name, or None where that is nothing that is read.

    >>> str(kind_of("a/Train.JSONL.gz")), kind_of("a.parquet.gz")
    ('.jsonl.gz', None)
    """
    suffixes = [suffix.lower() for suffix in PurePosixPath(name).suffixes[-2:]]
    packing = _PACKINGS.get(suffixes[-1]) if suffixes else None
    form = _FORMS.get(suffixes[-2 if packing and len(suffixes) > 1 else -1]) if suffixes else None
    if form is None or (packing and form in _TABLES):
        return None
    return Kind(form, packing or Packing.NONE)


def stem_of(name: str) -> str:
    """The file's name without the suffixes that say its kind: `train.jsonl.gz` gives `train`."""
    kind = kind_of(name)
    base = PurePosixPath(name).name
    return base if kind is None else base[: -len(str(kind))]


def is_metadata(name: str, names: Iterable[str]) -> bool:
    """Whether a .json file only describes the .arrow files beside it."""
    return PurePosixPath(name).name in _BESIDE_ARROW and any(other.lower().endswith(".arrow") for other in names)
