"""What fewer comparisons cost: calls, tokens, and agreement with the ranking of all pairs, by strategy.

    nice -n 15 python -m benchmarks.judging [--prompts 300] [--store FOLDER ...] [--write]

Every strategy asks the same judges about the same answers. What a judge says of two answers in one order is drawn once
and kept, as a model at temperature 0 would repeat it; so a ranking of all pairs is the truth that a strategy is held
against. The strategies are the real ones (`moaa.judge`), verdicts alone are made up.

- simulated: qualities are normal, a verdict names the first answer with the logistic of `sharpness` × the difference of
  the qualities + `lean`, the judge's leaning to the first place. A sharpness of 2, 4 and 10 gives judges whose verdicts
  hold in both orders as often as `consistent` says.
  Seeded's reward model sees the qualities through noise of its own: its scores correlate with them by 0.9 and by 0.6.
- replayed: the rankings of all pairs that a store's judge stages hold; a panel's majority stands for its verdict.

Calls and tokens are those of the paper's judge (criteria, three judges and a meta-judge), by the estimator's shapes,
as shares of RoundRobin's with criteria for every pair. A reward model's are counted, too, one call an answer. Criteria
once for the prompt change them, and nothing else here: tables of verdicts do not depend on criteria. `dropped` is the
share of the prompts that are left without a pair.
Intervals of `same pair` are Wilson's, 95 %. Printed: a line each, whether the aim is met (at most half of the calls and
at least 95 % of the same pairs), last all of it as one JSON object. `--write` writes the table into the page beside
this file anew; remarks on it are to be written again. The exit code is 1 where an aim is missed.
"""

import argparse
import asyncio
import json
import math
import platform
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from moaa.api.mixture import CriteriaFor, Criterion, Judge, JudgeModel
from moaa.asking.asker import Asker
from moaa.asking.caller import Caller, Scalar
from moaa.asking.load import ANSWER_TOKENS, Load
from moaa.conversation import Conversation, Message
from moaa.errors import ModelAbsent
from moaa.judge.adaptive.asking import Adaptive
from moaa.judge.method import Method, Ranked
from moaa.judge.methods import method_of
from moaa.judge.pairwise import ORDERS, EveryPair
from moaa.judge.prompts import Ordered
from moaa.judge.ranking import PAIR, orders_score, skipped
from moaa.judge.reading import Verdict
from moaa.judge.scalar.scores import score_loads
from moaa.judge.scalar.seeded import Seeded
from moaa.judge.trail import UNREADABLE, Judgement, Role
from moaa.rows import RankingRow
from moaa.scoring.agreement import wilson
from moaa.store.objects.directory import DirectoryStore
from moaa.store.stages.shards import read_manifest, read_table

PAGE = Path(__file__).with_name("judging_202611.md")
CALLS_AIM, SAME_AIM = 0.5, 0.95
JUDGES = ((2.0, 0.5), (4.0, 0.7), (10.0, 0.3))
"""Sharpness and lean."""
BASE = "RoundRobin"
"""All pairs in both orders: what the others are held against."""
SIZES = (3, 5, 8)
CORRELATIONS = (0.9, 0.6)
"""Of a simulated reward model's scores with the qualities."""
PAPERS = Judge(judges=[JudgeModel(model=f"judge-{i}") for i in range(3)], aggregator=JudgeModel(model="meta"))
HEADER = (
    "| judges | prompts | answers | consistent | strategy | calls | tokens | same best | same worst | same pair | "
    "95 % | dropped | gap | gap of all | aim |\n"
    "|---|---:|---:|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|"
)

Table = Mapping[tuple[int, int], bool | None]
"""Whether the answer shown first wins, by (first, second); None: no verdict."""


@dataclass(frozen=True)
class Contest:
    """One prompt: what the judge says of every two answers, and what these are worth, where that is known."""

    texts: tuple[str, ...]
    table: Table
    qualities: tuple[float, ...] = ()
    noise: tuple[float, ...] = ()
    """Of a reward model, standard normal, for each answer."""


