"""What a run leaves in the store beside manifests: the resource as it ran, attempts, and iterations.

Only this module reads and writes these objects. Local executor, promote job, plan and report use it. Attempts are
for reports only. The record of a closed iteration pins it: later edits do not reopen it.
"""

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated

from pydantic import Field, ValidationError

from moaa.api import MoAA
from moaa.api.base import Observed
from moaa.errors import StoreError
from moaa.plan.history.repeats import IterationRecord
from moaa.plan.result import Digest, StageResult
from moaa.plan.stage import Kind
from moaa.store.objects.base import Store

LOCAL_UID = "local"


class Attempt(Observed):
    """One run of a stage's job on this machine, however it ended. A newer version may have written more."""

    stage: str
    kind: Kind
    fingerprint: Digest
    started: datetime
    seconds: float
    """From the start of its servers to the end of the job."""
    job_seconds: float
    """Of the job's process alone."""
    outcome: str
    """Done, Waiting, Permanent, Fenced, Crashed or Stopped."""
    exit_code: int | None = None
    """None: the job never ran, its servers did not come up."""
    error: str = ""
    servers: tuple[str, ...] = ()
    """Models that were served to it."""
    waiting: dict[str, int] = {}
    reached: int = 0
    """Percent of the work that was in the store when it ended, as far as the job had said."""
    gpus: Annotated[int, Field(ge=0)] = 0
    """Held when the job began."""
    spared_gpu_seconds: Annotated[float, Field(ge=0)] = 0.0
    """GPU-seconds less than `gpus` × `job_seconds`: of servers that were let go before the job ended."""
    prompt_spent: dict[str, int] = {}
    completion_spent: dict[str, int] = {}
    """Tokens by model that the stage had cost under its fingerprint when the attempt ended, earlier attempts' included,
    as far as the job had said."""


def run_id(resource: MoAA, *, uid: str = LOCAL_UID) -> str:
    """`<namespace>-<name>-<uid>`; the uid of a run outside Kubernetes is always `local`: the file names the run."""
    return f"{resource.run_name}-{uid}"


def attempts_prefix(run: str) -> str:
    return f"runs/{run}/attempts/"


async def write_attempt(store: Store, run: str, attempt: Attempt) -> None:
    """Write one new object. Its name sorts by time and is unique without a look at the others."""
    moment = attempt.started.astimezone(UTC).strftime("%Y%m%dT%H%M%S.%f")
    key = f"{attempts_prefix(run)}{moment}Z-{attempt.stage}-{secrets.token_hex(4)}.json"
    await store.put(key, attempt.model_dump_json(by_alias=True).encode())


async def read_attempts(store: Store, run: str) -> tuple[list[Attempt], list[str]]:
    """Every recorded attempt of a run, oldest first, and sentences on records that cannot be read.

    Raises:
        StoreError: the store cannot be listed.
    """
    found: list[Attempt] = []
    problems: list[str] = []
    async for entry in store.list(attempts_prefix(run)):
        try:
            found.append(Attempt.model_validate_json(await store.get(entry.key)))
        except (ValidationError, StoreError):
            problems.append(f"{entry.key} is not a readable record of an attempt.")
    return found, problems


def iterations_prefix(run: str) -> str:
    return f"runs/{run}/iterations/"


async def write_resource(store: Store, run: str, resource: MoAA) -> None:
    """The resource as this runner understood it, defaults included; the newest runner's replaces older ones."""
    body = resource.model_dump_json(by_alias=True, indent=1).encode()
    await store.put(f"runs/{run}/resource.json", body)


async def read_iterations(store: Store, run: str) -> dict[int, IterationRecord]:
    """What this run's iterations made so far, by number. Raises StoreError: a record is there but unreadable."""
    found: dict[int, IterationRecord] = {}
    async for entry in store.list(iterations_prefix(run)):
        try:
            record = IterationRecord.model_validate_json(await store.get(entry.key))
        except ValidationError as error:
            raise StoreError(f"{store.uri}/{entry.key}: not a record of an iteration; restore or delete it") from error
        found[record.iteration] = record
    return found


def iteration_record(
    iteration: int, results: Mapping[str, StageResult], resource: Mapping[str, object]
) -> IterationRecord:
    """What is finished of an iteration. Once its promotion is among `results`, the record also holds the resource (as
    JSON) and the results of iteration 0 that it was closed on."""
    record = IterationRecord(iteration=iteration, stages=_of_iteration(iteration, results))
    if not record.is_closed:
        return record
    return record.with_(resource=dict(resource), start=_of_iteration(0, results))


async def write_iteration(store: Store, run: str, record: IterationRecord, *, indent: int | None = None) -> None:
    """Write the record, replacing an earlier one. A closed iteration is final: its record is not written again."""
    key = f"{iterations_prefix(run)}{record.iteration}.json"
    await store.put(key, record.model_dump_json(by_alias=True, indent=indent).encode())


def _of_iteration(iteration: int, results: Mapping[str, StageResult]) -> dict[str, StageResult]:
    return {name: result for name, result in results.items() if name.startswith(f"i{iteration}-")}


def now() -> datetime:
    return datetime.now(UTC)
