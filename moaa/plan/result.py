"""What a finished stage leaves to later stages and to the plan, and where that lies in the store.

A stage is done when a manifest with its fingerprint exists. The plan needs only its `StageResult`, which is small
enough for a Kubernetes status or a container's termination message.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from moaa.api.base import Spec
from moaa.plan.stage import Kind, Stage

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


BYTES = "bytes."
"""Metrics of resolve: `bytes.<model>` is the size of what a server of the model brings."""
LEAST_GIB = 0.1
"""Weights below that need no room worth asking for."""
MAX_WARNINGS = 8
WARNING_BYTES = 200
"""Of one warning; all of them have to fit into a container's termination message."""
DECISION_CHARS = 400
Warnings = Annotated[
    list[Annotated[str, StringConstraints(max_length=WARNING_BYTES)]],
    Field(max_length=MAX_WARNINGS, exclude_if=lambda value: not value),
]


class Output(Spec):
    """One thing a stage wrote: rows (a table in shards) or a folder (weights)."""

    digest: Digest
    """Of the content: rows in order as canonical JSON lines, or the folder's names and file digests."""
    rows: int = 0
    uri: str | None = None
    """Where a folder lies, relative to the store's root; None for tables, whose objects the manifest names."""


class StageResult(Spec):
    """What later stages and the plan need to know of a manifest."""

    stage: str
    kind: Kind
    inputs: Digest
    fingerprint: Digest
    attempt: Annotated[int, Field(ge=1)] = 1
    outputs: dict[str, Output] = {}
    models: dict[str, Digest] = {}
    """resolve only: content digest (or the digest of source and commit) of every declared model."""
    weights_gib: Annotated[list[Annotated[int, Field(ge=0)]], Field(exclude_if=lambda value: not value)] = []
    """resolve only: GiB that a server brings, rounded up, of each of `models` in ascending order of names; 0 where that
    is not known (endpoints, claims) or below a tenth. A list, since names would not fit into a termination message."""
    score: Annotated[str, StringConstraints(max_length=64)] | None = None
    """evaluate only, for people: the student's mean over the selection benchmarks in percent, with half the width of
    its interval (`43.8 ± 2.1`). None without selection benchmarks."""

    decision: Annotated[str, Field(max_length=DECISION_CHARS, exclude_if=lambda value: not value)] = ""
    """promote only, for people: who was promoted and why."""
    warnings: Warnings = []
    """For people: members that failed often or whose verdicts follow something else than the answers; of promote, what
    is doubtful about the figures that decided."""

    @property
    def path(self) -> str:
        """Folder of the stage in the store, relative to its root."""
        return stage_path(self.kind, self.inputs, self.fingerprint)

    def gib_of(self, model: str) -> int | None:
        """Of resolve: GiB that a server of a declared model brings, rounded up; None: not known, or hardly any."""
        if not self.weights_gib or model not in self.models:
            return None
        return self.weights_gib[sorted(self.models).index(model)] or None

    @model_validator(mode="after")
    def _check_sizes(self) -> "StageResult":
        if self.weights_gib and len(self.weights_gib) != len(self.models):
            raise ValueError(f"weights_gib has {len(self.weights_gib)} entries for {len(self.models)} models")
        return self


def gib_listed(models: Iterable[str], sizes: Mapping[str, float]) -> list[int]:
    """`StageResult.weights_gib` from bytes by model; empty where all are 0."""
    found = [sizes.get(name, 0.0) / 2**30 for name in sorted(models)]
    listed = [ceil(size) if size >= LEAST_GIB else 0 for size in found]
    return listed if any(listed) else []


def stage_path(kind: Kind, inputs: str, fingerprint: str) -> str:
    return f"stages/{kind}/{inputs[:32]}/{fingerprint[:32]}"


def ledger_path(kind: Kind, inputs: str) -> str:
    """Folder of the ledger, shared by all fingerprints over the same inputs."""
    return f"stages/{kind}/{inputs[:32]}/ledger"


@dataclass(frozen=True)
class Identity:
    """A stage with everything it depends on pinned."""

    stage: Stage
    inputs: str
    fingerprint: str
    document: Mapping[str, object]
    """The canonical document the fingerprint hashes; kept so that a difference can be explained."""

    @property
    def path(self) -> str:
        return stage_path(self.stage.kind, self.inputs, self.fingerprint)
