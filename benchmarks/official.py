"""Hold our formulas of the field's benchmarks against published figures.

    MOAA_EVAL_DATA=<folder> python -m benchmarks.official [--write]

The folder holds four files of figures by question (`FILES`), drawn from the repositories of AlpacaEval, Arena-Hard,
FastChat and RewardBench. They are not part of this project: AlpacaEval's are CC BY-NC 4.0. Prints ours, the official
figure and the difference by model, then one JSON object. Exit code 1: a difference is beyond its limit; 2: no folder,
or a file of it is missing. `--write` puts the differences (not the figures) beside this file; it needs a clean commit.
"""

import argparse
import gzip
import itertools
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from moaa.benchmark.arena_labels import Label, Version
from moaa.benchmark.mt_bench import REFERENCE_CATEGORIES
from moaa.evaluate.statistics import Estimate, mean_estimate, paired
from moaa.scoring.alpaca_eval import Gamed, Known, length_controlled, predicted, score_of, win_rate
from moaa.scoring.arena_hard import arena_hard
from moaa.scoring.length import JUDGE_DEVIATION, Judged, Subject, Taste, lc_estimate
from moaa.scoring.mt_bench import Grade, mt_bench
from moaa.scoring.reward_bench import reward_bench

VARIABLE = "MOAA_EVAL_DATA"
ANNOTATIONS, QUESTIONS, OFFICIAL = (f"alpacaeval2_{name}.parquet" for name in ("annotations", "questions", "official"))
OTHERS = "other_official.json.gz"
FILES = (ANNOTATIONS, QUESTIONS, OFFICIAL, OTHERS)
EXACT = 1e-6
"""Points. One published preference has 10 digits."""
LC_LIMIT = 0.2
"""Points: the authors' fit has another penalty, chosen by cross-validation over random folds."""
RUNS = ("verbose", "concise")
FEWER = (0, 1, 3, 6)
"""Other subjects that `lc_estimate` is tried with, beside all."""
DRAWS = 6
CLEAR = 3.0
"""Points of LC."""
LOWEST = "lowest of the three"
"""What the gate reads."""
Row = Mapping[str, Any]


@dataclass
class Result:
    """One line a figure, and what is beyond its limit."""

    lines: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    """The same without others' figures, for the document."""
    figures: dict[str, float] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def compare(self, name: str, ours: float, official: float, *, limit: float | None) -> float:
        """The difference. `limit` None: shown only."""
        difference = ours - official
        bound = "" if limit is None else f", limit {limit:g}"
        self.lines.append(f"  {name:44} ours {ours:10.4f}  official {official:10.4f}  {difference:+.6f}{bound}")
        self.differences.append(f"| {name} | {round(difference, 6):+.3g} | {'–' if limit is None else f'{limit:g}'} |")
        if limit is not None and not abs(difference) <= limit:
            self.failures.append(f"{name}: {difference:+.4f}, allowed {limit:g}")
        return difference

    def title(self, text: str) -> None:
        self.lines.append(text)
        self.differences += ["", f"## {text}", "", "| figure | ours − official | limit |", "|---|---|---|"]

    def say(self, text: str) -> None:
        self.lines.append(f"  {text}")
        self.differences += ["", text]


@dataclass(frozen=True)
class AlpacaData:
    rows: Mapping[str, Sequence[Row]]
    """Annotations by model."""
    questions: Sequence[Row]
    official: Mapping[str, Row]

    @property
    def known(self) -> Known:
        """Difficulty and gamed rows by question."""
        gamed = [row for run in RUNS for row in self._gamed(run)]
        return Known({str(q["question"]): q["difficulty"] for q in self.questions}, gamed)

    def _gamed(self, run: str) -> Iterator[Gamed]:
        difference = np.array([q["baseline_length"] - q[f"{run}_length"] for q in self.questions], dtype=np.float64)
        for q, relative in zip(self.questions, difference / difference.std(ddof=1), strict=True):
            yield Gamed(str(q["question"]), q[f"{run}_score_fitted"], float(relative))

    def subject(self, model: str, *, key: str = "question") -> Subject:
        return {
            str(row[key]): Judged(score_of(row["preference"]), row["length"], row["baseline_length"])
            for row in self.rows[model]
        }