def every_pair(judge: Judge) -> EveryPair:
    method = method_of(judge)
    assert isinstance(method, EveryPair), "it compares every pair"
    return method


class FromTable:
    """One order by a table of verdicts (`moaa.judge.pairwise.OneOrder`); texts end in the answer's number."""

    prompts: tuple[str, ...] = ()
    without_effect: frozenset[str] = frozenset()

    def __init__(self, contest: Contest) -> None:
        self._numbers = {text: number for number, text in enumerate(contest.texts)}
        self._table = contest.table

    async def judgements(
        self,
        pair: Ordered,
        criteria: Sequence[Criterion],  # noqa: ARG002
        judge: Judge,  # noqa: ARG002
        asker: Asker,  # noqa: ARG002
    ) -> list[Judgement]:
        won = self._table[self._numbers[pair.first], self._numbers[pair.second]]
        verdict: Verdict | None = None if won is None else "A" if won else "B"
        return [Judgement(pair.order, Role.VERDICT, "table", "", verdict, failure="" if verdict else UNREADABLE)]

    def score(self, forward: Sequence[float | None], backward: Sequence[float | None], judge: Judge) -> float | None:  # noqa: ARG002
        return orders_score(*forward, *backward)

    def loads(self, judge: Judge, times: int, compared: int) -> Iterator[Load]:
        """Those of the paper's judge, whose verdicts the table stands for."""
        return every_pair(PAPERS).order.loads(judge, times, compared)


@dataclass(frozen=True)
class Scorer:
    """A caller that only scores: verdicts come from tables."""

    contest: Contest
    correlation: float = 1.0

    async def call(self, *_: object, **__: object) -> object:
        raise ModelAbsent("nobody")

    async def choose(self, *_: object) -> object:
        raise ModelAbsent("nobody")

    async def score(self, path: str, model: str, answered: Conversation) -> Scalar:  # noqa: ARG002
        number, r = self.contest.texts.index(answered[-1]["content"]), self.correlation
        return Scalar(r * self.contest.qualities[number] + (1 - r * r) ** 0.5 * self.contest.noise[number], 0)


def asker(scorer: Scorer) -> Asker:
    return Asker(cast("Caller", scorer))


def simulated(size: int, sharpness: float, lean: float, rng: random.Random) -> Contest:
    qualities = tuple(rng.gauss(0, 1) for _ in range(size))
    table = {
        (i, j): rng.random() < 1 / (1 + math.exp(-sharpness * (qualities[i] - qualities[j]) - lean))
        for i in range(size)
        for j in range(size)
        if i != j
    }
    noise = tuple(rng.gauss(0, 1) for _ in range(size))
    return Contest(tuple(f"answer {i}" for i in range(size)), table, qualities, noise)


def replayed(row: RankingRow) -> Contest | None:
    """The contest of a stored ranking; None: it does not hold every pair in both orders."""
    if not row["comparisons"] or any(skipped(one) for one in row["comparisons"]):
        return None
    table: dict[tuple[int, int], bool | None] = {}
    for one in row["comparisons"]:
        table[one["a"], one["b"]] = None if one["forward"] is None else one["forward"] == 1
        table[one["b"], one["a"]] = None if one["backward"] is None else one["backward"] == 0
    # Equal texts are never compared, so that a text has one number.
    return Contest(tuple(row["samples"]), _by_first_number(row["samples"], table))


def _by_first_number(texts: Sequence[str], table: Table) -> Table:
    """Equal texts have one verdict against any other: that of the last of them, as `FromTable` looks it up."""
    last = {text: number for number, text in enumerate(texts)}
    return {
        (last[first], last[second]): table[last[first], last[second]]
        for first in last
        for second in last
        if first != second
    }


def strategies(contest: Contest) -> dict[str, tuple[Method, Scorer]]:
    """Seeded only where qualities are known: a reward model for replayed rankings would be made of these."""
    alone = Judge(aggregator=JudgeModel(model="table"), judges=[JudgeModel(model="table")], criteria=0)
    every, nobody = EveryPair(alone, FromTable(contest)), Scorer(contest)
    seeded = {f"Seeded, r = {r}": (Seeded(every, "rm"), Scorer(contest, r)) for r in CORRELATIONS}
    return {BASE: (every, nobody), "Adaptive": (Adaptive(every), nobody), **(seeded if contest.qualities else {})}


