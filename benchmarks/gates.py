"""How often the gate promotes what it should not, and what it should: simulated students before the real gate.

    nice -n 15 python -m benchmarks.gates [--runs 500] [--write]

A run is five iterations with two candidates each, `sft` and `dpo`. Every student answers the same questions. A question
has a difficulty that all students share and a leaning of its own for each student, so scores of two students are
correlated, and a student that is no better on the whole is better on some questions. A score is the mean of SAMPLES
answers: right or wrong (ExactMatch), or won, lost and tied before a judge that is asked in both orders (Pairwise,
against the start). Whom the gate promotes is the previous student of the next iteration, with the scores it was
promoted by.

- null: every candidate is exactly as good as the start.
- padded: as good as the start, and writes half as much again; the judge likes length, by the curve that fits the public
  annotations of AlpacaEval.
- padded, by ratio: the same before a judge that goes by the ratio of the lengths, which that curve does not describe.
- forgetful: wins 12 points more before the judge and loses 6 points of an objective benchmark beside it.
- gain: `sft` is as good as the start, `dpo` is 3 points better than the start in every iteration.

Printed: how often a run promotes in its first iteration, and at least once; phantom points (what the gate measured of
the promoted students beyond what is true, mean over runs); whether aims are met; last, all of it as one JSON object.
`--write` writes the page beside this file anew; remarks on it are to be written again. The exit code is 1 where an aim
is missed.
"""

import argparse
import json
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moaa.api import MoAA
from moaa.api.evaluation import GateRule
from moaa.evaluate.gate import Answered, Student, decide
from moaa.plan.evidence import trial_of

Floats = NDArray[np.float64]
ITERATIONS, CANDIDATES, SAMPLES = 5, ("sft", "dpo"), 4
SIZES = (500, 1000)
ERROR_AIM = 0.05
"""At most so many runs of five iterations promote a student that is not better."""
POWER_AIM, POWER_SIZE = 0.80, 1000
"""At least so many promote one that is 3 points better, with so many questions."""
PAGE = Path(__file__).with_name("gates.md")
DIFFICULTY, LEANING, ORDER = 1.5, 0.4, 1.0
"""Standard deviations on the logit scale: of questions, of a student's own leaning on a question, and of what differs
from answer to answer before a judge."""
LIKING = 1.5
"""Logits of a judge for length. Curve: times tanh(own less baseline's length, in standard deviations); the mean weight
of 199 published fits is 1.51. Ratio: times ln(own ÷ baseline's) ÷ ln(1.5), so all of it for half as much again."""
HALF = np.random.default_rng(1).standard_normal((20_000, 2))
POPULATION = np.concatenate([HALF, -HALF])
"""Questions and leanings that true means are taken over; symmetric, so that a student without a gain has none."""


@dataclass(frozen=True)
class Kind:
    """A kind of student."""

    better: Mapping[str, float]
    """True points over the start, by type of benchmark."""
    longer: float = 1.0
    """Length of its answers over the start's."""


START = Kind({})
NULL, PADDED = Kind({}), Kind({}, longer=1.5)
FORGETFUL = Kind({"Pairwise": 0.12, "ExactMatch": -0.06})
GAIN = Kind({"Pairwise": 0.03, "ExactMatch": 0.03})


@dataclass(frozen=True)
class Scenario:
    name: str
    benchmarks: tuple[str, ...]
    candidates: tuple[Kind, Kind]
    by_ratio: bool = False
    """What the judge likes of length."""

    def true_gain(self, candidate: str) -> float:
        kind = self.candidates[CANDIDATES.index(candidate)]
        return float(np.mean([kind.better.get(benchmark, 0.0) for benchmark in self.benchmarks]))


JUDGED, BOTH = ("Pairwise",), ("Pairwise", "ExactMatch")
SCENARIOS = (
    Scenario("null", ("ExactMatch",), (NULL, NULL)),
    Scenario("null", JUDGED, (NULL, NULL)),
    Scenario("null", BOTH, (NULL, NULL)),
    Scenario("padded", JUDGED, (PADDED, PADDED)),
    Scenario("padded", BOTH, (PADDED, PADDED)),
    Scenario("padded, by ratio", JUDGED, (PADDED, PADDED), by_ratio=True),
    Scenario("forgetful", BOTH, (FORGETFUL, FORGETFUL)),
    Scenario("gain", ("ExactMatch",), (NULL, GAIN)),
    Scenario("gain", JUDGED, (NULL, GAIN)),
)


