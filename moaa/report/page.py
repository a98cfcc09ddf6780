"""Sample rows and sums for the page: plain values for the template, without markup."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from moaa.plan.stage import Kind
from moaa.report.schema import FigureSummary, JudgeSummary, PromotionSummary, ScoreSummary, StageSummary, Summary
from moaa.rows import ConversationRow, PairRow, RankingRow
from moaa.run import tally as judging
from moaa.run.records import LOCAL_UID
from moaa.run.students import model_label
from moaa.run.view import RunView
from moaa.store.stages.manifest import TokenUsage

MAX_CHARS = 4000
"""Characters of one text that are shown; the tables hold the rest."""
_PLACE = re.compile(r"turn(\d+)/layer(\d+)/")


@dataclass(frozen=True)
class Turn:
    """One assistant turn of a conversation: what was asked, what was proposed, what is taught."""

    number: int
    question: str
    layers: list[list[tuple[str, str]]]
    """(model, text) of every proposal, layer by layer."""
    answer: str
    author: str
    """Whose answer it is, for readers."""


@dataclass(frozen=True)
class Example:
    stage: str
    id: str
    system: str
    turns: list[Turn]
    missing: int
    shortened: int


@dataclass(frozen=True)
class Sampled:
    index: int
    text: str
    points: float | None
    cells: list[str]
    """Result against every sample, as text; empty where a verdict is missing, a dot against itself."""
    reward: float | None = None
    """A reward model's number; None: there is none."""


@dataclass(frozen=True)
class Verdict:
    title: str
    stage: str
    id: str
    prompt: str
    criteria: list[str]
    samples: list[Sampled]
    chosen: Sampled | None
    rejected: Sampled | None
    outcome: str
    has_skipped: bool
    """Not every pair was compared in both orders."""
    has_rewards: bool = False
    """A reward model was asked."""


@dataclass(frozen=True)
class ScoreLine:
    label: str
    score: ScoreSummary
    is_promoted: bool


@dataclass(frozen=True)
class Totals:
    """Sums over the stages that this run did itself. `usd` is None when none of them has a price."""

    done: int
    seconds: float
    wall_seconds: float | None
    """None when no executor recorded any."""
    calls: int
    reused_calls: int
    prompt_tokens: int
    completion_tokens: int
    gpu_hours: float
    usd: float | None


@dataclass(frozen=True)
class UsageLine:
    model: str
    usage: TokenUsage


def totals(stages: Sequence[StageSummary]) -> Totals:
    own = [s for s in stages if s.status == "done" and s.reused_from is None]
    walls = [s.wall_seconds for s in own if s.wall_seconds is not None]
    prices = [s.usd for s in own if s.usd is not None]
    return Totals(
        done=sum(s.status == "done" for s in stages),
        seconds=sum(s.seconds or 0 for s in own),
        wall_seconds=sum(walls) if walls else None,
        calls=sum(s.calls or 0 for s in own),
        reused_calls=sum(s.reused_calls or 0 for s in own),
        prompt_tokens=sum(s.prompt_tokens or 0 for s in own),
        completion_tokens=sum(s.completion_tokens or 0 for s in own),
        gpu_hours=sum(s.gpu_hours or 0 for s in own),
        usd=sum(prices) if prices else None,
    )


def export_command(view: RunView) -> str:
    """What takes the student and all that it learned from out of the store."""
    training, uid = view.resource.spec.training, view.run.removeprefix(f"{view.resource.run_name}-")
    parts = ["moaa export FILE --model DIR"]
    parts += ["--sft DIR"] if training.sft is not None else []
    parts += ["--pairs DIR"] if training.dpo is not None else []
    parts += [f"--uid {uid}"] if uid != LOCAL_UID else []
    return " ".join(parts)


def warned(summary: Summary) -> list[StageSummary]:
    """Stages whose members are in doubt; what is doubtful about a promotion stands with it."""
    return [stage for stage in summary.stages if stage.warnings and stage.kind != Kind.PROMOTE]


