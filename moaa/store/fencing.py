"""Who may write a shard: the holder of its highest attempt.

Every worker claims the next attempt number of a shard before it works on it, and looks again before every flush and
publish; a worker that finds a higher number leaves. The look alone cannot stop a writer that stalls between looking and
writing: the ledger (`moaa.store.ledger.ledger`) seals itself against earlier attempts, and what is published is put
only if absent, under keys that carry the attempt. So a zombie wastes at most the calls of one flush interval.

Two runs of equal inputs share a stage's folder, and the one that claims later fences the other. A fenced run looks
with `is_worked_on` whether the other goes on, and waits for its result.

Numbers have no gaps: n+1 is only ever claimed by someone who saw n, and nothing deletes an attempt. One look for n+1
therefore tells whether any higher attempt exists.
"""

import hashlib
import json
import os
import socket
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from moaa.errors import AlreadyExists, Fenced, StoreError
from moaa.store.objects.base import Store

QUIET = timedelta(minutes=15)
"""A stage at work writes its ledger every 10 s and a training its progress every few seconds. What reads sources or
loads weights before that writes nothing, seldom for longer."""
MAX_CLAIM_TRIES = 100
"""Each lost try means that another claim succeeded; so many mean a crowd on one shard."""


def _key(stage_path: str, shard: str, attempt: int) -> str:
    return f"{stage_path}/attempts/{shard}/{attempt:06d}.json"


@dataclass(frozen=True)
class Token:
    """The right to write one shard of one stage, until another worker claims a higher attempt."""

    store: Store
    stage_path: str
    shard: str
    attempt: int
    """From 1. The first part of every key that this holder writes under `out/`."""

    async def check(self) -> None:
        """Return while this is the highest attempt of its shard.

        Raises:
            Fenced: a higher attempt exists; stop and write nothing more.
        """
        if await self.store.exists(_key(self.stage_path, self.shard, self.attempt + 1)):
            raise Fenced(
                f"{self.stage_path} shard {self.shard}: attempt {self.attempt + 1} has taken over from attempt "
                f"{self.attempt}; this process stops"
            )

    async def claim_digest(self) -> str:
        """The sha256 of the claim, which no other has, in this store or another. Raises NotFound: there is none."""
        return hashlib.sha256(await self.store.get(_key(self.stage_path, self.shard, self.attempt))).hexdigest()

    def out_key(self, name: str) -> str:
        """Where this attempt, and no other, writes `name`."""
        return f"{self.stage_path}/out/{self.attempt}/{self.shard}-{name}"


async def claim(store: Store, stage_path: str, shard: str) -> Token:
    """Take the next attempt of a shard; every earlier holder is fenced from then on.

    Raises:
        StoreError: the store fails, or others keep claiming the same shard.
    """
    # The nonce makes the body unique, so that reading back after a time-out shows whose write it was.
    writer = {"host": socket.gethostname(), "pid": os.getpid(), "nonce": uuid4().hex}
    for _ in range(MAX_CLAIM_TRIES):
        attempt = await _highest(store, stage_path, shard) + 1
        body = json.dumps({"attempt": attempt, "claimed": datetime.now(UTC).isoformat(), **writer})
        try:
            await store.put_if_absent(_key(stage_path, shard, attempt), body.encode())
        except AlreadyExists:
            continue
        return Token(store, stage_path, shard, attempt)
    raise StoreError(
        f"{stage_path} shard {shard}: no attempt could be claimed in {MAX_CLAIM_TRIES} tries because others keep "
        "claiming it; make sure that one executor runs this stage"
    )


async def is_worked_on(store: Store, stage_path: str, ledger: str, *, now: datetime) -> bool:
    """Whether something of a stage was written within `QUIET`: its claims, shards, checkpoints or calls.

    `ledger` is the folder that it shares with other stages of the same inputs; their calls do not count.
    """
    chain = chain_of(stage_path)
    async for found in store.list(f"{stage_path}/"):
        if now - found.written < QUIET:
            return True
    async for found in store.list(f"{ledger}/"):
        if found.key.rpartition("/")[2].startswith(f"{chain}-") and now - found.written < QUIET:
            return True
    return False


def chain_of(stage_path: str) -> str:
    """What names of a stage's ledger segments begin with."""
    return stage_path.rpartition("/")[2][:8]


async def _highest(store: Store, stage_path: str, shard: str) -> int:
    prefix = f"{stage_path}/attempts/{shard}/"
    highest = 0
    async for found in store.list(prefix):
        name = found.key.removeprefix(prefix).removesuffix(".json")
        if not name.isdecimal():
            raise StoreError(f"{found.key}: not an attempt; remove the object, MoAA did not write it")
        highest = max(highest, int(name))
    return highest
