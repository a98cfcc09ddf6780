"""Where prompts and conversations come from."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from moaa.api.addresses import DataUri
from moaa.api.base import SecretKey, Spec

ColumnName = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class Columns(Spec):
    """Columns whose names do not say what they are; others are found."""

    messages: ColumnName | None = None
    """The conversation: turns, or a dialogue in one text."""
    prompt: ColumnName | None = None
    """What is asked, instead of `messages`."""
    system: ColumnName | None = None
    """The system prompt."""
    context: ColumnName | None = None
    """Put behind the first user turn."""
    response: ColumnName | None = None
    """The answer, for `answers: Given`."""
    answer: ColumnName | None = None
    """The right answer, for ExactMatch."""
    id: ColumnName | None = None
    """What tells rows apart; None: `id`, `uid` or `question_id`, else a digest of the conversation."""
    ignore: Annotated[list[ColumnName], Field(max_length=64)] = []
    """Columns to read as if they were not there."""


class FileSource(Spec):
    """One file or data set: hf://datasets/owner/name, s3://bucket/key or file:///path."""

    source: DataUri
    """hf://datasets/owner/name, s3://bucket/key or file:///path; a folder ends with /."""
    split: Annotated[str, StringConstraints(min_length=1, max_length=128)] = "train"
    """Files or a folder of that name; a folder without splits is read whole."""
    revision: Annotated[str, StringConstraints(min_length=1, max_length=128)] | None = None
    """Branch, tag or commit; None: pinned at the first run."""
    token_secret: SecretKey | None = None
    """Hub token of a gated hf:// data set."""


class DataSource(FileSource):
    """One data set: hf://datasets/owner/name, s3://bucket/key or file:///path; .jsonl, .json, .csv or .tsv (also with
    .gz, .bz2 or .zst), .parquet or .arrow; or a folder of one of these, ending with /.

    Columns understood by name: `messages`, `conversations`, `conversation`; `prompt`; `instruction`, `question`, with
    `input` or `context`; `turns`; `text`; answers in `response`, `completion`, `output`, `answer`, `chosen`; `system`,
    `system_prompt`.
    """

    limit: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = None
    """Rows an iteration takes, the next ones in the next. None: all, for one iteration only."""
    columns: Columns = Columns()


class Answers(StrEnum):
    """Who writes the answers that are taught."""

    MIXTURE = "Mixture"
    """Every assistant turn is written by the mixture; the data's own answers are discarded (paper Eq. 3)."""
    GIVEN = "Given"
    """Train on the assistant turns that are there."""


class SftSource(DataSource):
    """Conversations for supervised fine-tuning."""

    answers: Answers = Answers.MIXTURE


class Data(Spec):
    """Rows are deduplicated within `sft` and `preference`, and decontaminated against evaluation."""

    sft: Annotated[list[SftSource], Field(max_length=32)] = []
    preference: Annotated[list[DataSource], Field(max_length=32)] = []
    decontamination_ngram: Annotated[int, Field(ge=0, le=64)] = 13
    """Drops a training row that holds four fifths of an evaluation question's own words, in runs of this many, and its
    numbers; a shorter question must be equal. 0 turns it off."""
    allow_reuse: bool = False
    """When a source runs out of rows, start again from its beginning instead of failing."""