def why(promotion: PromotionSummary) -> str:
    """What decided, without what its heading says already."""
    told = promotion.reason
    for heading in (f"{promotion.promoted} is promoted: ", "The previous student stays: "):
        told = told.removeprefix(heading)
    return f"{told[0].upper()}{told[1:]}"


def judge_groups(summary: Summary) -> list[tuple[str, list[JudgeSummary]]]:
    """The table of judges, by stage and benchmark. All of them together are a row of their own where they are several
    that give verdicts."""
    groups: dict[str, list[JudgeSummary]] = {}
    for row in summary.judges:
        title = f"{row.stage}, {row.benchmark}" if row.benchmark else row.stage
        groups.setdefault(title, []).append(row)
    return [
        (title, [row for row in rows if row.role != "method" or sum(r.role == "verdict" for r in rows) != 1])
        for title, rows in groups.items()
    ]


def best_alone(summary: Summary) -> str | None:
    """The most accurate judge on anchors with a single model, the first of equals; None where none has a figure."""
    alone = [row for row in summary.anchors if not row.members and row.accuracy is not None]
    return max(alone, key=lambda row: row.accuracy or 0.0).judge if alone else None


def usage_lines(view: RunView) -> list[UsageLine]:
    """Tokens of every model over the stages that this run did itself, the largest first."""
    found: dict[str, TokenUsage] = {}
    for stage in view.stages:
        if stage.manifest is None or stage.manifest.run != view.run:
            continue
        for model, usage in stage.manifest.usage.items():
            found[model] = found.get(model, TokenUsage()) + usage
    order = sorted(found, key=lambda name: (-found[name].prompt_tokens - found[name].completion_tokens, name))
    return [UsageLine(name, found[name]) for name in order]


def cut(text: str, limit: int = MAX_CHARS) -> str:
    """The text up to `limit` characters; says how much is left out."""
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text) - limit:,} more characters)"


def score_groups(view: RunView, summary: Summary) -> list[tuple[str, list[ScoreLine]]]:
    """The score table: benchmarks, and in each the models in graph order with names for readers."""
    kept = {p.promoted for p in summary.promotions}
    groups: dict[str, list[ScoreLine]] = {}
    for score in summary.scores:
        stage = view.of(score.stage)
        label = model_label(view, stage, score.model) if stage else score.model
        groups.setdefault(f"{score.benchmark}, {score.metric}", []).append(ScoreLine(label, score, label in kept))
    return list(groups.items())


@dataclass(frozen=True)
class FieldLine:
    """One model's line of the field's table."""

    label: str
    is_promoted: bool
    cells: list[FigureSummary | None]
    """By column; None: the model has no such figure."""


@dataclass(frozen=True)
class FieldTable:
    """The figures that papers print, a column each, as in the paper's Table 1."""

    columns: list[tuple[str, str]]
    """Benchmark and figure."""
    lines: list[FieldLine]
    notes: list[str]
    """What a reader must know to compare them, each once."""


def field_table(view: RunView, summary: Summary) -> FieldTable | None:
    """None where no benchmark is one of the field's."""
    lines: dict[tuple[str, str], dict[tuple[str, str], FigureSummary]] = {}
    for score in summary.scores:
        for figure in score.figures:
            if figure.is_headline:
                lines.setdefault((score.stage, score.model), {})[score.benchmark, figure.name] = figure
    if not lines:
        return None
    columns = list(dict.fromkeys(column for line in lines.values() for column in line))
    kept = {p.promoted for p in summary.promotions}
    return FieldTable(
        columns,
        [
            FieldLine(label, label in kept, [cells.get(column) for column in columns])
            for (stage_id, model), cells in lines.items()
            for stage in [view.of(stage_id)]
            for label in [model_label(view, stage, model) if stage else model]
        ],
        list(dict.fromkeys(f"{f.name}: {f.note}" for line in lines.values() for f in line.values() if f.note)),
    )


