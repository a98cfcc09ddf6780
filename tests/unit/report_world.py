"""A finished two-iteration run that never happened, as the values a report is made from; and parts of it.

Figures are drawn from fixed seeds, so that every test sees the same run.
"""

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import sha256
from itertools import combinations
from pathlib import Path
from typing import Any

import yaml

from moaa.api import MoAA
from moaa.api.evaluation import Pairwise
from moaa.judge.ranking import orders_score
from moaa.plan.graph import benchmarks, build
from moaa.plan.result import Output
from moaa.plan.slices import tables
from moaa.plan.stage import Kind, Stage
from moaa.rows import (
    AbsentProposal,
    AnswerRow,
    Comparison,
    ConversationRow,
    JudgementRow,
    PairRow,
    RankingRow,
    ScoreRow,
)
from moaa.run.read_trail import of_rankings as of_drawn
from moaa.run.tally import Tally, tally_pairs, tally_rankings
from moaa.run.trail import Compared, Trail
from moaa.run.view import Contrast, CurveRow, RunView, StageView
from moaa.store.stages.manifest import StageManifest, TokenUsage
from tests.unit.report_judgements import of_rankings, of_scores

RUN = "research-llama-8b-local"
START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
RESOURCE: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("report_resource.yaml").read_text())
SKILL = {"math": 0.36, "arena": 0.5}
GAINS = {
    "sft": 0.06,
    "dpo": 0.115,
    "base": 0.0,
    "wizardlm": 0.1,
    "qwen2-72b": 0.14,
    "gemma2-27b": 0.06,
    "aggregator": 0.12,
    "mixture": 0.2,
}
PROMPTS = 240
WINNERS = {1: 2, 2: 2}
"""By iteration, which candidate the gate would choose from the scores below; in others the student stays."""
LONG = "supercalifragilistic" * 40


def resource(**changes: object) -> MoAA:
    spec = {**RESOURCE["spec"], **changes}
    return MoAA.model_validate({**RESOURCE, "spec": spec})


def digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def finished_run(world: MoAA | None = None) -> RunView:
    """Every stage done; both iterations promoted their DPO student. Rows, tallies and trails are shared: read only."""
    world = world or resource()
    stages = tuple(_stage(world, stage, number) for number, stage in enumerate(build(world).stages.values()))
    judged = {s.stage.id: s.stage.iteration for s in stages if s.stage.kind is Kind.JUDGE}
    ranked = {name: rankings(iteration) for name, iteration in judged.items()}
    trails = {s.stage.id: trail(world, s.stage) for s in stages if s.stage.kind in (Kind.JUDGE, Kind.EVALUATE)}
    return RunView(
        resource=world,
        run=RUN,
        stages=stages,
        scores={s.stage.id: tuple(_scores(world, s.stage)) for s in stages if s.stage.kind is Kind.EVALUATE},
        tallies={name: _tally(iteration) for name, iteration in judged.items()},
        pairs={name: {p["id"]: p for p in _pairs(iteration)} for name, iteration in judged.items()},
        trails=trails,
        compared={name: tuple(_compared(made, ranked.get(name, ()))) for name, made in trails.items()},
        curves={s.stage.id: _curve(s.stage) for s in stages if s.stage.kind in (Kind.SFT, Kind.DPO)},
        conversations={s.stage.id: conversations() for s in stages if s.stage.kind is Kind.GENERATE},
        contrasts=(contrast(),),
    )


def run_in_progress(last_done: str = "i1-judge") -> RunView:
    """The same run, stopped in the stage after `last_done`."""
    whole = finished_run()
    names = [s.stage.id for s in whole.stages]
    done = set(names[: names.index(last_done) + 1])
    stages = []
    for stage in whole.stages:
        if stage.stage.id in done:
            stages.append(stage)
        elif len(stages) == len(done):
            stages.append(
                StageView(stage.stage, "failed", attempts=3, problem="spec.training.dpo.batchSize: out of memory")
            )
        else:
            stages.append(StageView(stage.stage, "waiting"))
    return replace(
        whole,
        stages=tuple(stages),
        scores={k: v for k, v in whole.scores.items() if k in done},
        tallies={k: v for k, v in whole.tallies.items() if k in done},
        pairs={k: v for k, v in whole.pairs.items() if k in done},
        trails={k: v for k, v in whole.trails.items() if k in done},
        compared={k: v for k, v in whole.compared.items() if k in done},
        curves={k: v for k, v in whole.curves.items() if k in done},
        conversations={k: v for k, v in whole.conversations.items() if k in done},
        contrasts=(),
    )


