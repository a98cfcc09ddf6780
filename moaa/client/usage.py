"""What calls cost, by model. Mutable counters for a running stage; `moaa.store.stages.manifest.TokenUsage` is their
record."""

from dataclasses import dataclass, field

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


@dataclass
class Usage:
    """Finished calls and their tokens.

    Each call counts once, however many items of a row ask for it. A call is `sent` when a server answered it now,
    `replayed` when an earlier attempt of this stage had made it, and `reused` when it comes from another
    fingerprint's ledger: then its tokens were spent there and are not counted. What was seen is remembered call by
    call, so whoever counts a long stage keeps the `totals` of what is over and lets go of the rest.
    """

    _models: dict[str, _Counts] = field(default_factory=dict)
    _seen: set[tuple[str, str, str]] = field(default_factory=set)

    def add(self, entry: Entry, *, sent: bool) -> None:
        identity = (entry.row, entry.path, entry.key)
        if identity in self._seen:
            return
        self._seen.add(identity)
        counts = self._models.setdefault(entry.model, _Counts())
        if entry.reused:
            counts.reused += 1
            return
        if sent:
            counts.sent += 1
        else:
            counts.replayed += 1
        counts.prompt_tokens += entry.prompt_tokens
        counts.completion_tokens += entry.completion_tokens

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
        """For manifests, which tell nothing of attempts: `calls` are those sent or replayed, all made by this stage."""
        return {
            name: TokenUsage(
                calls=c.sent + c.replayed,
                reused=c.reused,
                prompt_tokens=c.prompt_tokens,
                completion_tokens=c.completion_tokens,
            )
            for name, c in sorted(self._models.items())
        }
