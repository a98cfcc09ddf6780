"""What became of every row of a source: figures, examples and sentences. Pure."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from moaa.data.decontaminate import Repeated
from moaa.data.reading.bad_rows import BadRow
from moaa.errors import DataError
from moaa.rows import DroppedRow
from moaa.text import printable

LISTED = 1000
"""Rows of one table and reason that are listed; all are counted."""
COLUMNS = 100
"""Ignored columns of one table that are counted by name."""
CATEGORIES = 10
"""That an error names."""
CONTAMINATED = "contaminated"


@dataclass
class Account:
    """read = failed + unasked + duplicates + contaminated + over_limit + kept."""

    read: int = 0
    over_limit: int = 0
    kept: int = 0
    turns: int = 0
    """User turns of the rows that are kept."""
    failed_by_reason: Counter[str] = field(default_factory=Counter)
    unasked_by: Counter[str] = field(default_factory=Counter)
    """By category, of those that the benchmark does not ask."""
    duplicates_of: Counter[str] = field(default_factory=Counter)
    """By the table that holds the first of them."""
    contaminated_by: Counter[str] = field(default_factory=Counter)
    """By the evaluation table that asks the question."""
    ignored: Counter[str] = field(default_factory=Counter)
    """Columns that were not read, with the number of rows in which they hold something."""
    examples: dict[str, str] = field(default_factory=dict)
    """The first row of each reason, with its place."""
    dropped: list[tuple[str, str, str]] = field(default_factory=list)
    """Place, reason and detail of rows that failed or are contaminated, at most LISTED a reason."""

    @property
    def failed(self) -> int:
        return self.failed_by_reason.total()

    @property
    def unasked(self) -> int:
        return self.unasked_by.total()

    @property
    def duplicates(self) -> int:
        return self.duplicates_of.total()

    @property
    def contaminated(self) -> int:
        return self.contaminated_by.total()

    def fail(self, row: BadRow) -> None:
        self.failed_by_reason[row.why] += 1
        self._list(str(row.why), self.failed_by_reason[row.why], row.where, row.message)

    def contaminate(self, where: str, question: Repeated) -> None:
        self.contaminated_by[question.table] += 1
        self._list(CONTAMINATED, self.contaminated, where, str(question))

    def ignore(self, columns: frozenset[str]) -> None:
        for name in map(printable, columns):
            if name in self.ignored or len(self.ignored) < COLUMNS:
                self.ignored[name] += 1

    def _list(self, reason: str, count: int, where: str, detail: str) -> None:
        self.examples.setdefault(reason, f"{where}: {detail}")
        if count <= LISTED:
            self.dropped.append((where, reason, detail))

    def rows(self, table: str) -> Iterator[DroppedRow]:
        for where, reason, detail in self.dropped:
            yield DroppedRow(table=table, where=where, reason=reason, detail=detail)

    def figures(self) -> dict[str, int]:
        """By the names that the manifest's metrics have after `<table>.`."""
        return {
            "read": self.read,
            "failed": self.failed,
            "duplicates": self.duplicates,
            "contaminated": self.contaminated,
            "overLimit": self.over_limit,
            **({"unasked": self.unasked} if self.unasked else {}),
            "rows": self.kept,
            "turns": self.turns,
            **{f"ignored.{name}": count for name, count in sorted(self.ignored.items())},
        }

    def told(self) -> str:
        """What became of the rows that are not kept, in half a sentence; empty when all are kept."""
        parts = [f"repeats of rows in {table}: {count}" for table, count in sorted(self.duplicates_of.items())]
        parts += [f"with questions of {table}: {count}" for table, count in sorted(self.contaminated_by.items())]
        if self.contaminated:
            parts[-1] += f" (first: {self.examples[CONTAMINATED]})"
        parts += [
            f"failed as {why}: {count} (first: {self.examples[why]})"
            for why, count in sorted(self.failed_by_reason.items())
        ]
        parts += [f"of category {name!r}: {count}" for name, count in self.unasked_by.most_common(CATEGORIES)]
        if self.over_limit:
            parts.append(f"over limit: {self.over_limit}")
        return ", ".join(parts)


def check_failures(accounts: Sequence[tuple[str, Account]], allowed: Fraction) -> None:
    """Whether more rows of a source failed than `allowed`, a part of its rows.

    Raises:
        DataError: with every reason of every such source, how often and where first.
    """
    lines: list[str] = []
    for field_name, account in accounts:
        asked = account.read - account.unasked
        if account.failed <= allowed * asked:
            continue
        reasons = account.failed_by_reason.most_common()
        counts = ", ".join(f"{why}: {count}" for why, count in reasons)
        lines.append(
            f"{field_name}: {account.failed} of {asked} rows cannot be used ({counts}), more than "
            f"spec.failures.maxFraction {float(allowed):g} allows of a source; mend them, or raise it"
        )
        lines += [f"- {why}, first {account.examples[why]}" for why, _ in reasons]
    if lines:
        raise DataError("\n".join(lines))


def check_left(accounts: Sequence[tuple[str, Account]]) -> None:
    """Raises DataError: a source has no row left, with what became of them all."""
    for field_name, account in accounts:
        if not account.kept:
            raise DataError(
                f"{field_name}: no row is left of {account.read}: {account.told()}. Give other data; for rows that "
                "hold evaluation questions, look at them in stage-data's table dropped, or set "
                "spec.data.decontaminationNgram: 0 to train on them"
            )
