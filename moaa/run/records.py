"""What the runner leaves in the store beside manifests: the resource as it ran, attempts, and iterations.

Attempts are for reports only. The record of a closed iteration pins it: later edits do not reopen it.
"""

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime

from pydantic import ValidationError

from moaa.api import MoAA
from moaa.api.base import Spec
from moaa.errors import StoreError
from moaa.plan.history.repeats import IterationRecord
from moaa.plan.result import Digest, StageResult
from moaa.plan.stage import Kind
from moaa.store.objects.base import Store

LOCAL_UID = "local"


class Attempt(Spec):
    """One run of a stage's job, however it ended."""

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


def run_id(resource: MoAA, *, uid: str = LOCAL_UID) -> str:
    """`<namespace>-<name>-<uid>`; the uid of a run outside Kubernetes is always `local`: the file names the run."""
    return f"{resource.run_name}-{uid}"


def attempts_prefix(run: str) -> str:
    return f"runs/{run}/attempts/"


async def write_attempt(store: Store, run: str, attempt: Attempt) -> None:
    """One new object; its name sorts by time and is unique without asking anybody."""
    moment = attempt.started.astimezone(UTC).strftime("%Y%m%dT%H%M%S.%f")
    key = f"{attempts_prefix(run)}{moment}Z-{attempt.stage}-{secrets.token_hex(4)}.json"
    await store.put(key, attempt.model_dump_json(by_alias=True).encode())


async def read_attempts(store: Store, run: str) -> list[Attempt]:
    """Every recorded attempt of a run, oldest first."""
    return [Attempt.model_validate_json(await store.get(found.key)) async for found in store.list(attempts_prefix(run))]


async def write_resource(store: Store, run: str, resource: MoAA) -> None:
    """The resource as this runner understood it, defaults included; the newest runner's replaces older ones."""
    body = resource.model_dump_json(by_alias=True, indent=1).encode()
    await store.put(f"runs/{run}/resource.json", body)


def _iteration_key(run: str, iteration: int) -> str:
    return f"runs/{run}/iterations/{iteration}.json"


async def read_iterations(store: Store, run: str) -> dict[int, IterationRecord]:
    """What this run's iterations made so far, by number. Raises StoreError: a record is there but unreadable."""
    found: dict[int, IterationRecord] = {}
    async for entry in store.list(f"runs/{run}/iterations/"):
        try:
            record = IterationRecord.model_validate_json(await store.get(entry.key))
        except ValidationError as error:
            raise StoreError(
                f"{store.uri}/{entry.key} is not a record of an iteration; restore or delete it"
            ) from error
        found[record.iteration] = record
    return found


async def write_iteration(
    store: Store, resource: MoAA, iteration: int, results: Mapping[str, StageResult]
) -> IterationRecord:
    """Record the finished stages of an iteration. A closed iteration is final: its record is written no more."""
    stages = {name: result for name, result in results.items() if name.startswith(f"i{iteration}-")}
    record = IterationRecord(iteration=iteration, stages=stages)
    if record.is_closed:
        start = {name: result for name, result in results.items() if name.startswith("i0-")}
        record = record.with_(resource=resource.model_dump(mode="json", by_alias=True), start=start)
    await store.put(_iteration_key(run_id(resource), iteration), record.model_dump_json(by_alias=True).encode())
    return record


def now() -> datetime:
    return datetime.now(UTC)