def read_alpaca(folder: Path) -> AlpacaData:
    rows: dict[str, list[Row]] = {}
    for row in pq.read_table(folder / ANNOTATIONS).to_pylist():
        rows.setdefault(row["model"], []).append(row)
    official = {row["model"]: row for row in pq.read_table(folder / OFFICIAL).to_pylist()}
    return AlpacaData(rows, pq.read_table(folder / QUESTIONS).to_pylist(), official)


def alpaca_raw(data: AlpacaData, result: Result) -> None:
    result.title("AlpacaEval 2: raw win rate, its standard error and discrete win rate, in points")
    found = []
    for model in data.rows:
        ours, official = win_rate([row.score for row in data.subject(model).values()]), data.official[model]
        found.append(result.compare(model, 100 * ours.rate, official["win_rate"], limit=EXACT))
        for name, value, column in (
            ("standard error", 100 * ours.standard_error, "standard_error"),
            ("discrete", 100 * ours.discrete, "discrete_win_rate"),
            ("draws", ours.draws, "n_draws"),
        ):
            result.compare(f"{model}, {name}", value, official[column], limit=EXACT)
    result.figures |= {"alpacaEval.models": len(found), "alpacaEval.rawMax": _largest(found)}


def alpaca_lc(data: AlpacaData, result: Result) -> None:
    result.title("AlpacaEval 2: length-controlled win rate, with difficulty and gamed rows, in points")
    found = []
    for model in data.rows:
        # The authors' library takes difficulty by the row's position: wrong where a model lacks questions.
        ours = length_controlled(data.subject(model, key="row"), data.known)
        official = data.official[model]
        found.append(result.compare(model, 100 * ours.rate, official["length_controlled_winrate"], limit=LC_LIMIT))
        if official["lc_standard_error"] is not None:
            name = f"{model}, standard error"
            result.compare(name, 100 * ours.standard_error, official["lc_standard_error"], limit=LC_LIMIT)
    for model, rows in data.rows.items():
        if len(rows) < len(data.questions):
            by_question = 100 * length_controlled(data.subject(model), data.known).rate
            official = data.official[model]["length_controlled_winrate"]
            result.compare(f"{model}, difficulty by question", by_question, official, limit=None)
            missing = len(data.questions) - len(rows)
            result.say(f"{model} lacks {missing} questions; its official figure rests on shifted difficulties.")
    result.figures |= {"alpacaEval.lcMean": _mean_size(found), "alpacaEval.lcMax": _largest(found)}


def alpaca_weights(data: AlpacaData, result: Result) -> None:
    """The second half of LC alone: from published weights to the published figure, of many more models."""
    gamma = [question["difficulty"] for question in data.questions]
    found, names = [], []
    for model, row in data.official.items():
        if row["weight_bias"] is not None and row["length_controlled_winrate"] is not None:
            rates = predicted(gamma, difficulty=row["weight_difficulty"], model=row["weight_bias"])
            found.append(100 * float(rates.mean()) - row["length_controlled_winrate"])
            names.append(model)
    result.title("AlpacaEval 2: length-controlled win rate from published weights, in points")
    # The baseline's weights are 0: 50 by definition.
    worst = int(np.abs(found).argmax())
    result.compare(f"worst of {len(found)} models: {names[worst]}", found[worst], 0.0, limit=LC_LIMIT)
    result.compare("median size", float(np.median(np.abs(found))), 0.0, limit=EXACT)
    result.figures |= {"alpacaEval.weightsModels": len(found), "alpacaEval.weightsMax": _largest(found)}


def alpaca_estimate(data: AlpacaData, result: Result) -> None:
    result.title("lc_estimate, which knows none of AlpacaEval's data, against official LC, in points")
    subjects = {model: data.subject(model) for model in data.rows}
    official = {model: data.official[model]["length_controlled_winrate"] for model in subjects}
    found = []
    for model, subject in subjects.items():
        others = [other for name, other in subjects.items() if name != model]
        rate = 100 * lc_estimate(subject, others).rate
        found.append(result.compare(f"{model}, {len(others)} others", rate, official[model], limit=None))
    result.figures |= {"lcEstimate.mean": _mean_size(found), "lcEstimate.max": _largest(found)}
    result.say(f"all others: mean {np.mean(found):+.2f}, mean size {_mean_size(found):.2f}, max {_largest(found):.2f}")
    for count in (count for count in FEWER if count < len(subjects)):
        sized = [
            100 * lc_estimate(subjects[model], drawn).rate - official[model]
            for model in subjects
            for drawn in _draws([subjects[name] for name in subjects if name != model], count)
        ]
        told = f"mean {np.mean(sized):+.2f}, mean size {_mean_size(sized):.2f}, max {_largest(sized):.2f}"
        result.say(f"{count} others{', drawn at random' if count else ''}: {told}")
        result.figures |= {f"lcEstimate.mean{count}": _mean_size(sized), f"lcEstimate.max{count}": _largest(sized)}


