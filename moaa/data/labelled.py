"""Labelled pairs as the field writes them: a question, the better answer and the worse one.

| columns | who writes them so |
|---|---|
| `prompt`, `chosen`, `rejected`, each a text | RewardBench 1, with `subset` |
| `prompt`, `chosen` and `rejected` as lists of texts | RewardBench 2, with `subset`; of Ties several are right |
| `chosen` and `rejected` as conversations, with or without `prompt` | UltraFeedback binarised, HH-RLHF |

One right answer makes a pair with each wrong one. Of several right and several wrong ones the n-th stand together,
round and round, until each has been in a pair: all with all would be asked a hundred times for one question.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path

from moaa.conversation import Message
from moaa.data.account import Account
from moaa.data.hashing import digest_of
from moaa.data.permute import sort_key
from moaa.data.reading.bad_rows import BadRow, RowError, Why, text_of, type_name
from moaa.data.reading.columns import Fields, wanted
from moaa.data.reading.files import read_records
from moaa.data.reading.labels import row_id
from moaa.data.reading.records import Record, bad
from moaa.data.reading.shapes import NO_COLUMNS
from moaa.data.reading.turns import conversation, dialogue, prompt
from moaa.judge.prompts import question_text
from moaa.rows import LabelledRow

_SUBSET = "subset"
_LABELS = ("chosen", "rejected", _SUBSET)
_ASKS = ("prompt", "instruction", "question")


@dataclass(frozen=True)
class _Question:
    """One record, read."""

    id: str
    question: str
    right: tuple[str, ...]
    wrong: tuple[str, ...]
    subset: str | None
    ignored: frozenset[str]


@dataclass
class Labelled:
    """The table `anchors`, and what became of the source's rows. `account.kept` counts questions, `rows` pairs."""

    rows: list[LabelledRow] = field(default_factory=list)
    account: Account = field(default_factory=Account)


def read_labelled(files: Sequence[tuple[Path, str]], *, limit: int | None, seed: int, table: str) -> Labelled:
    """Pairs of (path, name) files: the first `limit` questions in the run's order.

    Raises:
        DataError: a file cannot be read or has no row.
    """
    found = Labelled()
    questions: dict[str, _Question] = {}
    for path, name in files:
        rows = 0
        for record in read_records(path, name, wanted(NO_COLUMNS) | {_SUBSET}):
            rows += 1
            found.account.read += 1
            _take(record, questions, found.account, table)
        if not rows:
            raise bad(name, "rows", "0", "it has no row; remove it or write it again")
    ordered = sorted(questions.values(), key=lambda one: sort_key(seed, one.id))
    kept = ordered[:limit]
    found.rows = [pair for one in kept for pair in _pairs(one)]
    account = found.account
    account.kept = account.turns = len(kept)
    account.over_limit = len(ordered) - len(kept)
    return found


def _take(record: Record | BadRow, questions: dict[str, _Question], account: Account, table: str) -> None:
    if isinstance(record, BadRow):
        account.fail(record)
        return
    try:
        found = _question(record.columns)
        known = questions.get(found.id)
        if known is not None and (known.question, known.right, known.wrong) != (
            found.question,
            found.right,
            found.wrong,
        ):
            remedy = "an earlier row with other content has it; ids must be unique in a subset"
            raise RowError(Why.DUPLICATE_ID, "id", found.id, remedy)
    except RowError as error:
        account.fail(BadRow(record.where, error.why, f"{error} (read as labelled pairs)"))
        return
    account.ignore(found.ignored.union(record.unread))
    if known is not None:
        account.duplicates_of[table] += 1
    questions.setdefault(found.id, found)


def _question(record: Mapping[str, object]) -> _Question:
    """Raises RowError: a column is missing or of a wrong type, or an answer is on both sides."""
    subset = record.get(_SUBSET)
    fields = Fields({name: value for name, value in record.items() if name not in _LABELS}, NO_COLUMNS)
    column = next((name for name in _ASKS if fields.has(name)), None)
    asked = None if column is None else prompt(fields.get(column), column, fields.ignored.add)
    right, before = _answers(record.get("chosen"), "chosen", fields, is_whole=asked is None)
    wrong, _ = _answers(record.get("rejected"), "rejected", fields, is_whole=asked is None)
    messages = before if asked is None else asked
    if not any(message["role"] == "user" for message in messages):
        remedy = "give the question in prompt"
        raise RowError(Why.NO_USER_TURN, "prompt", None, remedy)
    if not all(text.strip() for text in right):
        raise RowError(Why.EMPTY_TURN, "chosen", "", "the better answer is empty; fill it or remove the row")
    if both := sorted(set(right) & set(wrong)):
        raise RowError(Why.NO_ANSWER, "rejected", both[0], "is in chosen, too; which of two is better must be known")
    own_id = row_id(fields)
    fields.settle([*messages, *(Message(role="assistant", content=text) for text in (*right, *wrong))])
    question = question_text(messages)
    name = own_id or digest_of([question, right, wrong])[:32]
    told = text_of(subset, _SUBSET) if subset is not None else None
    return _Question(f"{told}/{name}" if told else name, question, right, wrong, told, frozenset(fields.ignored))


def _answers(value: object, column: str, fields: Fields, *, is_whole: bool) -> tuple[tuple[str, ...], list[Message]]:
    """The answers of a column, and what stands before them where it is a whole conversation."""
    if value is None:
        raise RowError(Why.NO_ANSWER, column, None, f"labelled pairs need {column}; add it to every row")
    if isinstance(value, str):
        turns = dialogue(value) if is_whole else None
        return ((text_of(value, column),), []) if turns is None else _last(turns, column)
    if not isinstance(value, list) or not value:
        raise RowError(Why.WRONG_TYPE, column, value, f"must be a text or a list with one, not {type_name(value)}")
    if all(isinstance(item, str) for item in value):
        texts = [text_of(item, f"{column}[{i}]") for i, item in enumerate(value)]
        return tuple(dict.fromkeys(texts)), []
    return _last(conversation(value, column, fields.ignored.add), column)


def _last(turns: list[Message], column: str) -> tuple[tuple[str, ...], list[Message]]:
    if not turns or turns[-1]["role"] != "assistant":
        found = turns[-1]["role"] if turns else "no turn"
        raise RowError(Why.NO_ANSWER, column, found, "the last turn must be the assistant's answer")
    return (turns[-1]["content"],), turns[:-1]


def _pairs(one: _Question) -> Iterator[LabelledRow]:
    many = max(len(one.right), len(one.wrong))
    together = islice(zip(cycle(one.right), cycle(one.wrong), strict=False), many)
    for number, (right, wrong) in enumerate(together):
        yield LabelledRow(
            id=one.id if many == 1 else f"{one.id}#{number}",
            question_id=one.id,
            question=one.question,
            right=right,
            wrong=wrong,
            subset=one.subset,
        )