def example(stage: str, row: ConversationRow) -> Example:
    """A conversation by assistant turns, with the proposals each was written from."""
    system = "\n\n".join(m["content"] for m in row["messages"] if m["role"] == "system")
    proposed = proposals(row)
    turns: list[Turn] = []
    asked: list[str] = []
    for message in row["messages"]:
        if message["role"] == "user":
            asked.append(message["content"])
        elif message["role"] == "assistant":
            layers = proposed[len(turns)] if len(turns) < len(proposed) else []
            author = author_of(row, len(turns), is_mixed=bool(layers))
            turns.append(Turn(len(turns) + 1, "\n\n".join(asked), layers, message["content"], author))
            asked = []
    return Example(stage, row["id"], system, turns, row["missing"], row["shortened"])


def author_of(row: ConversationRow, turn: int, *, is_mixed: bool) -> str:
    """Who wrote a turn; rows of an earlier release know only whether the data gave it."""
    wrote = row.get("wrote") or []
    if turn < len(wrote):
        return f"answer by {wrote[turn]}"
    return "the mixture's answer" if is_mixed else "answer given in the data"


def proposals(row: ConversationRow) -> list[list[list[tuple[str, str]]]]:
    """(model, text) of every proposal by assistant turn and layer, in path order (`turn0/layer0/p2/s0`).

    A row whose answers the mixture wrote has proposals in every turn; a row with given answers has none at all.
    """
    turns: dict[int, dict[int, list[tuple[str, str]]]] = {}
    for proposal in row["proposals"]:
        place = _PLACE.search(proposal["path"])
        if place is not None:
            layers = turns.setdefault(int(place[1]), {})
            layers.setdefault(int(place[2]), []).append((proposal["model"], proposal["text"]))
    return [[turns[turn][layer] for layer in sorted(turns[turn])] for turn in sorted(turns)]


def verdicts(view: RunView) -> list[Verdict]:
    """The clearest, the closest and a dropped prompt of the last judge stage that has any."""
    for stage, tally in reversed(list(view.tallies.items())):
        rows = [
            ("The clearest pair", tally.clearest),
            ("The closest pair", tally.closest),
            ("A prompt without a pair", tally.dropped),
        ]
        pairs = view.pairs.get(stage, {})
        found = [verdict(title, stage, row, pairs.get(row["id"])) for title, row in rows if row is not None]
        if len(found) > 1 and found[0].id == found[1].id:
            del found[1]
        if found:
            return found
    return []


def points_of(score: float) -> str:
    """1 is "1", ½ is "½", 0.731 is "0.73"."""
    return {1.0: "1", 0.5: "½", 0.0: "0"}.get(score) or f"{score:.2f}"


def verdict(title: str, stage: str, row: RankingRow, pair: PairRow | None) -> Verdict:
    skipped = judging.skipped_cells(row)
    cells = {**{pair: points_of(share) for pair, share in judging.matrix(row).items()}, **skipped}
    size = range(len(row["samples"]))
    rewards = row.get("scores") or []
    samples = [
        Sampled(
            i,
            row["samples"][i],
            row["points"][i],
            ["·" if i == j else cells.get((i, j), "") for j in size],
            rewards[i] if rewards else None,
        )
        for i in size
    ]
    by_text = {s.text: s for s in reversed(samples)}
    chosen, rejected = (by_text.get(pair["chosen"]), by_text.get(pair["rejected"])) if pair else (None, None)
    criteria = list(dict.fromkeys(c for comparison in row["comparisons"] for c in comparison["criteria"]))
    prompt = next((m["content"] for m in reversed(row["messages"]) if m["role"] == "user"), "")
    return Verdict(
        title,
        stage,
        row["id"],
        prompt,
        criteria,
        samples,
        chosen,
        rejected,
        row["outcome"],
        has_skipped=bool(skipped),
        has_rewards=bool(rewards),
    )