def alpaca_pairs(data: AlpacaData, result: Result) -> None:
    """Each model as the previous student, each other one as a candidate, by what the gate reads."""
    result.title("Ordered pairs of models that official LC ranks one way and a lower end above 0 the other way")
    subjects = {model: data.subject(model) for model in data.rows}
    wrong = dict.fromkeys(("raw gain", "at equal length by difference", "at equal length by ratio", LOWEST), 0)
    missed = dict.fromkeys(wrong, 0)
    for old, new in itertools.permutations(subjects, 2):
        official = data.official[new]["length_controlled_winrate"] - data.official[old]["length_controlled_winrate"]
        gains = _gains(subjects[new], subjects[old])
        lowest = min(gains, key=lambda one: one.mean)
        for name, one in zip(wrong, (*gains, lowest), strict=True):
            assert one.low is not None, f"{new}: two questions are needed"
            wrong[name] += one.low > 0 > official
            missed[name] += one.low <= 0 and official > CLEAR
    for name, count in wrong.items():
        result.compare(name, count, 0, limit=0 if name == LOWEST else None)
    pairs = len(subjects) * (len(subjects) - 1)
    told = ", ".join(f"{name} {count}" for name, count in missed.items())
    result.say(f"Of {pairs} pairs. Gains of more than {CLEAR:g} points of LC that are not shown: {told}.")
    result.figures |= {"pairs": pairs, "pairs.wrong": wrong[LOWEST], "pairs.missed": missed[LOWEST]}


def _gains(new: Subject, old: Subject) -> list[Estimate]:
    """As they are, and at equal length by each taste, each subject telling the other how hard the questions are."""
    shared = sorted(new.keys() & old.keys())
    new, old = ({name: subject[name] for name in shared} for subject in (new, old))

    def controlled(one: Subject, other: Subject, taste: Taste) -> Mapping[str, float]:
        return lc_estimate(one, [other], slope_deviation=JUDGE_DEVIATION, taste=taste).contributions

    raw = [new[name].score - old[name].score for name in shared]
    at_equal_length = [paired(controlled(new, old, taste), controlled(old, new, taste)) for taste in Taste]
    return [_estimate(raw), *map(_estimate, at_equal_length)]


def _estimate(differences: Sequence[float]) -> Estimate:
    return mean_estimate(differences, resamples=1000, confidence=0.95)


def _draws(others: Sequence[Subject], count: int) -> list[list[Subject]]:
    return [random.Random(seed).sample(others, count) for seed in range(DRAWS)]


def other_benchmarks(folder: Path, result: Result) -> None:
    with gzip.open(folder / OTHERS, "rt") as file:
        data = json.load(file)
    _arena_hard(data["arena_hard_v0.1"], result)
    _mt_bench(data["mt_bench"], result)
    _reward_bench(data["rewardbench"], result)


def _arena_hard(rows: Sequence[Row], result: Result) -> None:
    result.title("Arena-Hard v0.1: the baseline against itself, in per cent")
    drawn = {str(i): (Label.EQUAL, Label.EQUAL) for i in range(500)}
    ours = arena_hard(drawn, Version.V0_1, resamples=100, confidence=0.95)
    official = next(row for row in rows if row["rating_q025"] == row["rating_q975"])
    for name, value in (("score", ours.rate), ("rating_q025", ours.low), ("rating_q975", ours.high)):
        assert value is not None
        result.compare(f"{official['model']}, {name}", 100 * value, official[name], limit=EXACT)
    result.say(f"The games of the {len(rows)} models are not in the folder. Made-up games are in the unit tests.")
    result.figures["arenaHard.models"] = len(rows)


