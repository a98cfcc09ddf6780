"""Who did its part in a stage's rows, and when a member fails so often that the stage does. Pure.

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
from moaa_jobs.runner.binomial import at_least

LEAST_FAILURES = 8
"""Of a member before a stage ends for it: fewer may be chance."""
SURE = 0.001
"""Chance at most, at one look, that a member of the fraction that is allowed ends a stage before its last row."""
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
    examples: dict[str, str] = field(default_factory=dict)
    """What came in place of the first part that failed for a reason; empty where that is not known."""

    @property
    def failed(self) -> int:
        return self.failures.total()

    @property
    def most(self) -> str:
        """The most frequent reason; empty where nothing failed."""
        return next((reason for reason, _ in self.failures.most_common(1)), "")

    @property
    def words(self) -> str:
        """What came in place of the first part that failed for that reason."""
        return self.examples.get(self.most, "")

    def is_over(self, allowed: Decimal) -> bool:
        return self.failed >= LEAST_FAILURES and self.failed > allowed * self.asked

    def is_surely_over(self, allowed: Decimal) -> bool:
        if not self.is_over(allowed):
            return False
        return allowed == 0 or at_least(self.failed, of=self.asked, chance=float(allowed)) < SURE

    def why(self, model: str, role: str, allowed: Decimal, said: str) -> str:
        """The sentence that ends a stage, with what was `said` in place of the member's part."""
        counts = ", ".join(f"{reason}: {count}" for reason, count in self.failures.most_common())
        return (
            f"model {model!r} failed {self.failed} of {self.asked} times as {role} ({counts}), more than "
            f"spec.failures.maxMemberFraction {allowed} allows{f'. The first {self.most}: {said}' if said else ''}. "
            f"{_remedy(role, self.most)}, or raise maxMemberFraction to go on without its part"
        )


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
                if not tries.examples.get(part.failure):
                    tries.examples[part.failure] = _said(part, words)

    def over(self, allowed: Decimal, words: Words) -> str | None:
        """Why a stage fails that has met all its rows: a member failed in more than `allowed` (0 to 1) of its tries."""
        for (model, role), tries in self.tries.items():
            if tries.is_over(allowed):
                return tries.why(model, role, allowed, tries.words or quoted(words(model, tries.most)))
        return None

    def surely_over(self, allowed: Decimal) -> str | None:
        """Why a stage ends before its last row: a member failed in so much more than `allowed` of its tries that chance
        would hardly do it (binomial test)."""
        for (model, role), tries in self.tries.items():
            if tries.is_surely_over(allowed):
                return tries.why(model, role, allowed, tries.words)
        return None


def _said(part: Part, words: Words) -> str:
    """An unusable reply is quoted by its ending, where a verdict would stand; a failed call by its server's words."""
    if part.text:
        line = " ".join(part.text.split())
        return f"its reply ends {line[-QUOTED:]!r}"
    return quoted(words(part.model, part.failure))


def quoted(words: str) -> str:
    """On one line, at most QUOTED characters."""
    line = " ".join(words.split())
    return line if len(line) <= QUOTED else f"{line[: QUOTED - 3]}..."


_REMEDIES: Mapping[str, str] = {
    PROPOSER: "Mend its endpoint, or take it out of spec.mixture",
    Role.CRITERIA: "Name an aggregator of the judge that follows the form it is asked for, or set its criteria to 0",
    Role.EVALUATION: "Mend its endpoint, or name another judge",
    Role.VERDICT: "Name a judge that gives its verdict in the form it is asked for",
    Role.GRADE: "Name a judge that gives its grade in the form it is asked for",
    Role.SCORE: "Mend its endpoint, or name another rewardModel, a sequence classifier with one label",
}


def _remedy(role: str, most: str) -> str:
    return "Raise its maxTokens" if most == Reason.CUT_ANSWER else _REMEDIES[role]
