"""How a row stands in a list: the columns that are read for it, and a cell for each head. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from moaa.judge.ranking import skipped

Row = Mapping[str, Any]
CELL_CHARS = 160
"""Of a text in a list; its page has the whole."""


@dataclass(frozen=True)
class Head:
    """A column of a list."""

    title: str
    cell: Callable[[Row], object]
    is_number: bool = False


@dataclass(frozen=True)
class Listing:
    """Columns that are read; empty: all that the table has."""

    columns: tuple[str, ...]
    heads: tuple[Head, ...]


def _last(row: Row, role: str) -> str:
    return next((m["content"] for m in reversed(row["messages"]) if m["role"] == role), "")


def _named(name: str, title: str = "", *, is_number: bool = False) -> Head:
    return Head(title or name.replace("_", " ").capitalize(), lambda row: row.get(name), is_number)


def _points(row: Row) -> float | None:
    known = [points for points in row["points"] if points is not None]
    return max(known) - min(known) if known else None


def _swapped(row: Row) -> int:
    both = [(c["forward"], c["backward"]) for c in row["comparisons"]]
    return sum(one is not None and other is not None and one != other for one, other in both)


_QUESTION = Head("Question", lambda row: _last(row, "user"))
_ID = _named("id", "Row id")
LISTINGS: Mapping[str, Listing] = {
    "conversations": Listing(
        ("id", "messages", "missing", "shortened"),
        (
            _QUESTION,
            Head("Answer", lambda row: _last(row, "assistant")),
            _named("missing", "Proposals that failed", is_number=True),
            _named("shortened", "Shortened", is_number=True),
            _ID,
        ),
    ),
    "samples": Listing(
        ("id", "messages", "samples"),
        (
            _QUESTION,
            Head("Samples", lambda row: len(row["samples"]), is_number=True),
            Head("First sample", lambda row: row["samples"][0] if row["samples"] else ""),
            _ID,
        ),
    ),
    "rankings": Listing(
        ("id", "messages", "points", "comparisons", "outcome"),
        (
            _QUESTION,
            _named("outcome"),
            Head("Best less worst", _points, is_number=True),
            Head("Comparisons", lambda row: sum(len(skipped(c)) < 2 for c in row["comparisons"]), is_number=True),
            Head("Verdicts skipped", lambda row: sum(len(skipped(c)) for c in row["comparisons"]), is_number=True),
            Head("Of these changed by the order", _swapped, is_number=True),
            _ID,
        ),
    ),
    "pairs": Listing(
        ("id", "messages", "chosen", "rejected", "chosen_points", "rejected_points"),
        (
            _QUESTION,
            _named("chosen"),
            _named("rejected"),
            Head("Margin", lambda row: row["chosen_points"] - row["rejected_points"], is_number=True),
            _ID,
        ),
    ),
    "judgements": Listing(
        ("id", "benchmark", "a", "b", "order", "role", "judge", "verdict", "text", "failure", "label"),
        (
            _named("judge"),
            _named("role"),
            Head("Pair", lambda row: f"{row['a'] + 1}, {row['b'] + 1}"),
            _named("order"),
            Head("Verdict", lambda row: row.get("label") or row["verdict"] or ""),
            _named("failure", "Failed because of"),
            _named("text", "Said"),
            _named("benchmark"),
            _ID,
        ),
    ),
    "answers": Listing(
        ("benchmark", "model", "id", "sample", "prompt", "text", "score"),
        (
            Head("Question", lambda row: row["prompt"]),
            Head("Answer", lambda row: row["text"]),
            _named("score", is_number=True),
            _named("benchmark"),
            _named("model"),
            Head("Sample", lambda row: row["sample"] + 1, is_number=True),
            _ID,
        ),
    ),
}
_PROMPTS = Listing(
    ("id", "messages"), (_QUESTION, Head("Turns", lambda row: len(row["messages"]), is_number=True), _ID)
)


def listing_of(table: str, names: Sequence[str]) -> Listing:
    """`names` are the columns that the table has; of a table of no known shape all are shown."""
    if table in LISTINGS:
        return LISTINGS[table]
    if {"id", "messages"} <= set(names):
        return _PROMPTS
    return Listing(tuple(names), tuple(_named(name) for name in names))


def cell(head: Head, row: Row) -> str:
    """One cell as text, cut to CELL_CHARS; a missing value is a dash."""
    found = head.cell(row)
    if found is None or found == "":
        return "–"
    if isinstance(found, float):
        return f"{found:.4g}"
    text = " ".join(str(found).split())
    return text if len(text) <= CELL_CHARS else f"{text[:CELL_CHARS]}…"