def _mt_bench(data: Mapping[str, Any], result: Result) -> None:
    """Made-up grades in halves, as many as there are turns and with the sum that the published score must have had."""
    result.title("MT-Bench: made-up grades of 160 turns with the sum of the published score")
    questions = data["questions"]
    turns = [(str(q["question"]), q["category"], turn) for q in questions for turn in range(1, q["turns"] + 1)]
    found = []
    for row in data["scores"]:
        halves = round(2 * row["score"] * len(turns))
        low, more = divmod(halves, len(turns))
        grades = [Grade(*turn, (low + (i < more)) / 2) for i, turn in enumerate(turns)]
        ours = mt_bench(grades, resamples=100, confidence=0.95)
        found.append(result.compare(row["model"], ours.score, row["score"], limit=EXACT))
    judged = sum(q["category"] in REFERENCE_CATEGORIES for q in questions)
    result.compare("questions judged with a reference answer", judged, 30, limit=0)
    result.figures |= {"mtBench.models": len(found), "mtBench.max": _largest(found)}


def _reward_bench(data: Mapping[str, Any], result: Result) -> None:
    result.title("RewardBench: sections of the worked example, between 0 and 1")
    ours = reward_bench(data["subsets"])
    found = [
        result.compare(f"{data['model']}, {name}", ours.sections[name], official, limit=EXACT)
        for name, official in data["official_sections"].items()
    ]
    mean = float(np.mean(list(data["official_sections"].values())))
    found.append(result.compare(f"{data['model']}, score", ours.score, mean, limit=EXACT))
    result.figures |= {"rewardBench.sections": len(ours.sections), "rewardBench.max": _largest(found)}


def _largest(differences: Sequence[float]) -> float:
    return float(np.abs(differences).max())


def _mean_size(differences: Sequence[float]) -> float:
    return float(np.abs(differences).mean())


def measure(folder: Path) -> Result:
    """All comparisons. Raises OSError, KeyError or ValueError where a file is not what it should be."""
    result = Result()
    data = read_alpaca(folder)
    for part in (alpaca_raw, alpaca_lc, alpaca_weights, alpaca_estimate, alpaca_pairs):
        part(data, result)
    other_benchmarks(folder, result)
    return result


def needed() -> str | None:
    """What is missing, as a sentence; None when the folder is whole."""
    value = os.environ.get(VARIABLE)
    if not value:
        return f"{VARIABLE} is not set. It names the folder with published figures: {', '.join(FILES)}"
    missing = [name for name in FILES if not (Path(value) / name).is_file()]
    return f"{VARIABLE}={value}: no file {', '.join(missing)}" if missing else None


def document(result: Result, commit: str) -> str:
    verdict = f"**{len(result.failures)} differences are beyond their limits.**" if result.failures else "All within."
    return f"""# Our formulas against published figures, {datetime.now(UTC):%Y-%m-%d}

`{VARIABLE}=<folder> python -m benchmarks.official --write` at commit {commit[:12]}. {verdict} Differences only: the
published figures are others' (AlpacaEval's CC BY-NC 4.0) and are not part of this project.

The gamed rows of AlpacaEval were rebuilt from published weights, and difficulty from two models' predictions, since
the authors' file was not at hand. Not compared, for want of published games: Arena-Hard's scores, style control and
intervals, MT-Bench's grades, RewardBench 2. These are tested on made-up games (tests/unit/scoring). MT-Bench below
shows only that the published scores are means of 160 grades in halves.
{chr(10).join(result.differences)}
"""


def clean_commit() -> str:
    """Raises SystemExit: the tree is no clean commit, so the result would name nothing."""
    folder = Path(__file__).parent
    dirty = subprocess.run(["git", "status", "--porcelain", "-uno"], cwd=folder, capture_output=True, text=True)
    if dirty.returncode or dirty.stdout.strip():
        raise SystemExit("the working tree is no clean commit; commit first, so that the result names what ran")
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True)
    return head.stdout.strip()


def main() -> int:
    """Exit code: 0 all within limits, 1 beyond, 2 no data."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write official.md beside this file")
    options = parser.parse_args()
    if (problem := needed()) is not None:
        print(problem, file=sys.stderr)
        return 2
    commit = clean_commit() if options.write else ""
    result = measure(Path(os.environ[VARIABLE]))
    print("\n".join(result.lines))
    for failure in result.failures:
        print(f"beyond its limit: {failure}")
    if options.write:
        Path(__file__).with_name("official.md").write_text(document(result, commit))
    print(json.dumps({**result.figures, "failures": result.failures}))
    return 1 if result.failures else 0


if __name__ == "__main__":
    sys.exit(main())
