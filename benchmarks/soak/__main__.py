"""`python -m benchmarks.soak --workdir runs/soak`: kill, let it finish, check, and say so (see the package's text)."""

import argparse
import asyncio
import json
import platform
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.soak import counting
from benchmarks.soak.again import replay, run_again, zombie
from benchmarks.soak.checks import Rows, Tables, Verdict, check_calls, read_tables, verdict
from benchmarks.soak.kills import GONE_S, Disturbance, Kill
from benchmarks.soak.processes import Kind, marked
from benchmarks.soak.world import MARK, ROOT, World, resource, until
from benchmarks.tiny_claims import manifests
from moaa.api import MoAA
from moaa.api.reading.load import load
from moaa.store.objects.directory import DirectoryStore

SHARES = {Kind.RUNNER: 6, Kind.SERVER: 5, Kind.WORKER: 5, Kind.JOB: 5, Kind.GUARD: 3}
MAX_RUNS = 6
"""A run that is over before all kills are made is followed by another, from another seed."""


@dataclass
class Outcome:
    """All that is known at the end, and written to soak.json."""

    kills: list[Kill] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    calls: list[dict[str, int]] = field(default_factory=list)
    """Of every run: entries of its ledgers, requests that belong to them, and repeated ones."""
    minutes: list[float] = field(default_factory=list)
    """Of every disturbed run."""

    def add(self, found: Verdict, run: int | None = None) -> None:
        name = found.name if run is None else f"{found.name} {run}"
        self.verdicts.append(Verdict(name, found.holds, found.text))
        print(self.verdicts[-1], flush=True)


