"""How far a run is with a stage that has no result: what the operator must not forget between two looks.

Everything else an operator needs is in the objects of the cluster. An entry goes when its stage has a result.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from moaa.api.base import Observed

Rows = Annotated[int, Field(ge=0)]
Percent = Annotated[int, Field(ge=0, le=100)]
Name = Annotated[str, StringConstraints(max_length=64)]


class Step(StrEnum):
    """Where an attempt is. Before and between attempts there is none."""

    SERVERS = "Servers"
    """Its model servers come up."""
    WORK = "Work"
    """Its Job or RayJob runs."""
    FINALISE = "Finalise"
    """Its work is done; the manifest is being written and read."""


class WaitingRows(Observed):
    """Rows of an unfinished stage that wait for a model."""

    model: Name
    rows: Rows


class ModelTokens(Observed):
    """Tokens that a model has read and written."""

    model: Name
    prompt: Rows = 0
    completion: Rows = 0


class StageAttempts(Observed):
    """The attempts of one stage under one fingerprint; another one starts a new count."""

    stage: Name
    """A stage's id, or `preflight` or `inspect`: questions to the store."""
    fingerprint: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$", max_length=64)]
    attempt: Rows = 0
    """Number of the attempt under way, or of the last one; 0 before the first."""
    step: Step | None = None
    """None: nothing of it runs."""
    since: datetime | None = None
    """When the step began."""
    failures: Rows = 0
    """Attempts in a row that failed and got no further, since the resource was last edited."""
    reached: Percent = 0
    """Percent of the work that is in the store, as the stage's pods have said."""
    failed_at: Percent = 0
    """What `reached` was at the last failure that counted."""
    is_permanent: bool = False
    """Trying again cannot help."""
    reason: Name = ""
    """One word for how the last attempt ended."""
    message: Annotated[str, StringConstraints(max_length=1024)] = ""
    """How the last attempt ended, for people."""
    retry_after: datetime | None = None
    """The next attempt begins no sooner."""
    is_checked: bool = False
    """Of a stage: the store is known to have no manifest of it. Of preflight: the store has passed."""
    generation: Rows = 0
    """metadata.generation that the failures count for."""
    gpu_seconds: Rows = 0
    """GPUs held × seconds at work, of the attempts that have ended."""
    at_work_since: datetime | None = None
    """Since when it holds its GPUs and works; None: it does not."""
    finished_with: Annotated[list[Name], Field(max_length=64)] = []
    """Models that the attempt under way will not ask again. It has no servers of them any more."""
    tokens: Annotated[list[ModelTokens], Field(max_length=64)] = []
    """What its calls have cost, when it was last written down: once a percent of the work, and at the end."""
    releases: Rows = 0
    """How often in a row its servers or Ray cluster found no machines in time and were released."""
    turn: Name | None = None
    """InTurn: the model that is served now, or was last."""
    waiting: Annotated[list[WaitingRows], Field(max_length=64)] = []
    """InTurn: rows that waited for models when the last turn ended."""
    idle_turns: Rows = 0
    """InTurn: turns in a row that sent no call."""