@dataclass(frozen=True)
class Line:
    """One strategy on one set of contests; shares are of RoundRobin's figures or of the prompts."""

    judges: str
    prompts: int
    answers: float
    """Mean."""
    consistent: float
    """Part of the pairs whose verdict the order did not change."""
    strategy: str
    calls: float
    tokens: float
    same_best: float
    same_worst: float
    same_pair: float
    dropped: float
    low: float
    high: float
    gap: float | None
    """Mean quality of the chosen answer less that of the rejected one, where a pair was found; None: not known."""
    full_gap: float | None

    @property
    def is_met(self) -> bool:
        return self.calls <= CALLS_AIM and self.same_pair >= SAME_AIM

    def __str__(self) -> str:
        def shown(value: float | None) -> str:
            return "–" if value is None else f"{value:.2f}"

        gaps = f"{shown(self.gap)} | {shown(self.full_gap)}"
        return (
            f"| {self.judges} | {self.prompts:,} | {self.answers:.1f} | {self.consistent:.2f} | {self.strategy} | "
            f"{self.calls:.1%} | {self.tokens:.1%} | {self.same_best:.1%} | {self.same_worst:.1%} | "
            f"{self.same_pair:.1%} | {self.low:.1%}–{self.high:.1%} | {self.dropped:.1%} | {gaps} | "
            f"{'met' if self.is_met else 'missed'} |"
        )


@dataclass(frozen=True)
class Found:
    """What one strategy made of one contest."""

    end: tuple[int | None, int | None] | None
    """Best and worst; None: no pair."""
    calls: int
    tokens: int
    gap: float | None


async def found(contest: Contest, method: Method, scorer: Scorer) -> dict[CriteriaFor, Found]:
    messages = [Message(role="user", content="question")]
    made = await method.rank(messages, contest.texts, asker(scorer))
    end = (made.ranking.chosen, made.ranking.rejected) if made.ranking.outcome == PAIR else None
    gap = None
    if contest.qualities and end is not None and end[0] is not None and end[1] is not None:
        gap = contest.qualities[end[0]] - contest.qualities[end[1]]
    return {criteria: Found(end, *cost(made, criteria), gap) for criteria in CriteriaFor}


def cost(made: Ranked, criteria: CriteriaFor) -> tuple[int, int]:
    """Calls and tokens of the paper's judge for what was asked."""
    orders = [len(ORDERS) - len(skipped(c.comparison)) for c in made.compared]
    every = every_pair(PAPERS.model_copy(update={"criteria_for": criteria}))
    choices = every.choices(1, sum(map(bool, orders)))
    loads = list(every.loads(choices, sum(orders), answer_tokens=ANSWER_TOKENS))
    if made.scores is not None:
        loads += score_loads("rm", len(made.scores.said), answer_tokens=ANSWER_TOKENS)
    return sum(one.calls for one in loads), sum(o.calls * (o.prompt_tokens + o.completion_tokens) for o in loads)


async def measured(judges: str, contests: Sequence[Contest]) -> list[Line]:
    made: dict[str, list[Found]] = {}
    for contest in contests:
        for name, (method, scorer) in strategies(contest).items():
            for criteria, one in (await found(contest, method, scorer)).items():
                full_name = name if criteria is CriteriaFor.PAIR else f"{name}, criteria of the prompt"
                made.setdefault(full_name, []).append(one)
    full = made[BASE]
    return [line(judges, contests, name, mine, full) for name, mine in made.items() if name != BASE]


