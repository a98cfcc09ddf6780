"""The real stage as a process: its resource, the stages before it, and `python -m moaa_jobs`."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.generation.rows import AGGREGATOR, MODELS, PROPOSERS, prompts
from benchmarks.generation.server import waited_s
from moaa.api import MoAA
from moaa.api.reading.load import load_text
from moaa.contract.job import stage_job
from moaa.plan.fingerprint import identify
from moaa.plan.graph import build
from moaa.plan.ids import RESOLVE, STAGE_DATA
from moaa.plan.result import StageResult
from moaa.store.objects.directory import DirectoryStore
from moaa.store.stages.shards import read_manifest
from tests.model_folder import write_model

WINDOW = 100_000
"""Tokens; no prompt comes near it, so that nothing is shortened and requests are equal in all clients."""


@dataclass(frozen=True)
class Used:
    """What a process took until it ended."""

    wall_s: float
    cpu_s: float
    waited_s: float
    """For a core."""
    peak_mib: float


@dataclass
class Prepared:
    """Prompts that are staged, in a folder of their own."""

    folder: Path
    rows: int
    results: dict[str, StageResult] = field(default_factory=dict)
    used: dict[str, Used] = field(default_factory=dict)
    """By stage."""

    def resource(self, store: Path, endpoints: Mapping[str, Mapping[str, Any]]) -> MoAA:
        """The mixture over models that are served here, or at `endpoints`, by model, as the resource declares them."""

        def model(name: str) -> dict[str, Any]:
            if name in endpoints:
                return {"name": name, "endpoint": {"model": name, "maxModelLen": WINDOW, **endpoints[name]}}
            return {"name": name, "source": f"file://{self.folder}/models/{name}", "serving": self._serving}

        spec = {
            "storage": {"uri": f"file://{store}"},
            "models": [*(model(name) for name in MODELS), model("student")],
            "student": "student",
            "mixture": {
                "layers": [{"proposers": [{"model": name} for name in PROPOSERS]}],
                "aggregator": {"model": AGGREGATOR},
            },
            "data": {
                "sft": [{"source": f"file://{self.folder}/prompts.jsonl", "limit": self.rows}],
                "decontaminationNgram": 0,
            },
            "training": {"sft": {}},
        }
        root = {"apiVersion": "moaa.dev/v1alpha1", "kind": "MoAA", "metadata": {"name": "generation"}, "spec": spec}
        return load_text(json.dumps(root))

    slots: int = 64

    @property
    def _serving(self) -> dict[str, Any]:
        return {"gpus": 0, "maxConcurrency": self.slots, "maxModelLen": WINDOW}

    def write(self) -> None:
        """Write models and prompts, and run the two stages that come first."""
        for name in (*MODELS, "student"):
            write_model(self.folder / "models" / name)
        with (self.folder / "prompts.jsonl").open("w") as file:
            file.writelines(
                json.dumps({"id": row["id"], "messages": row["messages"]}) + "\n" for row in prompts(self.rows)
            )
        store = self.folder / "store"
        resource = self.resource(store, {})
        for stage in (RESOLVE, STAGE_DATA):
            self.used[stage] = self.start(stage, resource, self.folder, {}).wait()
            self.results[stage] = asyncio.run(self._result(stage, resource, store))

    async def _result(self, stage: str, resource: MoAA, store: Path) -> StageResult:
        identity = identify(build(resource).stages[stage], resource, self.results)
        assert identity is not None, f"{stage} follows from the stages before it"
        manifest = await read_manifest(DirectoryStore(store), identity.path)
        assert manifest is not None, f"{stage} ended without a manifest; see its log in {self.folder}"
        return manifest.result()

    def copy_store(self, folder: Path) -> Path:
        """The store as it is before the stage, in another folder."""
        shutil.copytree(self.folder / "store", folder / "store")
        return folder / "store"

    def start(
        self, stage: str, resource: MoAA, folder: Path, urls: Mapping[str, Sequence[str]], *, shard: int | None = None
    ) -> "Process":
        """Start a stage's job."""
        identity = identify(build(resource).stages[stage], resource, self.results)
        assert identity is not None, f"{stage} follows from the stages before it"
        job = stage_job(identity, resource, self.results, run="default-generation-local", endpoints=urls)
        name = stage if shard is None else f"{stage}-{shard}"
        file = folder / f"{name}.json"
        file.write_text(job.model_dump_json(by_alias=True))
        command = [sys.executable, "-m", "moaa_jobs", "--job", str(file), "--work_dir", str(folder / "work" / name)]
        command += ["--progress_file", str(folder / f"{name}.progress")]
        command += [] if shard is None else ["--shard", str(shard)]
        return Process(command, folder / f"{name}.log")


class Process:
    """A child whose use of the machine is told when it ends; its words go to `log`."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self.log = log
        self.started = time.monotonic()
        with log.open("ab") as file:
            self._child = subprocess.Popen(command, stdout=file, stderr=file, cwd=Path(__file__).parents[2])

    def kill(self) -> None:
        self._child.kill()

    def peak_mib(self) -> float:
        """Most memory that it has had so far."""
        status = Path(f"/proc/{self._child.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024

    def cpu_s(self) -> float:
        """What it has used so far."""
        ran = Path(f"/proc/{self._child.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(ran[11]) + int(ran[12])) / os.sysconf("SC_CLK_TCK")

    def check_runs(self) -> None:
        """Raises SystemExit: it has ended, too early for what is waited for."""
        if os.waitid(os.P_PID, self._child.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None:
            raise SystemExit(f"a client ended before its calls were made: {self.log.read_text()[-2000:]}")

    def wait(self, *, expected: int = 0) -> Used:
        """Raises SystemExit: it ended with another code than was `expected`."""
        os.waitid(os.P_PID, self._child.pid, os.WEXITED | os.WNOWAIT)
        starved_s = waited_s(self._child.pid)
        _, status, used = os.wait4(self._child.pid, 0)
        self._child.returncode = code = os.waitstatus_to_exitcode(status)
        if code != expected:
            raise SystemExit(f"a client ended with code {code}: {self.log.read_text()[-2000:]}")
        wall_s = time.monotonic() - self.started
        return Used(wall_s, used.ru_utime + used.ru_stime, starved_s, used.ru_maxrss / 1024)