def not_started(world: MoAA | None = None) -> RunView:
    world = world or resource()
    stages = [StageView(stage, "waiting") for stage in build(world).stages.values()]
    return RunView(world, RUN, tuple(stages))


def _read(world: MoAA) -> dict[str, float]:
    """Metrics of stage-data: every source lost one row to each cause and has a column that nobody reads."""
    causes = ("failed", "duplicates", "contaminated", "overLimit")
    return {
        f"{table}.{name}": count
        for table, _ in tables(world)
        for name, count in {"read": 104, **dict.fromkeys(causes, 1), "rows": 100, "ignored.<b>rating</b>": 99}.items()
    }


def _stage(world: MoAA, stage: Stage, number: int) -> StageView:
    chance = random.Random(stage.id)
    seconds = {
        Kind.GENERATE: 41000.0,
        Kind.SFT: 9100.0,
        Kind.SAMPLE: 1900.0,
        Kind.JUDGE: 30500.0,
        Kind.DPO: 4200.0,
        Kind.EVALUATE: 2600.0,
        Kind.RESOLVE: 14.0,
        Kind.STAGE_DATA: 210.0,
        Kind.PROMOTE: 1.2,
    }[stage.kind]
    rows = {Kind.GENERATE: 30000, Kind.SFT: 29988, Kind.SAMPLE: 3000, Kind.JUDGE: 3000, Kind.DPO: 2700}.get(
        stage.kind, 300
    )
    outputs = {"model": Output(digest=digest(f"weights of {stage.id}"))} if stage.kind in (Kind.SFT, Kind.DPO) else {}
    if stage.kind is Kind.PROMOTE:
        winner = stage.candidates[WINNERS.get(stage.iteration, 0)]
        outputs = {"model": Output(digest=digest(f"weights of {winner[1:]}"))}
    calls = 2 * rows
    manifest = StageManifest(
        stage=stage.id,
        kind=stage.kind,
        iteration=stage.iteration,
        run=RUN,
        inputs=digest(f"inputs of {stage.id}"),
        fingerprint=digest(f"fingerprint of {stage.id}"),
        attempt=1 + chance.randrange(2),
        document={},
        outputs=outputs,
        rows_in=rows,
        failures={"too-long": 9, "no-verdict": 3} if stage.kind in (Kind.GENERATE, Kind.JUDGE) else {},
        examples={"too-long": "row q7: HTTP 400: see https://me:pw@x.example/help"}
        if stage.kind is Kind.GENERATE
        else {},
        usage={
            name: TokenUsage(
                calls=calls,
                reused=calls // 40,
                prompt_tokens=calls * chance.randrange(400, 2600),
                completion_tokens=calls * chance.randrange(150, 700),
                **(_TROUBLE if stage.id == "i1-generate" and name == stage.serves[0] else {}),
            )
            for name in stage.serves
        },
        models={m.name: digest(m.name) for m in world.spec.models} if stage.kind is Kind.RESOLVE else {},
        licenses={m.name: m.license for m in world.spec.models if m.license} if stage.kind is Kind.RESOLVE else {},
        metrics=_read(world) if stage.kind is Kind.STAGE_DATA else {},
        decision=f"iteration {stage.iteration}: this decided" if stage.kind is Kind.PROMOTE else "",
        started=START + timedelta(hours=number),
        finished=START + timedelta(hours=number + 1),
        seconds=seconds * chance.uniform(0.8, 1.2),
        versions={"moaa": "0.1.0", "vllm": "0.32.0"} if stage.serves else {"moaa": "0.1.0", "trl": "1.16.0"},
    )
    return StageView(stage, "done", manifest, attempts=manifest.attempt, wall_seconds=manifest.seconds * 1.12)