def line(judges: str, contests: Sequence[Contest], name: str, mine: Sequence[Found], full: Sequence[Found]) -> Line:
    both = list(zip(mine, full, strict=True))
    same = share([one.end == other.end for one, other in both])
    pairs = [(one.end or (None, None), other.end) for one, other in both if other.end is not None]
    low, high = wilson(same, len(both))
    return Line(
        judges=judges,
        prompts=len(contests),
        answers=share([len(one.texts) for one in contests]),
        consistent=share([held for one in contests for held in consistency(one)]),
        strategy=name,
        calls=sum(one.calls for one in mine) / sum(one.calls for one in full),
        tokens=sum(one.tokens for one in mine) / sum(one.tokens for one in full),
        same_best=share([one[0] == other[0] for one, other in pairs]),
        same_worst=share([one[1] == other[1] for one, other in pairs]),
        same_pair=same,
        dropped=share([one.end is None for one in mine]),
        low=low,
        high=high,
        gap=mean_gap(mine),
        full_gap=mean_gap(full),
    )


def consistency(contest: Contest) -> Iterator[bool]:
    """Of every pair with both verdicts whether they name the same answer."""
    for (i, j), won in contest.table.items():
        other = contest.table[j, i]
        if i < j and won is not None and other is not None:
            yield won != other


def mean_gap(made: Sequence[Found]) -> float | None:
    gaps = [one.gap for one in made if one.gap is not None]
    return share(gaps) if gaps else None


def share(values: Sequence[float]) -> float:
    """The mean; not a number without values."""
    return sum(values) / len(values) if values else math.nan


async def stored(folder: Path) -> list[Contest]:
    """Contests of every finished judge stage of a store.

    Raises:
        StoreError: a table is damaged.
    """
    store, found = DirectoryStore(folder), []
    for file in sorted(folder.glob("stages/judge/*/*/manifest.json")):
        manifest = await read_manifest(store, str(file.parent.relative_to(folder)))
        assert manifest is not None, f"{file}: it was there a moment ago"
        rows = cast("list[RankingRow]", await read_table(store, manifest, "rankings"))
        found += [one for row in rows if len(set(row["samples"])) > 1 and (one := replayed(row)) is not None]
    return found


async def lines(prompts: int, stores: Sequence[Path]) -> list[Line]:
    made: list[Line] = []
    print(HEADER)
    for sharpness, lean in JUDGES:
        for size in SIZES:
            rng = random.Random(f"{sharpness}/{size}")
            contests = [simulated(size, sharpness, lean, rng) for _ in range(prompts)]
            made += shown(await measured(f"sharpness {sharpness:g}, lean {lean:g}", contests))
    for number, folder in enumerate(stores):
        contests = await stored(folder)
        if not contests:
            raise SystemExit(f"{folder}: no finished judge stage with two answers; name a run's storage.uri")
        made += shown(await measured(f"store {number + 1}", contests))
    return made


def shown(made: list[Line]) -> list[Line]:
    for one in made:
        print(one, flush=True)
    return made


def written(made: Sequence[Line], seconds: float, command: str) -> str:
    """The page. Raises CalledProcessError: this is no clone of the repository."""
    commit = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], check=True, capture_output=True, text=True)
    table = "\n".join([HEADER, *map(str, made)])
    return f"""# What fewer comparisons cost, {datetime.now(UTC).date()}

`{command}` at commit {commit.stdout.strip()};
{seconds:.0f} s of CPU time on one core, Python {platform.python_version()}. What is simulated stands at the head of
`benchmarks/judging.py`; the strategies are the real ones. Calls and tokens are shares of RoundRobin's.

{table}
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=300, help="simulated prompts of each line")
    parser.add_argument("--store", type=Path, action="append", default=[], help="a run's folder of storage; repeatable")
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE.name}")
    args = parser.parse_args()
    made = asyncio.run(lines(args.prompts, args.store))
    if args.write:
        stores = "".join(f" --store FOLDER-{number + 1}" for number, _ in enumerate(args.store))
        command = f"python -m benchmarks.judging --prompts {args.prompts}{stores} --write"
        PAGE.write_text(written(made, time.process_time(), command))
    missed = [one for one in made if not one.is_met]
    print(f"{len(missed)} aims missed" if missed else "all aims met")
    print(json.dumps({"prompts": args.prompts, "missed": len(missed), "lines": [asdict(one) for one in made]}))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
