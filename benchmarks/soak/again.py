"""What must change nothing: the ledgers played again, another `moaa run`, a job that sleeps through its successor."""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks.soak.checks import Verdict, changed, snapshot, verdict
from benchmarks.soak.world import World, resource, until
from benchmarks.tiny_claims import manifests
from moaa.api import MoAA
from moaa.api.reading.load import load
from moaa.contract.exits import Exit
from moaa.contract.job import StageJob, stage_job
from moaa.local.jobs import read_progress
from moaa.plan.fingerprint import identify
from moaa.plan.graph import build
from moaa.plan.result import StageResult
from moaa.plan.stage import Kind
from moaa.run.records import run_id
from moaa.store.objects.directory import DirectoryStore
from moaa.store.stages.manifest import StageManifest
from moaa.store.stages.shards import read_manifest
from moaa_jobs.runner.context import Context, Deferred
from moaa_jobs.runner.settings import JobSettings
from moaa_jobs.stages import evaluate, generate, judge, sample
from moaa_jobs.tell.progress import Progress

CALL_STAGES = {
    Kind.GENERATE: generate.run,
    Kind.SAMPLE: sample.run,
    Kind.JUDGE: judge.run,
    Kind.EVALUATE: evaluate.run,
}
SLEEPERS_ROWS = 5
"""Rows that the zombie has finished when it is stopped: some flushed or not, one under way."""
ZOMBIE_SEED = 1_000_000
START_S, END_S = 120.0, 120.0


def job_of(stage: str, declared: MoAA, results: Mapping[str, StageResult]) -> StageJob:
    """The job file of a stage with no server of ours to ask."""
    identity = identify(build(declared).stages[stage], declared, results)
    assert identity is not None, f"{stage} needs what is not there"
    return stage_job(identity, declared, results, run=run_id(declared))


# The ledgers played again.


async def replay(world: World, declared: MoAA, found: Mapping[str, StageManifest], folder: Path) -> Verdict:
    """Run every stage of calls again on a copy of the store that has lost what they published."""
    copy = DirectoryStore(folder / "store")
    root = Path(declared.spec.storage.uri.removeprefix("file://"))
    await asyncio.to_thread(shutil.copytree, root, folder / "store")
    results = {name: manifest.result() for name, manifest in found.items()}
    before = lines(world.calls)
    problems: list[str] = []
    for name, manifest in found.items():
        if manifest.kind not in CALL_STAGES:
            continue
        path = results[name].path
        await asyncio.to_thread(shutil.rmtree, folder / "store" / path / "shards")
        await copy.delete(f"{path}/manifest.json")
        settings = JobSettings(job=folder / "unused.json", work_dir=folder)
        job = job_of(name, declared, results)
        context = Context(job, declared, copy, folder, Progress(name, None), settings)
        try:
            await CALL_STAGES[manifest.kind](job, context)
        except Deferred as deferred:
            problems.append(f"{name}: calls are missing, rows wait for {deferred.waiting}")
            continue
        again = await read_manifest(copy, path)
        if again is None or again.outputs != manifest.outputs:
            problems.append(f"{name}: other tables")
    if lines(world.calls) != before:
        problems.append(f"{lines(world.calls) - before} calls were made")
    stages = sum(manifest.kind in CALL_STAGES for manifest in found.values())
    return verdict("replay", problems, f"{stages} stages gave the same tables from their ledgers, without a call")


def lines(folder: Path) -> int:
    """Requests that servers have noted."""
    return sum(file.read_bytes().count(b"\n") for file in folder.glob("*.jsonl"))


# Another run.


async def run_again(world: World, file: Path, root: Path) -> Verdict:
    """`moaa run` of what is finished."""
    before, mark = snapshot(root), len(world.events)
    code = await world.run(file)
    problems = [f"exit code {code}"] if code else []
    problems += [f"{key} changed" for key in changed(before, snapshot(root))]
    problems += [f"{fields['stage']} ran" for event, fields in world.events[mark:] if event == "stage_started"]
    return verdict("idempotent", problems, f"another run started nothing; {len(before)} objects are as they were")


# The zombie.


async def zombie(world: World, urls: dict[str, str], folder: Path) -> Verdict:
    """Stop a generate job by SIGSTOP, let `moaa run` do its stage, and wake it up."""
    file = resource(ZOMBIE_SEED, folder, urls, iterations=1, name="zombie")
    declared = load(file)
    if code := await world.run(file, "--until", "i0-stage-data"):
        return Verdict("zombie", False, f"stage-data ended with exit code {code}")
    results = {name: manifest.result() for name, manifest in (await manifests(declared)).items()}
    job = folder / "job.json"
    job.write_text(job_of("i1-generate", declared, results).model_dump_json(by_alias=True))
    progress = folder / "progress.json"
    environment = world.environment | {
        "MOAA_WORK_DIR": str(folder / "scratch"),
        "MOAA_PROGRESS_FILE": str(progress),
        "MOAA_ROWS_IN_FLIGHT": "1",  # slow enough to be caught half-way
    }
    with (folder / "zombie.log").open("wb") as log:
        sleeper = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "moaa_jobs", "--job", str(job), env=environment, stderr=log
        )
    try:
        return await _sleep_and_wake(sleeper, world, file, progress)
    finally:
        if sleeper.returncode is None:
            sleeper.kill()  # ends a stopped process, too
            await sleeper.wait()


async def _sleep_and_wake(sleeper: asyncio.subprocess.Process, world: World, file: Path, progress: Path) -> Verdict:
    def is_at_work() -> bool:
        return read_progress(progress).get("rows_done", 0) >= SLEEPERS_ROWS or sleeper.returncode is not None

    if await until(is_at_work, START_S) is None or sleeper.returncode is not None:
        return Verdict("zombie", False, f"the job to be stopped did not get to work, exit code {sleeper.returncode}")
    os.kill(sleeper.pid, signal.SIGSTOP)
    asleep_at = read_progress(progress)["rows_done"]
    if code := await world.run(file, "--until", "i1-generate"):
        return Verdict("zombie", False, f"the run beside the sleeping job ended with exit code {code}")
    root = file.parent / "store"
    before = snapshot(root)
    os.kill(sleeper.pid, signal.SIGCONT)
    try:
        async with asyncio.timeout(END_S):
            code = await sleeper.wait()
    except TimeoutError:
        return Verdict("zombie", False, f"it still ran {END_S:.0f} s after it woke up")
    problems = [] if code == Exit.FENCED else [f"it ended with exit code {code} instead of {Exit.FENCED:d}"]
    problems += [f"{key} changed" for key in changed(before, snapshot(root))]
    return verdict("zombie", problems, f"stopped at row {asleep_at}, ended as fenced, changed no object")
