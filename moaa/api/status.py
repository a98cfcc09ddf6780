"""What a run shows of itself in `status`: written by the operator, for people and for the plan.

Everything is bounded; the whole record is in the store. Nothing here is a decision of its own: the store and the
objects of the run can give it again. Fields a newer operator may have written are passed over when an older one reads.
What has its default is left out, here and in the CRD: a status is read by people, and written often.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from moaa.api.attempts import ModelTokens, StageAttempts
from moaa.api.base import Observed

SUCCEEDED = "Succeeded"
"""The condition a run is read by: True when it is done, False when it has failed for good, Unknown until then. Its
reason is the column REASON."""

MAX_STAGES = 64
"""Iteration 0 has three stages, any other at most eight; kept are those of iterations 0, the last closed and the open
one, and the promote of each iteration in between as far as there is room."""
MAX_HISTORY = 10
MAX_SPENT = 64
"""The stages of MAX_STAGES, or fewer: what does not fit is added to the entry of earlier ones."""
MAX_COSTS = MAX_SPENT + MAX_STAGES + 1
"""A stage in `spent` may be under way again; one entry more is that of earlier ones."""
MAX_UNPRICED = 8

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$", max_length=64)]
StageId = Annotated[str, StringConstraints(pattern=r"^i[0-9]+-[a-z]([a-z-]*[a-z])?$", max_length=32)]
Count = Annotated[int, Field(ge=0)]
Short = Annotated[str, StringConstraints(max_length=64)]
Figure = Annotated[str, StringConstraints(pattern=r"^-?[0-9]+\.[0-9]{2}$", max_length=24)]
"""A decimal with two places."""
StorePath = Annotated[str, StringConstraints(max_length=512)]


class Phase(StrEnum):
    PENDING = "Pending"
    RUNNING = "Running"
    """A stage is at work."""
    WAITING = "Waiting"
    """Begun, and nothing is at work: for servers, for machines, for another attempt, for a person."""
    SUSPENDED = "Suspended"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class Condition(Observed):
    """One observation about the run, with the moment it last became true or false."""

    type: Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Za-z]*$", max_length=64)]
    status: Literal["True", "False", "Unknown"]
    reason: Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Za-z0-9]*$", max_length=64)]
    """One word for programs and for the column REASON."""
    message: Annotated[str, StringConstraints(max_length=4096)]
    """For people: what was seen, in which object, and what to do."""
    observed_generation: Annotated[int, Field(ge=0)] | None = None
    """metadata.generation of the resource this is about."""
    last_transition_time: datetime


class StageOutput(Observed):
    """One thing a finished stage wrote: rows or a folder."""

    name: Short
    digest: Digest
    rows: Annotated[int, Field(ge=0)] = 0
    uri: StorePath | None = None
    """Of a folder, relative to the store's root; None: a table, whose objects the manifest names."""


class PinnedModel(Observed):
    """A declared model and the digest its weights had when the run resolved it."""

    name: Short
    digest: Digest
    gib: Count = 0
    """GiB that a server brings, rounded up; 0: not known, or hardly any."""


class StageStatus(Observed):
    """A finished stage: what later stages and the plan need to know of its manifest."""

    stage: StageId
    kind: Annotated[str, StringConstraints(pattern=r"^[a-z]([a-z-]*[a-z])?$", max_length=32)]
    inputs: Digest
    fingerprint: Digest
    attempt: Annotated[int, Field(ge=1)]
    outputs: Annotated[list[StageOutput], Field(max_length=128)] = []
    models: Annotated[list[PinnedModel], Field(max_length=64)] = []
    """Of resolve only."""
    score: Short | None = None
    """Of evaluate only, as in the status's `score`."""
    warnings: Annotated[list[Annotated[str, StringConstraints(max_length=200)]], Field(max_length=8)] = []
    """Of its members."""


class Promoted(Observed):
    """The student that was promoted last."""

    uri: StorePath | None = None
    """Folder of its weights, relative to the store's root; None: the declared student, untrained."""
    digest: Digest


class ClosedIteration(Observed):
    """One closed iteration."""

    iteration: Annotated[int, Field(ge=1, le=1000)]
    stage: StageId | None = None
    """Of the promoted student; None: the declared one stayed."""
    score: Short | None = None
    """Its score."""
    why: Annotated[str, StringConstraints(max_length=400)] = ""
    """What decided."""
    closed: datetime


class RepeatedStage(Observed):
    """A stage that was done, or begun, before an edit and is not done now."""

    stage: StageId
    why: Annotated[str, StringConstraints(max_length=256)]
    """The fields that the edit changed, or the stages whose results are made again."""


