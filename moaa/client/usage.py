"""What calls cost and how they went, by model: counters of a running stage, which `TokenUsage` records in manifests."""

import re
from collections import Counter
from dataclasses import dataclass, field

from moaa.errors import CallError
from moaa.store.ledger.segments import Entry
from moaa.store.stages.manifest import TokenUsage


@dataclass(frozen=True)
class Totals:
    """Four numbers, however many calls they stand for."""

    sent: int = 0
    from_ledger: int = 0
    """Replayed or reused."""
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: "Totals") -> "Totals":
        return Totals(
            self.sent + other.sent,
            self.from_ledger + other.from_ledger,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
        )


@dataclass
class _Counts:
    sent: int = 0
    replayed: int = 0
    reused: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    uncounted: int = 0
    thoughts: int = 0
    lowered: int = 0
    cut: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)


@dataclass
class Spending:
    """Tokens by model, over all shards of a process and of those that were finished before it."""

    prompt: Counter[str] = field(default_factory=Counter)
    completion: Counter[str] = field(default_factory=Counter)

    def add(self, model: str, *, prompt: int, completion: int) -> None:
        self.prompt[model] += prompt
        self.completion[model] += completion


@dataclass
class Usage:
    """Finished calls, their tokens, and what went wrong with them.

    Each call counts once, however many items of a row ask for it. A call is `sent` when a server answered it now,
    `replayed` when an earlier attempt of this stage had made it, and `reused` when it comes from another
    fingerprint's ledger: then its tokens were spent there and are not counted. Calls are remembered one by one. For a
    long stage keep the `totals` of finished shards and drop the rest.
    """

    spending: Spending = field(default_factory=Spending)
    """Shards may share it."""
    _models: dict[str, _Counts] = field(default_factory=dict)
    _seen: set[tuple[str, str, str]] = field(default_factory=set)

    def add(self, entry: Entry, *, sent: bool) -> None:
        identity = (entry.row, entry.path, entry.key)
        if identity in self._seen:
            return
        self._seen.add(identity)
        counts = self._models.setdefault(entry.model, _Counts())
        _note(entry, counts)
        if entry.reused:
            counts.reused += 1
            return
        if sent:
            counts.sent += 1
        else:
            counts.replayed += 1
        counts.prompt_tokens += entry.prompt_tokens
        counts.completion_tokens += entry.completion_tokens
        counts.uncounted += not entry.is_counted
        self.spending.add(entry.model, prompt=entry.prompt_tokens, completion=entry.completion_tokens)

    def unsent(self, model: str, error: CallError, *, call: tuple[str, str, str]) -> None:
        """Count a call that failed before it was sent, its prompt being too long; `call` names it."""
        if call not in self._seen:
            self._seen.add(call)
            _note_failure(self._models.setdefault(model, _Counts()), error.reason, str(error))

    @property
    def totals(self) -> Totals:
        """Over all models."""
        counts = self._models.values()
        return Totals(
            sent=sum(c.sent for c in counts),
            from_ledger=sum(c.replayed + c.reused for c in counts),
            prompt_tokens=sum(c.prompt_tokens for c in counts),
            completion_tokens=sum(c.completion_tokens for c in counts),
        )

    def by_model(self) -> dict[str, TokenUsage]:
        """For manifests, which do not distinguish attempts: `calls` are those sent or replayed, all made by this
        stage."""
        return {
            name: TokenUsage(
                calls=c.sent + c.replayed,
                reused=c.reused,
                prompt_tokens=c.prompt_tokens,
                completion_tokens=c.completion_tokens,
                uncounted=c.uncounted,
                thoughts=c.thoughts,
                lowered=c.lowered,
                cut=dict(sorted(c.cut.items())),
                failures=dict(sorted(c.failures.items())),
                examples=dict(sorted(c.examples.items())),
            )
            for name, c in sorted(self._models.items())
        }


def _note(entry: Entry, counts: _Counts) -> None:
    """Counts of an outcome, whichever attempt paid for it."""
    counts.thoughts += bool(entry.thought)
    counts.lowered += entry.lowered_to is not None
    if entry.failure is not None:
        _note_failure(counts, entry.failure.reason, entry.failure.message)
    elif entry.answer is not None and entry.answer.finish_reason == "length":
        counts.cut[role_of(entry.path)] += 1


def _note_failure(counts: _Counts, reason: str, message: str) -> None:
    counts.failures[reason] += 1
    counts.examples.setdefault(reason, message)


_ROLES = (
    (re.compile(r"layer\d+/p\d+/s\d+$"), "proposer"),
    (re.compile(r"turn\d+/aggregate$"), "aggregator"),
    (re.compile(r"(^|/)criteria$"), "criteria"),
    (re.compile(r"/j\d+$"), "judge"),
    (re.compile(r"/(meta|single|letter|game\d)$"), "verdict"),
    (re.compile(r"/grade\d+$"), "grade"),
    (re.compile(r"(^|/)score\d+$"), "score"),
    (re.compile(r"^s\d+$"), "sample"),
    (re.compile(r"(^|/)turn\d+$"), "answer"),
)


def role_of(path: str) -> str:
    """What a call is for, by its name within its row (`moaa.mixture`, `moaa.judge`). An unknown name gives its last
    step."""
    return next((role for pattern, role in _ROLES if pattern.search(path)), path.rpartition("/")[2])
