"""`make rules`: build the cast once, run the arms on this machine, and hold the claims against the stored answers.

    python -m examples.rules.run --workdir runs/rules

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
from examples.rules.rules import BY_ID
from examples.rules.stored import Rules, Scores, read_conversations, read_rules, read_scores
from examples.tiny.claims import Verdict, judge
from moaa.experiment.expand import Expanded, Run, expand
from moaa.store.objects.open import StoreSettings, open_store

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
ARMS, CLAIMS = HERE / "arms.yaml", HERE / "claims.yaml"
FIRST = "mixture"
NAMES = {
    "one-member": {"sft": "one-member"},
    "random-member": {"sft": "random-member"},
    "untaught-judge": {"dpo": "dpo-untaught"},
}
"""Scores that an arm adds to those of the first one, by what they are called in claims.yaml."""


def command(*words: str) -> None:
    """Run as a user would.

    Raises:
        CalledProcessError: it failed; what it said is on the terminal.
    """
    subprocess.run(words, check=True, cwd=ROOT, env={**PASSIVE, **os.environ})


def prepare(world: str) -> None:
    """The base model, the prompts and the cast, each unless it is there."""
    command(sys.executable, "-m", "examples.real.build", "--out", "runs/real/model")
    command(sys.executable, "-m", "examples.rules.data", "--world", world, "--out", f"runs/rules/data/{world}")
    command(sys.executable, "-m", "examples.rules.build", "--world", world, "--out", "runs/rules/models")


def arms(workdir: Path, *options: str) -> None:
    moaa = str(Path(sys.executable).with_name("moaa"))
    out = str(workdir / "report")
    command(moaa, "experiment", str(ARMS), "--workdir", str(workdir), "--out", out, *options)


async def write_controls(run: Run, folder: Path) -> str:
    store = open_store(run.resource.spec.storage, StoreSettings())
    try:
        rows = await read_conversations(run.resource, store)
    finally:
        await store.close()
    return controls.write(rows, read_rules(folder / "sft.jsonl"), folder, seed=run.seed)


async def scores_by_seed(expanded: Expanded, rules: Mapping[str, Rules]) -> dict[int, Scores]:
    """All scores that claims.yaml names, as far as they were measured."""
    store = open_store(expanded.runs[0].resource.spec.storage, StoreSettings())
    found: dict[int, Scores] = defaultdict(dict)
    try:
        for run in expanded.runs:
            measured = await read_scores(run.resource, store, rules)
            names = {name: name for name in measured} if run.arm == FIRST else NAMES[run.arm]
            found[run.seed] |= {shown: measured[name] for name, shown in names.items() if name in measured}
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, default=Path("runs/rules"), help="logs, scratch and the report")
    workdir: Path = parser.parse_args().workdir.resolve()
    started = time.monotonic()
    data = ROOT / "runs" / "rules" / "data" / "small"
    try:
        prepare("small")
        arms(workdir, "--arm", FIRST)
        expanded = expand(ARMS)
        print(asyncio.run(write_controls(expanded.of(FIRST)[0], data)), flush=True)
        arms(workdir)
    except subprocess.CalledProcessError as error:
        return error.returncode
    rules = read_rules(data / "report.jsonl")
    found = asyncio.run(scores_by_seed(expanded, rules))
    scores = over_seeds(list(found.values()))
    print("\nPercent of the report's answers that keep their rule:\n")
    print("\n".join(table(scores, rules)))
    print("\nClaims (examples/rules/claims.yaml):")
    print("\n".join(f"  {verdict}" for verdict in verdicts(scores)))
    print(f"\nDone in {(time.monotonic() - started) / 60:.1f} minutes; report: {workdir}/report/comparison.html")
    return 0


if __name__ == "__main__":
    sys.exit(main())
