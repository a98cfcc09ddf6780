"""What rows can be searched by, table by table, and how an address spells it. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from moaa.errors import UsageError
from moaa.judge.ranking import BY_RULE, EQUAL_TEXTS, PAIR, SEED_CONTRADICTED, TIE, TOO_FEW_VERDICTS, UNSCORED
from moaa.judge.trail import Role
from moaa.view import masks
from moaa.view.masks import Mask

MAX_CHARS = 500
"""Of what is searched for."""


@dataclass(frozen=True)
class Choice:
    """One thing to choose, as the address has it and as readers see it."""

    value: str
    label: str


@dataclass(frozen=True)
class Filter:
    """One field of the search form."""

    name: str
    label: str
    columns: tuple[str, ...]
    """That it reads."""
    mask: Callable[[pa.Table, str], Mask]
    choices: tuple[Choice, ...] = ()
    """Empty: any text, or a number."""
    is_number: bool = False


def _columns(paths: Sequence[str]) -> tuple[str, ...]:
    return tuple(path.partition(".")[0] for path in paths)


def by_text(*paths: str) -> Filter:
    def mask(table: pa.Table, value: str) -> Mask:
        found = np.zeros(table.num_rows, dtype=bool)
        for path in paths:
            found |= masks.any_value(table, path, masks.holds(value))
        return found

    return Filter("text", "Text holds", _columns(paths), mask)


def by_value(path: str, label: str, *, name: str = "", choices: Sequence[str] = ()) -> Filter:
    """Equal to what is given."""
    return Filter(
        name or path.replace(".", "-"),
        label,
        _columns([path]),
        lambda table, value: masks.any_value(table, path, masks.equals(value)),
        tuple(Choice(value, value) for value in choices),
    )


def by_length(path: str) -> tuple[Filter, Filter]:
    """By the characters of the longest text."""
    return (
        Filter("least", "Longest text, at least", _columns([path]),
               lambda t, v: masks.longest(t, path) >= _number("least", v), is_number=True),
        Filter("most", "at most", _columns([path]),
               lambda t, v: masks.longest(t, path) <= _number("most", v), is_number=True),
    )  # fmt: skip


def _counted(name: str, label: str, column: str) -> Filter:
    def mask(table: pa.Table, _: str) -> Mask:
        return np.asarray(table.column(column).to_numpy() > 0, dtype=bool)

    return Filter(name, label, (column,), mask, (Choice("yes", "yes"),))


def _disagree(table: pa.Table, value: str) -> Mask:
    match value:
        case "orders":
            return masks.orders_differ(table)
        case "judges":
            return masks.judges_differ(table)
        case _:
            raise UsageError(f"disagree: {value!r} is neither orders nor judges")


ID = by_value("id", "Row id")
_OUTCOMES = (PAIR, TIE, EQUAL_TEXTS, TOO_FEW_VERDICTS, UNSCORED, SEED_CONTRADICTED, *BY_RULE)
DISAGREE = Filter(
    "disagree", "Verdicts disagree", ("comparisons",), _disagree,
    (Choice("orders", "between the two orders"), Choice("judges", "between judges of the panel")),
)  # fmt: skip
PROMPTS = (by_text("messages.content"), ID, *by_length("messages.content"))
FILTERS: Mapping[str, tuple[Filter, ...]] = {
    "conversations": (
        by_text("messages.content", "proposals.text"),
        ID,
        _counted("failed", "A proposal failed", "missing"),
        by_value("absent.reason", "Why it failed", name="reason"),
        _counted("shortened", "A proposal was shortened", "shortened"),
        *by_length("messages.content"),
    ),
    "samples": (by_text("messages.content", "samples"), ID, *by_length("samples")),
    "rankings": (
        by_text("messages.content", "samples"),
        ID,
        by_value("outcome", "Outcome", choices=_OUTCOMES),
        DISAGREE,
        *by_length("samples"),
    ),
    "pairs": (by_text("messages.content", "chosen", "rejected"), ID, *by_length("chosen")),
    "judgements": (
        by_text("text"),
        ID,
        by_value("judge", "Judge"),
        by_value("role", "Role", choices=[role.value for role in Role]),
        by_value("failure", "Failed because of"),
        by_value("benchmark", "Benchmark"),
        *by_length("text"),
    ),
    "answers": (
        by_text("prompt", "text"),
        ID,
        by_value("benchmark", "Benchmark"),
        by_value("model", "Model"),
        *by_length("text"),
    ),
    "scores": (ID, by_value("benchmark", "Benchmark"), by_value("model", "Model")),
    "verdicts": (ID, by_value("judge", "Judge"), by_value("kind", "Kind"), by_value("subset", "Subset")),
    "dropped": (by_text("where", "detail"), by_value("reason", "Reason"), by_value("table", "Table")),
    "anchors": (by_text("question", "right", "wrong"), ID, by_value("subset", "Subset"), *by_length("question")),
}
"""By table. The tables of prompts that stage-data writes (`sft-0`, `eval-math`) have PROMPTS."""


def filters_of(table: str) -> tuple[Filter, ...]:
    """Tables of no known shape can be browsed and not searched."""
    if table in FILTERS:
        return FILTERS[table]
    return PROMPTS if table.startswith(("sft-", "preference-", "eval-")) and not table.endswith(".include") else ()


@dataclass(frozen=True)
class Query:
    """What is searched for; no conditions: every row."""

    conditions: tuple[tuple[Filter, str], ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for found, _ in self.conditions for name in found.columns))

    @property
    def values(self) -> dict[str, str]:
        return {found.name: value for found, value in self.conditions}

    def mask(self, table: pa.Table) -> Mask:
        """Rows that meet every condition."""
        passed = np.ones(table.num_rows, dtype=bool)
        for found, value in self.conditions:
            passed &= found.mask(table, value)
        return passed


def query_of(table: str, asked: Mapping[str, str]) -> Query:
    """From the fields of an address; empty ones ask nothing.

    Raises:
        UsageError: the table cannot be searched by a field, or not for this value.
    """
    known = {found.name: found for found in filters_of(table)}
    conditions = []
    for name, value in asked.items():
        if not value:
            continue
        if name not in known:
            raise UsageError(f"{name}: table {table} is searched by {', '.join(known) or 'nothing'}")
        _check(known[name], value)
        conditions.append((known[name], value))
    return Query(tuple(conditions))


def exactly(table: str, **values: str) -> Query:
    """Rows that equal these values, of a table that is searched by these fields."""
    known = {found.name: found for found in filters_of(table)}
    return Query(tuple((known[name], value) for name, value in values.items()))


def _check(found: Filter, value: str) -> None:
    if len(value) > MAX_CHARS:
        raise UsageError(f"{found.name}: has {len(value)} characters; search for at most {MAX_CHARS}")
    if found.choices and value not in {choice.value for choice in found.choices}:
        raise UsageError(f"{found.name}: {value!r} is none of {', '.join(c.value for c in found.choices)}")
    if found.is_number:
        _number(found.name, value)


def _number(name: str, value: str) -> int:
    if not (value.isascii() and value.isdecimal() and len(value) < 12):
        raise UsageError(f"{name}: {value!r} is no whole number of characters")
    return int(value)
