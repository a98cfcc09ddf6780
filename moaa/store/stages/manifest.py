"""What proves that a stage is done: a manifest, written once, last, naming exact objects by size and digest."""

from collections import Counter
from datetime import datetime
from typing import Annotated

from pydantic import Field

from moaa.api.base import Spec
from moaa.plan.result import BYTES, DECISION_CHARS, Digest, Output, StageResult, Warnings, gib_listed
from moaa.plan.stage import Kind

UNLESS_EMPTY = Field(exclude_if=lambda value: not value)
"""Of fields that say what went otherwise than it should: a manifest of a stage that went well does not hold them."""


class ObjectRef(Spec):
    """An exact object: readers refuse one whose size or digest differs."""

    key: str
    size_bytes: int
    sha256: Digest


class TokenUsage(Spec):
    """Calls of one model in one stage, their tokens, and what was not as it should be."""

    calls: int = 0
    reused: int = 0
    """Calls that came from the ledger of an earlier fingerprint; their tokens were spent there."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    """Thoughts included."""
    uncounted: Annotated[int, UNLESS_EMPTY] = 0
    """Calls whose server did not say how many tokens they took; the two numbers above lack these."""
    thoughts: Annotated[int, UNLESS_EMPTY] = 0
    """Answers before which the model thought."""
    lowered: Annotated[int, UNLESS_EMPTY] = 0
    """Calls that were allowed fewer completion tokens than declared, since the window had no room for them."""
    cut: Annotated[dict[str, int], UNLESS_EMPTY] = {}
    """Answers that ended at their limit of tokens, by role (proposer, aggregator, sample, answer, judge, …)."""
    failures: Annotated[dict[str, int], UNLESS_EMPTY] = {}
    """Calls that failed for good, by reason; a row may have done without them."""
    examples: Annotated[dict[str, str], UNLESS_EMPTY] = {}
    """The first failure of each reason, in the server's own words."""

    def __add__(self, other: "TokenUsage") -> "TokenUsage":
        return TokenUsage(
            calls=self.calls + other.calls,
            reused=self.reused + other.reused,
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            uncounted=self.uncounted + other.uncounted,
            thoughts=self.thoughts + other.thoughts,
            lowered=self.lowered + other.lowered,
            cut=dict(Counter(self.cut) + Counter(other.cut)),
            failures=dict(Counter(self.failures) + Counter(other.failures)),
            examples={**other.examples, **self.examples},
        )


class ShardManifest(Spec):
    """One finished shard (`<stage>/shards/<shard>.json`). `tables` maps an output's name to its part in this shard."""

    shard: str
    attempt: int
    tables: dict[str, ObjectRef] = {}
    rows: dict[str, int] = {}
    """Rows of each table in this shard."""
    row_digests: dict[str, Digest] = {}
    """sha256 over the table's rows as canonical JSON lines, in order."""
    rows_in: int = 0
    failures: dict[str, int] = {}
    """Rows that failed for good, by reason."""
    examples: Annotated[dict[str, str], UNLESS_EMPTY] = {}
    """The first row of each reason, by its place in the shard, and what was said about it."""
    usage: dict[str, TokenUsage] = {}
    started: datetime
    """When the attempt that published it began to work on it."""
    seconds: float
    """From then until its tables were whole."""


class StageManifest(Spec):
    """A finished stage (`<stage>/manifest.json`). No manifest, no stage, whatever a process or a Job says."""

    stage: str
    kind: Kind
    iteration: int
    run: str
    inputs: Digest
    fingerprint: Digest
    attempt: Annotated[int, Field(ge=1)]
    document: dict[str, object]
    """What the fingerprint hashes."""
    outputs: dict[str, Output]
    tables: dict[str, list[ObjectRef]] = {}
    """Objects of every table, in row order."""
    files: dict[str, list[ObjectRef]] = {}
    """Objects of every folder."""
    rows_in: int = 0
    failures: dict[str, int] = {}
    """Rows that failed for good, by reason."""
    examples: Annotated[dict[str, str], UNLESS_EMPTY] = {}
    """The first row of each reason and what was said about it, in the server's own words where it was a server."""
    decision: Annotated[str, UNLESS_EMPTY] = ""
    """promote only, for people: who was promoted and why."""
    warnings: Warnings = []
    """As in `StageResult`."""
    usage: dict[str, TokenUsage] = {}
    models: dict[str, Digest] = {}
    licenses: dict[str, str] = {}
    metrics: dict[str, float] = {}
    """Figures of the stage, for example final loss or position consistency."""
    started: datetime
    """When the first shard that counts was begun; of a stage that one worker does, when that worker began."""
    finished: datetime
    seconds: float
    """Time in which it was worked on: of shards, the union of their intervals, so that those side by side count once.
    Attempts that published nothing are not in it."""
    versions: dict[str, str] = {}
    """Software that ran."""

    def result(self) -> StageResult:
        return StageResult(
            stage=self.stage,
            kind=self.kind,
            inputs=self.inputs,
            fingerprint=self.fingerprint,
            attempt=self.attempt,
            outputs=self.outputs,
            models=self.models if self.kind is Kind.RESOLVE else {},
            weights_gib=gib_listed(self.models, self._sizes) if self.kind is Kind.RESOLVE else [],
            decision=_shortened(self.decision),
            warnings=self.warnings,
            score=self._score if self.kind is Kind.EVALUATE else None,
        )

    @property
    def _sizes(self) -> dict[str, float]:
        return {name.removeprefix(BYTES): size for name, size in self.metrics.items() if name.startswith(BYTES)}

    @property
    def _score(self) -> str | None:
        """From the metrics `score`, `score.low` and `score.high`, which are between 0 and 1."""
        if "score" not in self.metrics:
            return None
        text = f"{100 * self.metrics['score']:.1f}"
        if "score.low" not in self.metrics or "score.high" not in self.metrics:
            return text
        return f"{text} ± {50 * (self.metrics['score.high'] - self.metrics['score.low']):.1f}"


def _shortened(text: str) -> str:
    return text if len(text) <= DECISION_CHARS else f"{text[: DECISION_CHARS - 3]}..."
