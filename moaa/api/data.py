"""Where prompts and conversations come from."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from moaa.api.base import SecretKey, Spec

DataUri = Annotated[str, StringConstraints(pattern=r"^(hf|s3|file)://[^\x00-\x1f\x7f]+$", max_length=1024)]


class DataSource(Spec):
    """One data set: hf://datasets/owner/name, s3://bucket/key or file:///path; .jsonl, .json or .parquet.

    Columns that are recognised by their names: `messages`; `conversations` (from/value); `prompt` with
    optional `response`/`completion`, or with `chosen`; `instruction` with optional `input` and `output`.
    """

    source: DataUri
    split: Annotated[str, StringConstraints(min_length=1, max_length=128)] = "train"
    """Split of an hf:// data set."""
    revision: Annotated[str, StringConstraints(min_length=1, max_length=128)] | None = None
    """Branch, tag or commit of an hf:// data set; None: pinned at the first run."""
    token_secret: SecretKey | None = None
    limit: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = None
    """Rows an iteration takes; the next iteration takes the next ones. None: all rows, for one iteration only."""


class Answers(StrEnum):
    MIXTURE = "Mixture"
    """Every assistant turn is written by the mixture; the data's own answers are discarded (paper Eq. 3)."""
    GIVEN = "Given"
    """Train on the assistant turns that are there."""


class SftSource(DataSource):
    answers: Answers = Answers.MIXTURE


class Data(Spec):
    """Rows are deduplicated within `sft` and within `preference`, and both are decontaminated against evaluation."""

    sft: Annotated[list[SftSource], Field(max_length=32)] = []
    preference: Annotated[list[DataSource], Field(max_length=32)] = []
    decontamination_ngram: Annotated[int, Field(ge=0, le=64)] = 13
    """A training row that shares this many consecutive words with an evaluation prompt is dropped; prompts shorter
    than that must be equal. 0 turns it off."""
    allow_reuse: bool = False
    """When a source runs out of rows, start again from its beginning instead of failing."""