def budget(kills: int) -> Counter[Kind]:
    """How many kills of each kind, in the proportions of SHARES and at least one each."""
    left = Counter({kind: max(1, kills * share // sum(SHARES.values())) for kind, share in SHARES.items()})
    for kind in (*SHARES, *SHARES):
        if left.total() < kills:
            left[kind] += 1
    return left


async def disturb(world: World, urls: dict[str, str], options: argparse.Namespace, outcome: Outcome) -> None:
    """Runs under kills until all kills are made, each checked when it is finished."""
    rng = random.Random(options.seed)
    left = budget(options.kills)
    for number in range(1, MAX_RUNS + 1):
        file = resource(options.seed + number, world.folder / f"run-{number}", urls, iterations=options.iterations)
        disturbance = Disturbance(world, file, left=left, rng=rng)
        print(f"run {number}: seed {options.seed + number}, kills to make: {_counts(left)}", flush=True)
        started = time.monotonic()
        code = await disturbance.run(first=len(outcome.kills) + 1)
        outcome.minutes.append(round((time.monotonic() - started) / 60, 1))
        outcome.kills += disturbance.kills
        outcome.add(verdict("orphans", disturbance.stuck, _gone(disturbance.kills)), number)
        await check(world, file, code, number, outcome)
        if not left.total():
            return


async def check(world: World, file: Path, code: int, number: int, outcome: Outcome) -> None:
    """Every property of one finished run."""
    declared = load(file)
    found = await manifests(declared)
    problems = [] if code == 0 else [f"moaa run ended with exit code {code}; see {file.parent / 'moaa.log'}"]
    text = f"exit code 0, {len(found)} stages, {outcome.minutes[-1]} minutes under kills"
    outcome.add(verdict("finished", problems, text), number)
    store = DirectoryStore(file.parent / "store")
    tables = {name: await read_tables(store, manifest) for name, manifest in found.items()}
    reference = await undisturbed(world, declared, file.parent / "undisturbed")
    rows = sum(len(rows) for stage in tables.values() for rows in stage.values())
    problems = Rows(declared, reference, tables).problems(found)
    outcome.add(verdict("rows", problems, f"{rows} rows in {sum(map(len, tables.values()))} tables"), number)
    if problems:
        return  # what follows reads finished stages
    results = {name: manifest.result() for name, manifest in found.items()}
    figures = await check_calls(store, declared, results, counting.read(world.calls))
    text = f"{figures.entries} durable answers, none asked for again; {figures.repeated} requests were lost to kills"
    outcome.add(verdict("calls", figures.problems, text), number)
    outcome.calls.append({"entries": figures.entries, "asked": figures.asked, "repeated": figures.repeated})
    outcome.add(await replay(world, declared, found, file.parent / "replay"), number)
    outcome.add(await run_again(world, file, file.parent / "store"), number)


async def undisturbed(world: World, declared: MoAA, folder: Path) -> dict[str, Tables]:
    """The tables of resolve and stage-data as a run makes them that nobody disturbs."""
    storage = declared.spec.storage.model_copy(update={"uri": f"file://{folder / 'store'}"})
    copy = declared.model_copy(update={"spec": declared.spec.model_copy(update={"storage": storage})})
    folder.mkdir()
    file = folder / "soak.yaml"
    file.write_text(copy.model_dump_json(by_alias=True, exclude_unset=True))  # JSON is YAML
    if code := await world.run(file, "--until", "i0-stage-data"):
        raise RuntimeError(f"the undisturbed run ended with exit code {code}; see {folder / 'moaa.log'}")
    store = DirectoryStore(folder / "store")
    return {name: await read_tables(store, manifest) for name, manifest in (await manifests(copy)).items()}


async def soak(options: argparse.Namespace, folder: Path) -> Outcome:
    world, outcome = World(folder), Outcome()
    world.calls.mkdir(parents=True)
    started = time.monotonic()
    async with world.teachers() as urls:
        print(f"the teachers are up after {time.monotonic() - started:.0f} s", flush=True)
        await disturb(world, urls, options, outcome)
        outcome.add(await zombie(world, urls, folder / "zombie"))
    kinds = Counter(kill.kind for kill in outcome.kills)
    lacking = [f"{count} instead of {options.kills}"] if (count := kinds.total()) < options.kills else []
    lacking += [f"none of a {kind}" for kind in SHARES if not kinds[kind]]
    outcome.add(verdict("kills", lacking, _counts(kinds)))
    marks = [f"{MARK}={folder}", f"{folder}/"]
    await until(lambda: not list(marked(marks)), GONE_S)
    left = [f"{process.title} ({process.pid})" for process in marked(marks)]
    outcome.add(verdict("orphans", left, "no process of this soak is left"))
    return outcome


def _counts(kinds: Counter[Kind]) -> str:
    return f"{kinds.total()} ({', '.join(f'{kind} {kinds[kind]}' for kind in SHARES if kinds[kind])})"


def _gone(kills: Iterable[Kill]) -> str:
    seconds = [kill.gone_s for kill in kills if kill.gone_s is not None]
    return f"{len(seconds)} killed runners left nothing after at most {max(seconds, default=0.0):.1f} s"


def report(options: argparse.Namespace, outcome: Outcome, seconds: float) -> dict[str, object]:
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return {
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit.stdout.strip() or None,
        "python": platform.python_version(),
        "seed": options.seed,
        "iterations": options.iterations,
        "minutes": round(seconds / 60, 1),
        "minutesOfRuns": outcome.minutes,
        "holds": all(found.holds for found in outcome.verdicts),
        "kills": [asdict(kill) for kill in outcome.kills],
        "calls": outcome.calls,
        "verdicts": [asdict(found) for found in outcome.verdicts],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workdir", type=Path, default=Path("runs/soak"), help="emptied first when it is a soak's")
    parser.add_argument("--kills", type=int, default=24, help="in total, at least 5")
    parser.add_argument("--iterations", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    folder: Path = options.workdir.resolve()
    if folder.exists():
        if any(folder.iterdir()) and not (folder / "calls").is_dir():
            parser.error(f"--workdir {folder}: holds something that is no soak's; give another folder or empty it")
        shutil.rmtree(folder)
    started = time.monotonic()
    outcome = asyncio.run(soak(options, folder))
    body = report(options, outcome, time.monotonic() - started)
    (folder / "soak.json").write_text(json.dumps(body, indent=1) + "\n")
    print(f"{'all hold' if body['holds'] else 'FAILED'} after {body['minutes']} minutes; {folder / 'soak.json'}")
    return 0 if body["holds"] else 1


if __name__ == "__main__":
    sys.exit(main())
