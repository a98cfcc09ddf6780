"""`make rules`: build the cast once, run the arms on this machine, and hold the claims against the report's scores.

    python -m examples.rules.run --world small --seeds 0 --workdir runs/rules

A seed is a world of its own: other topics to train on, another cast taught from other lessons, another store. All are
measured on the same questions.
Exit code 0 says that every arm is done. Whether a claim holds is a finding, printed and not judged. Killed and started
again it goes on where it was.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from examples.real.run import PASSIVE
from examples.rules import controls
from examples.rules.data import WORLDS
from examples.rules.rules import BY_ID
from examples.rules.stored import Rules, Scores, read_conversations, read_rules, read_samples, read_scores
from examples.tiny.claims import Verdict, judge
from moaa.experiment.expand import Expanded, Run, expand
from moaa.store.objects.open import StoreSettings, open_store

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
ARMS, BASE, CLAIMS = HERE / "arms.yaml", HERE / "moaa.yaml", HERE / "claims.yaml"
OWN, REAL = "../../runs/rules/seed-0", "../../runs/real/model"
"""How the files here name a seed's folder and the model."""
MODEL = ROOT / "runs" / "real" / "model"
FIRST = "mixture"
NAMES = {
    "one-member": {"sft": "one-member"},
    "random-member": {"sft": "random-member"},
    "untaught-judge": {"dpo": "dpo-untaught"},
    "half-kept": {"dpo": "dpo-half-kept"},
}
"""Scores that an arm adds to those of the first one, by what they are called in claims.yaml."""


def command(*words: str) -> None:
    """Run as a user would.

    Raises:
        CalledProcessError: it failed; what it said is on the terminal.
    """
    subprocess.run(words, check=True, cwd=ROOT, env={**PASSIVE, **os.environ})


def place(folder: Path, *, seed: int) -> Path:
    """Write the resource and its arms into a seed's folder, with the paths and the seed that are its own.

    Returns:
        The experiment's file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for file in (BASE, ARMS):
        text = (
            file.read_text().replace(f"file://{OWN}", f"file://{folder}").replace(f"file://{REAL}", f"file://{MODEL}")
        )
        (folder / file.name).write_text(text if file == BASE else f"{text}seeds: [{seed}]\n")
    return folder / ARMS.name


def prepare(folder: Path, world: str, *, seed: int) -> None:
    """The base model, the prompts and the cast, each unless it is there."""
    own = ("--world", world, "--seed", str(seed))
    command(sys.executable, "-m", "examples.real.build", "--out", str(MODEL))
    command(sys.executable, "-m", "examples.rules.data", *own, "--out", str(folder / "data"))
    command(sys.executable, "-m", "examples.rules.build", *own, "--base", str(MODEL), "--out", str(folder / "models"))


def experiment(file: Path, *options: str) -> None:
    moaa, folder = str(Path(sys.executable).with_name("moaa")), file.parent
    out = str(folder / "report")
    command(moaa, "experiment", str(file), "--workdir", str(folder / "work"), "--out", out, *options)


async def write_controls(run: Run, folder: Path, world: str) -> list[str]:
    """Write what the other arms are given; returns sentences on it."""
    store = open_store(run.resource.spec.storage, StoreSettings())
    try:
        answered, sampled = await read_conversations(run.resource, store), await read_samples(run.resource, store)
    finally:
        await store.close()
    asked, judged = (read_rules(folder / f"{name}.jsonl") for name in ("sft", "preference"))
    return [
        controls.write(answered, asked, folder, seed=run.seed),
        controls.write_half_kept(sampled, judged, folder, WORLDS[world], seed=run.seed),
    ]


async def scores_of(expanded: Expanded) -> Scores:
    """All scores of one seed that claims.yaml names, as far as they were measured."""
    store = open_store(expanded.runs[0].resource.spec.storage, StoreSettings())
    found: Scores = {}
    try:
        for run in expanded.runs:
            measured = await read_scores(run.resource, store)
            names = {name: name for name in measured} if run.arm == FIRST else NAMES[run.arm]
            found |= {shown: measured[name] for name, shown in names.items() if name in measured}
    finally:
        await store.close()
    return found


def over_seeds(found: Sequence[Scores]) -> Scores:
    """Every question's mean over the seeds, so that a question is the unit that varies; names that all seeds have."""
    names = [name for name in found[0] if all(name in one for one in found)]
    return {
        name: {
            question: sum(one[name][question] for one in found) / len(found)
            for question in found[0][name]
            if all(question in one[name] for one in found)
        }
        for name in names
    }


def table(scores: Scores, rules: Mapping[str, Rules]) -> Iterator[str]:
    """Percent of answers that keep their rule, by score and rule, and how many answers are missing."""
    asked: dict[str, list[str]] = defaultdict(list)
    for question, (ids, _) in rules.items():
        asked[" + ".join(BY_ID[name].name for name in ids)].append(question)
    yield " | ".join(["| score", *asked, "all", "without answer |"])
    yield "|---" * (len(asked) + 3) + "|"
    for name, kept in scores.items():
        shares = [
            f"{100 * sum(there) / len(there):.0f}" if (there := [kept[q] for q in some if q in kept]) else "–"
            for some in [*asked.values(), list(rules)]
        ]
        yield " | ".join([f"| {name}", *shares, f"{len(rules) - len(kept)} |"])


def verdicts(scores: Scores) -> list[Verdict]:
    return judge(CLAIMS, [scores])


def run_seed(folder: Path, world: str, *, seed: int) -> Scores:
    """Carry out all arms of one seed.

    Raises:
        CalledProcessError: a step failed; the same command goes on from there.
    """
    prepare(folder, world, seed=seed)
    file = place(folder, seed=seed)
    experiment(file, "--arm", FIRST)
    expanded = expand(file)
    print("\n".join(asyncio.run(write_controls(expanded.of(FIRST)[0], folder / "data", world))), flush=True)
    experiment(file)
    return asyncio.run(scores_of(expanded))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", choices=list(WORLDS), default="small")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--workdir", type=Path, default=Path("runs/rules"), help="gets a folder for each seed")
    options = parser.parse_args()
    workdir: Path = options.workdir.resolve()
    started = time.monotonic()
    found = []
    for seed in options.seeds:
        try:
            found.append(run_seed(workdir / f"seed-{seed}", options.world, seed=seed))
        except subprocess.CalledProcessError as error:
            return error.returncode
    rules = read_rules(workdir / f"seed-{options.seeds[0]}" / "data" / "report.jsonl")
    scores = over_seeds(found)
    print(f"\nPercent of the report's answers that keep their rule, seeds {options.seeds}:\n")
    print("\n".join(table(scores, rules)))
    print("\nClaims (examples/rules/claims.yaml):")
    print("\n".join(f"  {verdict}" for verdict in verdicts(scores)))
    print(f"\nDone in {(time.monotonic() - started) / 60:.1f} minutes; comparisons: {workdir}/seed-*/report")
    return 0


if __name__ == "__main__":
    sys.exit(main())
