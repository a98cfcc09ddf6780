"""What a kind of stage is to planner, executors and report: one row of the table of kinds."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from moaa.api import MoAA
from moaa.asking.load import Load
from moaa.plan.digests import Document, Results
from moaa.plan.stage import Kind, Stage

Counts = Mapping[str, int]
"""What is known of stage-data's tables: `sft-0`, its rows, and `sft-0.turns`, the user turns of all of them."""


@dataclass(frozen=True)
class Nothing:
    """Takes no time worth counting."""


@dataclass(frozen=True)
class Asked:
    """Asks models."""

    loads: tuple[Load, ...]


@dataclass(frozen=True)
class Trained:
    """Trains the stage's student."""

    tokens: int
    """Epochs counted."""
    tokens_per_s: int
    """Of a GPU, for a student of 8 billion parameters."""


Effort = Nothing | Asked | Trained


@dataclass(frozen=True)
class Alone:
    """One worker does all rows."""


@dataclass(frozen=True)
class Sharded:
    """One worker a shard. The numbers are part of the format: another cut is another set of shard files."""

    rows_per_shard: int
    """Prompts; an evaluation asks each of every subject that it measures."""
    rows: Callable[[Stage, MoAA, Results], int]
    """Prompts of a stage whose needs have results. Raises StageError: a result it reads is not there."""


@dataclass(frozen=True)
class OnRay:
    """Ray Train workers, one stage at a time."""


Runs = Alone | Sharded | OnRay


class Reads(StrEnum):
    """What a kind's job reads beside the store, and so whose secrets it gets."""

    HUB_MODELS = "hub-models"
    """Declared models on a hub: their commits, or tokenizers to count prompts with."""
    STUDENT = "student"
    """The declared student's weights."""
    ENDPOINTS = "endpoints"
    """Endpoints that others serve."""
    DATA = "data"
    """The data sources."""


class Group(StrEnum):
    """The bars of the report's "Where the time went", in their order."""

    GENERATE = "generate"
    SFT = "SFT"
    SAMPLE = "sample"
    JUDGE = "judge"
    DPO = "DPO"
    EVALUATE = "evaluate"
    OTHER = "other"


@dataclass(frozen=True)
class StageKind:
    kind: Kind
    revision: int
    """Meaning of the kind, raised by hand when the same document would lead to other rows or weights."""
    document: Callable[[Stage, MoAA, Results], tuple[Document, Document]]
    """What a stage depends on: its inputs, and the rest. Raises StageError: a result lacks an output it reads."""
    expected: Callable[[Stage, MoAA, Counts], int | None]
    """Rows a stage works on, for the forecast; None while a table's length is unknown."""
    effort: Callable[[Stage, MoAA, Counts], Effort]
    """What a stage takes; a source whose rows are not known counts as empty."""
    runs: Runs
    reads: frozenset[Reads]
    outputs: tuple[str, ...]
    """Names that its result holds; those of stage-data and resolve depend on the resource."""
    is_quick: bool
    """It takes seconds: its own job finds a manifest as soon as an inspection would."""
    at_work: str
    """Reason of the condition Progressing while it runs."""
    group: Group
    """Whose bar of "Where the time went" its time is part of."""


def no_rows(_stage: Stage, _resource: MoAA, _counts: Counts) -> int:
    """`expected` of a kind that works on no rows of its own."""
    return 0


def no_effort(_stage: Stage, _resource: MoAA, _counts: Counts) -> Nothing:
    """`effort` of a kind that takes no time worth counting."""
    return Nothing()
