"""What the runner leaves in the store for whoever asks later: the resource as it ran, and every attempt's outcome.

Nothing is ever decided from these objects; a run without them goes on just the same.
"""

import secrets
from datetime import UTC, datetime

from moaa.api import MoAA
from moaa.api.base import Spec
from moaa.plan.stage import Digest, Kind
from moaa.store.base import Store


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


def run_id(resource: MoAA) -> str:
    """`<namespace>-<name>-<uid>`; the uid of a run outside Kubernetes is always `local`: the file names the run."""
    return f"{resource.run_name}-local"


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


def now() -> datetime:
    return datetime.now(UTC)
