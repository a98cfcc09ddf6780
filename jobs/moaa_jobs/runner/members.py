"""Who did its part in a stage's rows, and when a member fails so often that the stage ends. Pure.

A mixture goes on without a proposal and a judge without an evaluation, so a member that always fails would be paid for,
or waited for, to the end. What a member did is read from the rows that an item returned, one `Part` a call.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, cast

from moaa.asking.reasons import Reason
from moaa.judge.mixture import TOO_FEW_EVALUATIONS
from moaa.judge.trail import Role
from moaa.rows import ConversationRow, JudgementRow

LEAST_FAILURES = 8
"""Of a member before the stage ends for it: fewer may be chance."""
QUOTED = 200
"""Characters of what a member, or its server, said."""
PROPOSER = "proposer"

Rows = Sequence[Mapping[str, Any]]
"""Of one table."""


@dataclass(frozen=True)
class Part:
    """What one member was asked for in one row, and whether it did it."""

    model: str
    role: str
    """`proposer`, or one of `moaa.judge.trail.Role`."""
    failure: str = ""
    """Why it did not; empty: it did."""
    text: str = ""
    """The reply that could not be used; empty where there is none."""


def proposers(rows: Rows) -> Iterable[Part]:
    """Of the table `conversations`."""
    for row in cast("Sequence[ConversationRow]", rows):
        for proposal in row["proposals"]:
            yield Part(proposal["model"], PROPOSER)
        for absent in row["absent"]:
            yield Part(absent["model"], PROPOSER, absent["reason"])


def judges(rows: Rows) -> Iterable[Part]:
    """Of the table `judgements`. A verdict that nobody was asked for says nothing about who would have given it."""
    for row in cast("Sequence[JudgementRow]", rows):
        if row["failure"] != TOO_FEW_EVALUATIONS:
            yield Part(row["judge"], row["role"], row["failure"], row["text"] if row["failure"] else "")


@dataclass(frozen=True)
class Trail:
    """The table of a stage that says who did its part."""

    table: str
    parts: Callable[[Rows], Iterable[Part]]
    has_verdicts: bool = False


PROPOSALS_TRAIL = Trail("conversations", proposers)
JUDGEMENTS_TRAIL = Trail("judgements", judges, has_verdicts=True)


@dataclass
class Tries:
    """Of one member in one role."""

    asked: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    first: str = ""
    """What came in place of the first part that it did not do."""

    @property
    def failed(self) -> int:
        return self.failures.total()


Words = Callable[[str, str], str]
"""What a model's server said with the first failure of a reason; empty where it is not known."""


@dataclass
class Members:
    """Counts of every member."""

    tries: dict[tuple[str, str], Tries] = field(default_factory=dict)

    def add(self, parts: Iterable[Part], words: Words) -> None:
        for part in parts:
            tries = self.tries.setdefault((part.model, part.role), Tries())
            tries.asked += 1
            if part.failure:
                tries.failures[part.failure] += 1
                tries.first = tries.first or _said(part, words)

    def ends(self, allowed: Decimal) -> str | None:
        """Why the stage ends: a member that failed in more than `allowed` (0 to 1) of at least LEAST_FAILURES tries."""
        for (model, role), tries in self.tries.items():
            if tries.failed >= LEAST_FAILURES and tries.failed > allowed * tries.asked:
                counts = ", ".join(f"{reason}: {count}" for reason, count in tries.failures.most_common())
                said = f". The first: {tries.first}" if tries.first else ""
                return (
                    f"model {model!r} failed {tries.failed} of {tries.asked} times as {role} ({counts}), more than "
                    f"spec.failures.maxMemberFraction {allowed} allows{said}. {_remedy(role, tries)}, or raise "
                    "maxMemberFraction to go on without its part"
                )
        return None


def _said(part: Part, words: Words) -> str:
    """An unusable reply is quoted by its ending, where a verdict would stand; a failed call by its server's words."""
    if part.text:
        line = " ".join(part.text.split())
        return f"its reply ends {line[-QUOTED:]!r}"
    line = " ".join(words(part.model, part.failure).split())
    return line if len(line) <= QUOTED else f"{line[: QUOTED - 3]}..."


_REMEDIES: Mapping[str, str] = {
    PROPOSER: "Mend its endpoint, or take it out of spec.mixture",
    Role.CRITERIA: "Name an aggregator of the judge that follows the form it is asked for, or set its criteria to 0",
    Role.EVALUATION: "Mend its endpoint, or name another judge",
    Role.VERDICT: "Name a judge that gives its verdict in the form it is asked for",
}


def _remedy(role: str, tries: Tries) -> str:
    [(most, _)] = tries.failures.most_common(1)
    return "Raise its maxTokens" if most == Reason.CUT_ANSWER else _REMEDIES[role]
