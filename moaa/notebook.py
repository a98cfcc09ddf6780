"""Runs from Python: open one, read its stages, rows, scores and curves, estimate it, start it and follow it.

Plain functions that return values, also inside a notebook, whose event loop is taken: what has to wait for a store does
so in a thread. `import moaa` gives these names; what they need beyond the light core is imported on first use.
"""

import asyncio
import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from moaa.api import MoAA
from moaa.api.reading.load import load
from moaa.errors import MoaaError, UsageError
from moaa.plan.forecast.estimate import Estimate, estimate
from moaa.report.schema import StageSummary, Summary
from moaa.report.summary import summarise
from moaa.run.collect import collect
from moaa.run.records import LOCAL_UID, run_id
from moaa.run.view import RunView, StageView
from moaa.store.objects.base import Store
from moaa.store.objects.open import open_store
from moaa.store.stages.manifest import StageManifest
from moaa.store.stages.shards import read_object

ResultT = TypeVar("ResultT")


def estimates(resource: MoAA | str | Path, rows: Mapping[str, int] | None = None) -> list[Estimate]:
    """What every stage of a run that has not begun will take: calls, tokens, hours, money.

    `rows` are rows of tables by name (`sft-0`) where the resource sets no limit.

    Raises:
        ResourceError: the file cannot be read or holds mistakes.
    """
    return list(estimate(_resource(resource), dict(rows or {})))


def open_run(resource: MoAA | str | Path, *, uid: str = LOCAL_UID) -> "Run":
    """The run of a resource, finished or not, from its store. `uid`: metadata.uid of one on a cluster.

    Raises:
        ResourceError: the file cannot be read or holds mistakes.
        StoreError: the store cannot be reached, or a stage's manifest is there but unreadable.
    """
    return Run(_resource(resource), uid=uid)


def start(file: str | Path, *options: str) -> "Started":
    """Carry out a file on this machine as `moaa run` does, beside this program. `options` are those of `moaa run`."""
    return Started([sys.executable, "-m", "moaa.cli", "run", str(file), "--json", *options])


def _resource(given: MoAA | str | Path) -> MoAA:
    return given if isinstance(given, MoAA) else load(given)


class Run:
    """What the store holds of a run. It stays as it was read until `refresh`."""

    def __init__(self, resource: MoAA, *, uid: str = LOCAL_UID) -> None:
        """Raises StoreError: as `open_run`."""
        self.resource = resource
        self.name = run_id(resource, uid=uid)
        self._view: RunView
        self.summary: Summary
        """All figures of the report (`summary.json`)."""
        self.refresh()

    def __repr__(self) -> str:
        done = sum(stage.status == "done" for stage in self._view.stages)
        return f"<{self.name}: {done} of {len(self._view.stages)} stages done. {self.summary.headline.verdict}>"

    def refresh(self) -> None:
        """Read the store again. Raises StoreError."""
        self._view = self._with_store(lambda store: collect(self.resource, store, self.name))
        self.summary = summarise(self._view)

    @property
    def stages(self) -> list[StageSummary]:
        """Every stage with its state, rows, failures and seconds, in order."""
        return self.summary.stages

    def tables(self, stage: str) -> list[str]:
        """The tables of a stage that is done. Raises UsageError: there is no such stage, or it is not done."""
        return list(self._manifest(stage).tables)

    def table(self, stage: str, table: str) -> pa.Table:
        """A whole table in memory, for example `table("i1-judge", "rankings")`; `.to_pandas()` makes a data frame.

        Raises:
            UsageError: there is no such stage or table, or the stage is not done.
            StoreError: an object is missing or damaged.
        """
        return pa.concat_tables(self.parts(stage, table))

    def parts(self, stage: str, table: str) -> Iterator[pa.Table]:
        """A table shard by shard, for tables that do not fit into memory. Raises UsageError, StoreError: as `table`."""
        manifest = self._manifest(stage)
        if table not in manifest.tables:
            raise UsageError(f"{stage} has no table {table!r}, only {', '.join(manifest.tables) or 'none'}")
        for ref in manifest.tables[table]:
            body = self._with_store(lambda store, ref=ref: read_object(store, ref))  # type: ignore[misc]  # a default
            yield pq.read_table(pa.BufferReader(body))

    def scores(self) -> pa.Table:
        """Every score of the report: model, benchmark, value, low, high, n and more, one row each."""
        return pa.Table.from_pylist([score.model_dump(exclude={"figures", "parts"}) for score in self.summary.scores])

    def curve(self, stage: str) -> pa.Table:
        """Loss, learning rate and gradient norm by step of a training. Raises UsageError, StoreError: as `table`."""
        return self.table(stage, "curve").sort_by("step")

    def _manifest(self, stage: str) -> StageManifest:
        found: StageView | None = self._view.of(stage)
        if found is None:
            names = ", ".join(one.stage.id for one in self._view.stages)
            raise UsageError(f"{stage}: there is no such stage; the stages are {names}")
        if found.manifest is None:
            raise UsageError(f"{stage} is not done ({found.status}); refresh() reads the store again")
        return found.manifest

    def _with_store(self, use: Callable[[Store], Coroutine[Any, Any, ResultT]]) -> ResultT:
        async def work() -> ResultT:
            store = open_store(self.resource.spec.storage)
            try:
                return await use(store)
            finally:
                await store.close()

        with ThreadPoolExecutor(1, thread_name_prefix="moaa-store") as thread:
            return thread.submit(asyncio.run, work()).result()


class Started:
    """A run in a process of its own. It ends soon after this program does, and `start` goes on from there."""

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self._said: list[str] = []
        # Beside the reader of events: a full pipe would hold the run.
        self._listener = threading.Thread(target=self._listen, name="moaa-run", daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as lines:
            self._said.extend(lines)

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Its events as they come: `time`, `event`, then the event's fields. Whoever leaves early may come back; a run
        whose events nobody reads waits after some hundreds of them."""
        assert self._process.stdout is not None
        for line in () if self._process.stdout.closed else self._process.stdout:
            yield json.loads(line)

    def wait(self) -> None:
        """Until it has ended.

        Raises:
            MoaaError: it failed or was stopped; what it said.
        """
        assert self._process.stdout is not None
        for _ in self:
            pass
        self._process.stdout.close()
        self._listener.join()
        if self._process.wait():
            raise MoaaError("".join(self._said).strip().removeprefix("moaa: "))

    def stop(self) -> None:
        """End it in order, so that nothing is lost."""
        self._process.terminate()
        with contextlib.suppress(MoaaError):
            self.wait()
