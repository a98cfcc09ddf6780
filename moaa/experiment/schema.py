"""`comparison.json`: the figures of an experiment for programs, and the same figures that the page shows."""

from enum import StrEnum
from typing import Literal

from moaa.report.schema import Figure, Record, Use


class Finding(StrEnum):
    """What a difference says, at the corrected confidence."""

    BETTER = "Better"
    WORSE = "Worse"
    EQUAL = "Equal"
    """No question differs, as where both arms share the student."""
    WITHIN_NOISE = "WithinNoise"
    """The interval holds zero."""
    UNKNOWN = "Unknown"
    """Too few questions for an interval."""


class Difference(Record):
    """An arm minus the first arm, question by question at equal seeds."""

    value: Figure
    low: Figure | None
    """Ends of the bootstrap interval over questions at `confidence`; null with fewer than two."""
    high: Figure | None
    n: int
    """Questions that both have scores for."""
    by_seed: dict[int, Figure]
    """The mean difference of each seed alone: how far they lie apart is what the interval does not hold."""
    finding: Finding


class ArmScore(Record):
    """One subject of one arm on one benchmark, over all its seeds."""

    benchmark: str
    use: Use
    metric: str
    subject: str
    """`last`: the last student that was trained; `promoted`; `mixture`; or the stage that trained it, as `i1-sft`. One
    that is the last in every run is listed as that alone."""
    arm: str
    student: str
    """For readers; "various" where seeds promoted different ones."""
    value: Figure
    """Mean over questions of the mean over seeds, between 0 and 1."""
    low: Figure | None
    high: Figure | None
    n: int
    """Questions."""
    seeds: int
    """Runs whose scores are in it."""
    mean_length: Figure
    """Of an answer, in characters."""
    difference: Difference | None = None
    """Null for the first arm, and where `apart` says why."""
    apart: str | None = None
    """Why it cannot be compared with the first arm."""


class Cost(Record):
    """Of stages that are done."""

    stages: int
    seconds: Figure
    """Work time."""
    calls: int
    reused_calls: int
    """Calls that were found in the ledger of a stage over the same rows, where they count."""
    prompt_tokens: int
    completion_tokens: int
    trained_tokens: int
    gpu_hours: Figure
    usd: Figure | None
    """Null where a price is missing."""


class RunState(Record):
    """One run of an arm."""

    name: str
    """metadata.name of its resource; its own report lies in the folder of that name beside the page."""
    seed: int
    done: int
    stages: int
    """0 where nothing could be read of it; it has no report then."""
    problem: str | None = None
    """Why it could not go on."""
    promoted: str | None = None
    """The student that the last closed iteration left; null before the first."""
    reason: str | None = None
    """What decided that promotion."""


class ArmSummary(Record):
    name: str
    changes: list[str]
    """Where it differs from the first arm."""
    runs: list[RunState]
    made: Cost
    """Stages that its runs made themselves."""
    used: Cost
    """All its stages, whoever made them, each counted once."""


class Comparison(Record):
    format: Literal["moaa.dev/comparison/v1"] = "moaa.dev/comparison/v1"
    name: str
    baseline: str
    """The first arm."""
    verdict: str
    confidence: Figure
    """Of the intervals."""
    corrected_confidence: Figure
    """Of the findings: Bonferroni over `compared` differences."""
    compared: int
    """Differences of one subject: other arms × benchmarks."""
    arms: list[ArmSummary]
    scores: list[ArmScore]
    missing: list[str]
    """Sentences: what cannot be shown, and why."""

    def to_json(self) -> str:
        """The text of comparison.json."""
        return self.model_dump_json(by_alias=True, indent=2) + "\n"
