"""Measure the tiny world's claims over worlds that have models and questions of their own.

    python -m benchmarks.tiny_worlds --worlds 1 2 3 4 5 --workdir runs/worlds

World 0 is the committed one, whose lessons were tuned by looking at it; leave it out. Every other number draws other
first weights, lessons, questions and seeds of the runs, by the same programs. Each world has a folder: data/, models/,
and the run with its controls (`benchmarks.tiny_claims`). What is done is not repeated, so a killed command goes on.

Intervals are over questions of these worlds, and hold for all claims together at 95 % (Bonferroni). How far other
worlds may differ is seen from each world's own difference, and from in how many of them a claim holds by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.tiny_claims import TINY, measure, teachers
from examples.tiny.claims import Scores, Verdict, judge
from examples.tiny.lessons import CAST
from examples.tiny.world import write_files

CLAIMS = TINY / "claims.yaml"


def prepare(folder: Path, world: int) -> None:
    """Questions and models of a world; a model that is there is kept, since it appears under its name when it is whole.

    Raises:
        CalledProcessError: a model could not be taught; the same command goes on from there.
    """
    write_files(folder / "data", world)
    models, unfinished = folder / "models", folder / "unfinished"
    models.mkdir(exist_ok=True)
    for name in CAST:
        if (models / name).exists():
            continue
        shutil.rmtree(unfinished, ignore_errors=True)
        command = [sys.executable, "-m", "examples.tiny.build", "--model", name, "--seed", str(1000 * world)]
        command += ["--out", str(unfinished), "--base", str(models / "base")]
        subprocess.run(command, check=True, cwd=TINY.parent.parent, env={**os.environ, "OMP_NUM_THREADS": "1"})
        (unfinished / name).rename(models / name)
    shutil.rmtree(unfinished, ignore_errors=True)


async def measure_world(folder: Path, world: int) -> Scores:
    """All scores of one world, from `scores.json` where it has been measured."""
    done = folder / "scores.json"
    if done.exists():
        found: Scores = json.loads(done.read_text())
        return found
    async with teachers(folder, folder) as urls:
        found = await measure(world, folder / "run", urls, folder)
    partial = folder / ".scores.json"
    partial.write_text(json.dumps(found))
    partial.replace(done)
    return found


def told(verdict: Verdict, alone: Sequence[Verdict]) -> list[str]:
    """The verdict over all worlds, then each world's own difference and in how many the claim holds by itself."""
    means = [one.difference.mean for one in alone if one.difference is not None]
    held = sum(one.holds is True for one in alone)
    by_world = ", ".join(f"{mean:+.3f}" for mean in means) or "none"
    return [str(verdict), f"{'':14}by world: {by_world}; holds alone in {held} of {len(alone)}"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--workdir", type=Path, default=Path("runs/worlds"))
    options = parser.parse_args()
    measured: dict[int, Scores] = {}
    for world in options.worlds:
        started = time.monotonic()
        folder: Path = options.workdir.resolve() / f"world-{world}"
        folder.mkdir(parents=True, exist_ok=True)
        try:
            prepare(folder, world)
            measured[world] = asyncio.run(measure_world(folder, world))
        except subprocess.CalledProcessError as error:
            print(f"world {world}: {error}; see {folder}. The same command goes on from here", file=sys.stderr)
            return error.returncode
        print(f"world {world}: {(time.monotonic() - started) / 60:.1f} minutes", flush=True)
    print("\nmean scores by world:")
    names = [name for name in next(iter(measured.values())) if all(name in one for one in measured.values())]
    for name in names:
        print(f"  {name:<18} {'  '.join(f'{statistics.fmean(one[name].values()):.3f}' for one in measured.values())}")
    print(f"\nclaims over worlds {', '.join(map(str, measured))}:")
    whole = judge(CLAIMS, list(measured.values()), is_corrected=True)
    alone = [judge(CLAIMS, [one], is_corrected=True) for one in measured.values()]
    for place, verdict in enumerate(whole):
        print("\n".join(told(verdict, [one[place] for one in alone])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