_TROUBLE: Any = {
    "cut": {"aggregator": 2, "proposer": 40},
    "thoughts": 5,
    "lowered": 3,
    "uncounted": 1,
    "failures": {"refused": 2},
    "examples": {"refused": "model 'm': HTTP 403: flagged by https://x.example/filter?key=s3cret"},
}


def _scores(world: MoAA, stage: Stage) -> Iterable[ScoreRow]:
    for benchmark in [*world.spec.evaluation.selection, *world.spec.evaluation.report]:
        for label in _labels(stage):
            yield from _score_rows(benchmark.name, label, stage.iteration)


def _labels(stage: Stage) -> list[str]:
    """Whom an evaluate stage measures."""
    return [stage.id.rpartition("-")[2]] if stage.iteration else list(GAINS)[2:]


@cache
def _score_rows(benchmark: str, label: str, iteration: int) -> tuple[ScoreRow, ...]:
    """Prompts differ in how easy they are, for every model alike; `arena` is a win rate against the start."""
    skill = SKILL[benchmark] + GAINS[label] + 0.05 * max(iteration - 1, 0)
    rows = []
    for i in range(PROMPTS):
        ease = random.Random(f"{benchmark} {i}").gauss(0, 0.28)
        chance = random.Random(f"{benchmark} {i} {label} {iteration}")
        right = chance.random() < min(max(skill + ease, 0.02), 0.98)
        score = float(right) if benchmark == "math" else (right + chance.randrange(2)) / 2
        if benchmark == "arena" and label == "base":
            score = 0.5
        length = 900 + 350 * GAINS[label] / 0.08 + 120 * iteration + chance.gauss(0, 200)
        rows.append(
            ScoreRow(
                benchmark=benchmark, model=label, id=f"q{i:04d}", score=score, length=max(length, 20.0),
                baseline_length=_base_length(i) if benchmark == "arena" else None, refused=0.0, repeated=0.0,
                detail=None,
            )
        )  # fmt: skip
    return tuple(rows)


def _base_length(number: int) -> float:
    """Of the start's answer to prompt `number` of `arena`, as its own row has it."""
    chance = random.Random(f"arena {number} base 0")
    chance.random()
    chance.randrange(2)
    return max(900 + 350 * GAINS["base"] / 0.08 + chance.gauss(0, 200), 20.0)


@cache
def rankings(iteration: int) -> list[RankingRow]:
    return [ranking(i, random.Random(f"{iteration} {i}")) for i in range(120)]


def ranking(number: int, chance: random.Random) -> RankingRow:
    """Five samples of different worth, three judges that see it with noise and lean towards the first place."""
    worth = [chance.gauss(0, 1) for _ in range(5)]
    comparisons = []
    for a, b in combinations(range(5), 2):
        votes = [
            [_vote(worth[a] - worth[b], 0.35, chance), _vote(worth[a] - worth[b], -0.35, chance)] for _ in range(3)
        ]
        comparisons.append(
            Comparison(
                a=a,
                b=b,
                criteria=["Accuracy", "Clarity", "Depth"] if number % 2 else ["Helpfulness"],
                chosen=True,
                score=orders_score(_majority([v[0] for v in votes]), _majority([v[1] for v in votes])),
                forward=_majority([v[0] for v in votes]),
                backward=_majority([v[1] for v in votes]),
                votes=votes,
            )
        )
    points = _points(comparisons)
    outcome = "pair" if max(points) > min(points) else "tie"
    if number % 23 == 5:
        outcome = "equal-texts"
    samples = [
        f"Sample {i + 1} for prompt {number}. " + "It weighs both sides before it answers. " * (1 + i) for i in range(5)
    ]
    return RankingRow(
        id=f"p{number:05d}",
        messages=[
            {"role": "user", "content": f"Prompt {number}: which of two bridges carries the heavier lorry, and why?"}
        ],
        samples=samples,
        points=list(points),
        comparisons=comparisons,
        outcome=outcome,
    )


def _vote(difference: float, lean: float, chance: random.Random) -> int | None:
    if chance.random() < 0.01:
        return None
    return int(chance.random() < 1 / (1 + math.exp(-2.2 * (difference + lean))))