class StageProgress(Observed):
    """How far the shown stage was when its percentage, failed rows or, by a tenth, time left last changed."""

    rows: Count | None = None
    rows_total: Count | None = None
    saved: Count = 0
    """Rows or steps that another attempt would not do again."""
    failed_rows: Count = 0
    step: Count | None = None
    """Of training, in optimiser steps."""
    steps: Count | None = None
    tokens_per_second: Count = 0
    """Completion tokens of all pods; of training, tokens trained on."""
    seconds_left: Count | None = None
    """At the present speed, in whole minutes."""
    loss: Short | None = None
    message: Annotated[str, StringConstraints(max_length=256)] = ""


class StageSpent(Observed):
    """What a stage has spent that is done, or that an edit has changed since."""

    stage: Short
    """`earlier`: all stages of iterations that were closed before the last one."""
    fingerprint: Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{64})?$", max_length=64)] = ""
    gpu_seconds: Count = 0
    """GPUs held × seconds at work."""
    tokens: Annotated[list[ModelTokens], Field(max_length=128)] = []
    is_least: bool = False
    """The status had lost it, and it was counted anew: attempts that left nothing in the store are not in it."""


class StageCost(Observed):
    """What a stage has spent so far, all its fingerprints together."""

    stage: Short
    """`earlier`, as in `spent`."""
    gpu_hours: Figure
    dollars: Figure | None = None
    """None: something it used has no price, or nothing that costs."""


class CostLeft(Observed):
    """What is left of the limits of `spec.budget`; below zero, by how much they are exceeded. None: no such limit."""

    dollars: Figure | None = None
    gpu_hours: Figure | None = None
    tokens: Annotated[int, Field(ge=-(10**18))] | None = None


class RunCost(Observed):
    """What the run has spent so far, at the prices that the resource states now.

    Written with whatever else is new, and by itself once a figure has grown by a tenth.
    """

    gpu_hours: Figure
    """GPUs held × hours at work; the minutes in which servers start are not in it."""
    dollars: Figure | None = None
    """None: something that was used has no price (`unpriced`), or nothing that costs was used."""
    is_least: bool = False
    """The status was lost once: what failed attempts had taken before is in none of these figures."""
    unpriced: Annotated[list[Short], Field(max_length=MAX_UNPRICED)] = []
    """Why dollars are missing: fields of the resource that state no price, and models, the first of them."""
    tokens: Count = 0
    """Prompt and completion tokens of all calls."""
    left: CostLeft | None = None
    """None: the run has no limit; those of an iteration are not in it."""
    stages: Annotated[list[StageCost], Field(max_length=MAX_COSTS)] = []


class MoAAStatus(Observed):
    """What the operator last saw; never an input."""

    observed_generation: Annotated[int, Field(ge=0)] | None = None
    """metadata.generation that all of this is about."""
    phase: Phase | None = None
    """For display, derived from the conditions."""
    iteration: Short | None = None
    """The open iteration of all, 1/3; iteration 0 measures what is there before training."""
    stage: StageId | None = None
    """The stage that runs now, or the one that waits."""
    progress: Short | None = None
    """How far that stage is and how long it still takes, for people."""
    work: StageProgress | None = None
    """The figures behind `progress`."""
    score: Short | None = None
    """The newest student's mean over the selection benchmarks, in percent, ± half of its interval: 43.8 ± 2.1."""
    conditions: Annotated[list[Condition], Field(max_length=16)] = []
    stages: Annotated[list[StageStatus], Field(max_length=MAX_STAGES)] = []
    """Finished stages, oldest first; others are in the store."""
    attempts: Annotated[list[StageAttempts], Field(max_length=MAX_STAGES)] = []
    """Stages that have no result: the attempt under way and how those before it ended."""
    repeating: Annotated[list[RepeatedStage], Field(max_length=MAX_STAGES)] = []
    """What an edit makes the run do again; an entry goes when its stage is done."""
    spent: Annotated[list[StageSpent], Field(max_length=MAX_SPENT)] = []
    """What stages have spent beside those under way, whose figures are in `attempts`; `spec.budget` limits the sum."""
    cost: RunCost | None = None
    """What all of that comes to; None: nothing is spent yet."""
    promoted: Promoted | None = None
    history: Annotated[list[ClosedIteration], Field(max_length=MAX_HISTORY)] = []
    """The last closed iterations, oldest first; all of them are in the store."""
