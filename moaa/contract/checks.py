"""Questions of an operator without access to the store, and the answers: the job files of preflight and inspect."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from moaa.api import MoAA
from moaa.api.base import Spec
from moaa.plan.result import Digest, StageResult


class CheckJob(Spec):
    """What `python -m moaa_jobs preflight` and `inspect` are asked: of whose store, and which results are known."""

    run: str
    """`<namespace>-<name>-<uid>`."""
    resource: dict[str, object]
    """The MoAA resource as JSON (aliases)."""
    results: dict[str, StageResult] = {}
    """Inspect: every result that is known, by stage id; what follows from them is looked up."""


class Took(Spec):
    """What a finished stage of the run has taken, by its manifest."""

    stage: str
    seconds: Annotated[float, Field(ge=0)]
    """In which it was worked on; attempts that published nothing are not in it."""
    prompt_spent: dict[str, Annotated[int, Field(ge=0)]] = {}
    """Tokens by model."""
    completion_spent: dict[str, Annotated[int, Field(ge=0)]] = {}


class CheckAnswer(Spec):
    """What `inspect` found, small enough for a termination message."""

    results: list[StageResult] = []
    """In graph order, as many as there is room for."""
    took: list[Took] = []
    """Of `results` those that the asking run made itself, under this name: its account, should its status be lost."""
    absent: list[Digest] = []
    """Fingerprints of stages that could run and have no manifest."""
    worked_on: list[Digest] = []
    """Those of `absent` for which something was written within the last quarter of an hour, by whichever run."""
    is_complete: bool = True
    """False: there are more results; ask again with these."""


def check_job(resource: MoAA, results: Mapping[str, StageResult], *, run: str) -> CheckJob:
    """The job file of preflight and inspect."""
    return CheckJob(
        run=run, resource=resource.model_dump(mode="json", by_alias=True, exclude_unset=True), results=dict(results)
    )