def resource(benchmarks: Sequence[str], rule: GateRule) -> MoAA:
    """A run of two candidates an iteration, measured by these types of benchmark, each named by its type."""
    judge = {"method": "Single", "aggregator": {"model": "judge"}}
    selection: list[dict[str, Any]] = [
        {"name": kind.lower(), "type": kind, "source": "s3://data/questions.jsonl"} for kind in benchmarks
    ]
    for benchmark in selection:
        if benchmark["type"] == "Pairwise":
            benchmark["judge"] = judge
    return MoAA.model_validate(
        {
            "apiVersion": "moaa.dev/v1alpha1",
            "kind": "MoAA",
            "metadata": {"name": "gates"},
            "spec": {
                "storage": {"uri": "s3://data/runs"},
                "models": [{"name": name, "source": f"s3://models/{name}"} for name in ("student", "judge")],
                "student": "student",
                "mixture": {"layers": [{"proposers": [{"model": "judge"}]}], "aggregator": {"model": "judge"}},
                "judge": judge,
                "data": {
                    "sft": [{"source": "s3://data/sft.jsonl", "limit": 1}],
                    "preference": [{"source": "s3://data/preference.jsonl", "limit": 1}],
                },
                "training": {"sft": {}, "dpo": {}},
                "iterations": ITERATIONS,
                "evaluation": {"selection": selection, "gate": {"rule": rule}},
            },
        }
    )


class World:
    """One run's questions."""

    def __init__(self, questions: int, rng: np.random.Generator, *, by_ratio: bool) -> None:
        self.rng, self.by_ratio = rng, by_ratio
        self.names = [str(i) for i in range(questions)]
        self.ease = DIFFICULTY * rng.standard_normal(questions)
        self.lengths = 1200 * np.exp(0.5 * rng.standard_normal(questions))

    def answered(self, benchmark: str, kind: Kind) -> Answered:
        better = kind.better.get(benchmark, 0.0)
        match benchmark:
            case "ExactMatch":
                return Answered(self._by_question(self._right(better)), {}, {})
            case "Pairwise" if kind is START:  # the baseline against itself
                return Answered(dict.fromkeys(self.names, 0.5), self._lengths(self.lengths), {})
            case "Pairwise":
                own = self.lengths * kind.longer * np.exp(0.25 * self.rng.standard_normal(len(self.names)))
                return Answered(self._by_question(self._won(better, own)), self._lengths(own), {})
        raise ValueError(f"{benchmark}: is no type of benchmark that is simulated here")

    def _right(self, better: float) -> Floats:
        leaning = LEANING * self.rng.standard_normal(len(self.names))
        chance = sigmoid(exact_shift(better) + self.ease + leaning)
        return self.rng.binomial(SAMPLES, chance) / SAMPLES

    def _won(self, better: float, own: Floats) -> Floats:
        """Both orders of each answer are judged; a win in one of them is a tie."""
        shape = (SAMPLES, len(self.names))
        taste = LEANING * self.rng.standard_normal(shape[1]) + ORDER * self.rng.standard_normal(shape)
        chance = sigmoid(judged_shift(better) + taste + LIKING * self._longer(own))
        return np.asarray(self.rng.binomial(2, chance).mean(axis=0) / 2, dtype=np.float64)

    def _lengths(self, own: Floats) -> dict[str, tuple[float, float]]:
        pairs = zip(map(float, own), map(float, self.lengths), strict=True)
        return dict(zip(self.names, pairs, strict=True))

    def _longer(self, own: Floats) -> Floats:
        if self.by_ratio:
            return np.asarray(np.log(own / self.lengths) / np.log(1.5))
        difference = own - self.lengths
        return np.asarray(np.tanh(difference / difference.std(ddof=1)))

    def _by_question(self, values: Floats) -> dict[str, float]:
        return dict(zip(self.names, map(float, values), strict=True))


def sigmoid(logits: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-logits)))


@cache
def exact_shift(better: float) -> float:
    """The logit at which the population's mean is 0.5 + better."""
    return _shift(0.5 + better, DIFFICULTY * POPULATION[:, 0] + LEANING * POPULATION[:, 1])


@cache
def judged_shift(better: float) -> float:
    """The same of a judge that sees answers of the same length."""
    return _shift(0.5 + better, LEANING * POPULATION[:, 0] + ORDER * POPULATION[:, 1])


def _shift(mean: float, spread: Floats) -> float:
    low, high = -8.0, 8.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if float(sigmoid(middle + spread).mean()) < mean else (low, middle)
    return low