def _majority(votes: list[int | None]) -> int | None:
    known = [v for v in votes if v is not None]
    return int(2 * sum(known) > len(known)) if len(known) == 3 else None


def _points(comparisons: list[Comparison]) -> list[float]:
    won, valid = [0.0] * 5, [0] * 5
    for c in comparisons:
        if c["forward"] is None or c["backward"] is None:
            continue
        share = (c["forward"] + c["backward"]) / 2
        for i, part in ((c["a"], share), (c["b"], 1 - share)):
            won[i], valid[i] = won[i] + part, valid[i] + 1
    return [w / v if v else 0.0 for w, v in zip(won, valid, strict=True)]


@cache
def _pairs(iteration: int) -> tuple[PairRow, ...]:
    return tuple(pair_of(row) for row in rankings(iteration) if row["outcome"] == "pair")


@cache
def _tally(iteration: int) -> Tally:
    return tally_rankings(rankings(iteration)) + tally_pairs(_pairs(iteration))


def judgements(world: MoAA, stage: Stage) -> tuple[JudgementRow, ...]:
    """Of a judge or evaluate stage."""
    return _judgements(stage, _judged(world))


def _judged(world: MoAA) -> tuple[str, ...]:
    """Names of the benchmarks whose answers are compared."""
    return tuple(b.name for b in benchmarks(world.spec) if isinstance(b, Pairwise))


@cache
def _judgements(stage: Stage, judged: tuple[str, ...]) -> tuple[JudgementRow, ...]:
    if stage.kind is Kind.JUDGE:
        return tuple(of_rankings(rankings(stage.iteration)))
    return tuple(
        row
        for name in judged
        for label in _labels(stage)
        for row in of_scores(_score_rows(name, label, stage.iteration), benchmark=name)
    )


def trail(world: MoAA, stage: Stage) -> Trail:
    """To be read only: it is shared by all runs that differ in nothing it was made from."""
    return _trail(f"{world.spec.seed}/{stage.id}", stage, _judged(world))


@cache
def _trail(seed: str, stage: Stage, judged: tuple[str, ...]) -> Trail:
    made = Trail(seed)
    made.add(_judgements(stage, judged))
    return made


def _compared(made: Trail, ranked: Sequence[RankingRow]) -> Iterable[Compared]:
    """Of an evaluation the answers are not kept here."""
    rows = {row["id"]: row for row in ranked}
    for drawn in (one for some in made.drawn.values() for one in some):
        yield from of_drawn([drawn], rows) if ranked else [Compared(drawn, "ask", ("ours", "theirs"), 0.5, ("Depth",))]


def pair_of(row: RankingRow) -> PairRow:
    points = [p or 0.0 for p in row["points"]]
    best, worst = points.index(max(points)), points.index(min(points))
    return PairRow(
        id=row["id"],
        messages=row["messages"],
        chosen=row["samples"][best],
        rejected=row["samples"][worst],
        chosen_points=points[best],
        rejected_points=points[worst],
    )


@cache
def _curve(stage: Stage) -> tuple[CurveRow, ...]:
    chance = random.Random(f"curve {stage.id}")
    rows = []
    steps = 700 if stage.kind is Kind.SFT else 46
    for step in range(1, steps + 1):
        share = step / steps
        common = CurveRow(
            step=step, epoch=3 * share, learning_rate=8e-6 * (1 - share), tokens=step * 200_000, loss=0.0, grad_norm=1.0
        )
        if stage.kind is Kind.SFT:
            common["loss"] = 0.74 + 0.5 * math.exp(-6 * share) - 0.06 * stage.iteration + chance.gauss(0, 0.02)
        else:
            common["loss"] = 0.693 - 0.11 * share * stage.iteration**0.5 + chance.gauss(0, 0.008)
            common["reward_accuracy"] = min(0.98, 0.5 + 0.24 * share + chance.gauss(0, 0.03))
            common["reward_margin"] = 0.4 * share * stage.iteration**0.5 + chance.gauss(0, 0.02)
        rows.append(common)
    return tuple(rows)