@dataclass(frozen=True)
class Outcome:
    student: str
    benchmarks: tuple[str, ...]
    questions: int
    rule: str
    first: float
    """Part of the runs that promote in their first iteration."""
    ever: float
    """Part of the runs that promote at least once."""
    phantom: float
    """Points measured of the promoted beyond the true ones, mean over runs."""

    @property
    def is_met(self) -> bool | None:
        """None: no aim is stated for it."""
        if self.rule != GateRule.LOWER_BOUND:
            return None
        if self.student == "gain":
            return self.ever >= POWER_AIM if self.questions == POWER_SIZE else None
        return self.ever <= ERROR_AIM

    def __str__(self) -> str:
        measured = " + ".join(self.benchmarks)
        aim = {None: "", True: "met", False: "MISSED"}[self.is_met]
        shares = f"{self.first:.1%} | {self.ever:.1%} | {self.phantom:+.2f}"
        return f"| {self.student} | {measured} | {self.questions:,} | {self.rule} | {shares} | {aim} |"


HEADER = """| student | measured by | questions | rule | first iteration | five iterations | phantom points | aim |
|---|---|---:|---|---:|---:|---:|---|"""


def simulate(scenario: Scenario, questions: int, rule: GateRule, runs: int) -> Outcome:
    found = [_run(scenario, questions, rule, np.random.default_rng([questions, k])) for k in range(runs)]
    first, ever, phantom = (float(np.mean(column)) for column in zip(*found, strict=True))
    return Outcome(scenario.name, scenario.benchmarks, questions, str(rule), first, ever, 100 * phantom)


def _run(scenario: Scenario, questions: int, rule: GateRule, rng: np.random.Generator) -> tuple[bool, bool, float]:
    """Whether it promotes in its first iteration, whether ever, and the phantom part of what it measured."""
    spec = resource(scenario.benchmarks, rule).spec
    world = World(questions, rng, by_ratio=scenario.by_ratio)
    sizes = {benchmark.name: questions for benchmark in spec.evaluation.selection}
    previous, true, phantom = _student(scenario, START, world), 0.0, 0.0
    promoted: list[bool] = []
    for iteration in range(1, ITERATIONS + 1):
        students = {
            name: _student(scenario, kind, world) for name, kind in zip(CANDIDATES, scenario.candidates, strict=True)
        }
        decision = decide(previous, students, spec.evaluation, trial_of(spec, iteration, sizes))
        promoted.append(decision.winner is not None)
        if decision.winner is not None:
            now = scenario.true_gain(decision.winner)
            phantom += decision.compared[decision.winner].gain.mean - (now - true)
            previous, true = students[decision.winner], now
    return promoted[0], any(promoted), phantom


def _student(scenario: Scenario, kind: Kind, world: World) -> Student:
    return {benchmark.lower(): world.answered(benchmark, kind) for benchmark in scenario.benchmarks}


def outcomes(runs: int) -> Iterator[Outcome]:
    """The default rule on everything, and rule Mean on what is no better."""
    for scenario in SCENARIOS:
        rules = list(GateRule) if scenario.name == "null" else [GateRule.LOWER_BOUND]
        for rule, questions in product(rules, SIZES):
            yield simulate(scenario, questions, rule, runs)


def written(table: str, runs: int, seconds: float) -> str:
    """The page. Raises CalledProcessError: this is no clone of the repository."""
    commit = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], check=True, capture_output=True, text=True)
    day = datetime.now(UTC).date()
    return f"""# What the gate promotes, {day}

`python -m benchmarks.gates --runs {runs} --write` at commit {commit.stdout.strip()}; {seconds:.0f} s of CPU time on one
core, Python {platform.python_version()}, numpy {np.__version__}. What is simulated stands at the head of
`benchmarks/gates.py`; the gate is the real one.

{table}
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=500, help="simulated runs of each line")
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE.name}")
    args = parser.parse_args()
    print(HEADER)
    found = []
    for outcome in outcomes(args.runs):
        found.append(outcome)
        print(outcome, flush=True)
    if args.write:
        PAGE.write_text(written("\n".join([HEADER, *map(str, found)]), args.runs, time.process_time()))
    missed = [one for one in found if one.is_met is False]
    print(f"{len(missed)} aims missed" if missed else "all aims met")
    print(json.dumps({"runs": args.runs, "missed": len(missed), "outcomes": [asdict(one) for one in found]}))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