def conversations() -> tuple[ConversationRow, ...]:
    plain = ConversationRow(
        id="uf-018233",
        messages=[
            {"role": "user", "content": "Why does a stone skip on water?"},
            {
                "role": "assistant",
                "content": "A flat stone skips because, for a few hundredths of a second, the water cannot get "
                "out of its way.\n\nThree things have to come together:\n\n1. Speed. The stone must push water down "
                "faster than it can flow aside.\n2. Angle. About 20° gives the most bounces.\n3. Spin. It keeps "
                "the angle, as a gyroscope would.\n\nEach bounce takes some speed, and in the end the stone sinks.",
            },
            {"role": "user", "content": "And on Mars?"},
            {
                "role": "assistant",
                "content": "With liquid water it would skip further: weight is 38 % of Earth's, so each bounce "
                "costs less height. The missing piece is the water: at 6 hPa it boils and freezes at once.",
            },
        ],
        proposals=[
            {"path": f"turn{turn}/layer0/p{i}/s0", "model": model, "text": text}
            for turn, texts in ((0, _PROPOSED), (1, _PROPOSED_LATER))
            for i, (model, text) in enumerate(texts)
        ],
        missing=1,
        absent=[AbsentProposal(path="turn0/layer0/p1/s0", model="gemma2-27b", reason="refused")],
        shortened=0,
        wrote=["qwen15-110b"] * 2,
    )
    return (plain, hostile())


def hostile() -> ConversationRow:
    """Text that tries to break a page: markup, scripts, entities, right-to-left, emoji, endless words, controls."""
    attack = (
        '<script>document.title="owned"</script><img src=x onerror=alert(1)>"\'></div></section>'
        "<style>body{display:none}</style>"
        " {{ 7*7 }} {% raw %} &lt;b&gt; &amp;\x00\x1b[31m\u2028\ud800 \u202eevil\u202c "
    )
    rtl = "السلام عليكم ورحمة الله. שלום עולם, מה שלומך היום? 👩‍👩‍👧‍👦🏳️‍🌈 ✅ 漢字かな交じり文も少し。"
    return ConversationRow(
        id='"><b>hostile</b>',
        messages=[
            {"role": "system", "content": "Answer </title> as a page would."},
            {"role": "user", "content": attack + rtl},
            {"role": "assistant", "content": rtl + "\n\n" + LONG},
        ],
        proposals=[
            {"path": "turn0/layer0/p0/s0", "model": "<i>model</i>", "text": attack},
            {"path": "turn0/layer0/p1/s0", "model": "qwen2-72b", "text": LONG},
            {"path": "turn0/layer0/p2/s0", "model": "gemma2-27b", "text": "x" * 9000},
        ],
        missing=0,
        absent=[],
        shortened=2,
        wrote=["<b>author</b>"],
    )


_PROPOSED = (
    (
        "wizardlm",
        "A stone skips because of surface tension, which acts like a skin. Throw it flat and fast, with spin.",
    ),
    (
        "qwen2-72b",
        "When a flat, spinning stone meets the water at a small angle it pushes water down and backwards. The reaction "
        "lifts it. The best angle between stone and surface is about 20 degrees.",
    ),
    (
        "gemma2-27b",
        "Spin keeps the stone from tumbling: a gyroscopic effect. Speed supplies the lift. Every hop costs energy, "
        "so the hops become shorter until the stone sinks.",
    ),
)
_PROPOSED_LATER = (
    ("qwen2-72b", "Gravity on Mars is 38 % of ours, so a stone would skip further on water of the same kind."),
    (
        "gemma2-27b",
        "There is no stable liquid water on the surface: pressure is about 6 hPa, so it would boil and freeze.",
    ),
)


def contrast() -> Contrast:
    before = AnswerRow(
        benchmark="arena",
        model="base",
        id="q0007",
        sample=0,
        prompt="Name a prime between 90 and 100.",
        text="91 is a prime number.",
        gold=None,
        score=0.0,
    )
    after = AnswerRow(
        benchmark="arena",
        model="dpo",
        id="q0007",
        sample=0,
        prompt="Name a prime between 90 and 100.",
        text="97. It has no divisor among 2, 3, 5 and 7, and 11² is above 100.",
        gold=None,
        score=1.0,
    )
    return Contrast(before, after)
