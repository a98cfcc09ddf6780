"""From a summary to the charts of a report: titled figures in two widths.

Every figure is drawn once for wide and once for narrow screens; the page shows one of them. Apart from thinning long
training curves, nothing is computed here that the summary does not hold.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from moaa.api.training import PreferenceLoss
from moaa.evaluate.told import points
from moaa.judge.ranking import BY_RULE, EQUAL_TEXTS, PAIR, SEED_CONTRADICTED, TIE, TOO_FEW_VERDICTS, UNSCORED
from moaa.plan.kinds.kind import Group
from moaa.plan.kinds.table import KINDS
from moaa.plan.stage import Kind
from moaa.plan.subjects import BASE, MIXTURE
from moaa.report import wording
from moaa.report.draw import charts
from moaa.report.draw.charts import Bar, Dot, Line, Step
from moaa.report.draw.svg import Shape
from moaa.report.schema import GainSummary, JudgeSummary, PairSummary, ScoreSummary, Summary
from moaa.run.students import model_label, student_label
from moaa.run.view import CurveRow, RunView

FULL_PX, HALF_PX, NARROW_PX = 1040, 510, 330
SPAN_POINTS, SPAN_CHARS = 10.0, 100.0
"""The least a chart of scores spans in percentage points, and one of lengths in characters."""
MAX_POINTS = 300
"""Points of a curve; longer ones show means of equal stretches."""
OUTCOMES = (PAIR, TIE, EQUAL_TEXTS, TOO_FEW_VERDICTS)
OUTCOME_NAMES = ("pair kept", "tie", "equal texts", "too few verdicts")
BY_SCORES = (UNSCORED, SEED_CONTRADICTED)
"""Outcomes that only a reward model brings."""
TIME_COLOURS: Mapping[Group, int] = {
    Group.GENERATE: 0,
    Group.SFT: 1,
    Group.SAMPLE: 5,
    Group.JUDGE: 3,
    Group.DPO: 4,
    Group.EVALUATE: 2,
    Group.OTHER: 6,
}


@dataclass(frozen=True)
class Figure:
    title: str
    caption: str
    wide: Markup
    narrow: Markup
    is_full: bool = False


def figure(title: str, caption: str, draw: Callable[[int], str], *, is_full: bool = False) -> Figure:
    """Both widths of one chart. `draw` returns escaped SVG."""
    wide = Markup(draw(FULL_PX if is_full else HALF_PX))
    return Figure(title, caption, wide, Markup(draw(NARROW_PX)), is_full)


def gain_figure(gains: Sequence[GainSummary], title: str, zero_label: str) -> Figure:
    """Paired gains around zero."""
    dots = [
        Dot(
            label=f"{g.benchmark} ({g.use})",
            value=100 * g.value,
            low=_hundred(g.low),
            high=_hundred(g.high),
            text=f"{points(g.value)} ({wording.interval(g.low, g.high)})",
            series=0 if (g.low or 0) > 0 else 1 if (g.high or 0) < 0 else 6,
            shape="diamond",
        )
        for g in gains
    ]
    caption = "Percentage points on the same prompts. An interval that holds zero is no evidence of a change."
    desc = "; ".join(f"{d.label}: {d.text}" for d in dots)
    return figure(
        title,
        caption,
        lambda width: charts.interval_plot(
            dots, title=title, desc=desc, width=width, bounds=(-100, 100), zero_label=zero_label, min_span=SPAN_POINTS
        ),
    )


def progress_figures(view: RunView, summary: Summary) -> list[Figure]:
    """Scores from stage to stage, one figure a benchmark."""
    found = []
    for name, scores in _by_benchmark(summary.scores):
        steps = [_score_step(label, score, is_kept=kept) for label, score, kept in _students(view, summary, scores)]
        mixture = next((100 * s.value for s in scores if s.iteration == 0 and s.model == MIXTURE), None)
        title = f"{name}: {scores[0].metric} by iteration, %"
        use = "Read by the gate." if scores[0].use == "selection" else "Read by no decision."
        caption = f"{use} Filled: promoted, joined by the line. Hollow: measured, not promoted."
        found.append(_progress(title, caption, steps, mixture, bounds=(0, 100), min_span=SPAN_POINTS))
    return found


def _score_step(label: str, score: ScoreSummary | None, *, is_kept: bool) -> Step:
    if score is None:
        return Step(label, None)
    low, high = _hundred(score.low), _hundred(score.high)
    return Step(label, 100 * score.value, low, high, f"{100 * score.value:.1f}", is_kept=is_kept)


def length_figures(view: RunView, summary: Summary) -> list[Figure]:
    """Mean answer length from stage to stage, one figure a benchmark."""
    found = []
    for name, scores in _by_benchmark(summary.scores):
        steps = [
            Step(label, s.mean_length, text=wording.count(s.mean_length), series=2, is_kept=kept)
            if s
            else Step(label, None)
            for label, s, kept in _students(view, summary, scores)
        ]
        mixture = next((s.mean_length for s in scores if s.iteration == 0 and s.model == MIXTURE), None)
        caption = "Mean characters of an answer. If answers grow as scores do, read some before you trust the gain."
        found.append(
            _progress(
                f"{name}: answer length by iteration",
                caption,
                steps,
                mixture,
                bounds=(0, math.inf),
                min_span=SPAN_CHARS,
            )
        )
    return found


def member_figures(view: RunView, summary: Summary) -> list[Figure]:
    """The mixture, its members, and the student before and after: one figure a benchmark."""
    found = []
    for name, scores in _by_benchmark(summary.scores):
        dots = []
        for score in scores:
            stage = view.of(score.stage)
            if stage is None:
                continue
            label = model_label(view, stage, score.model)
            is_now = label == summary.headline.promoted
            if score.iteration and not is_now:
                continue
            shape, series = _look(score, is_now=is_now)
            low, high = _hundred(score.low), _hundred(score.high)
            dots.append(Dot(label, 100 * score.value, low, high, _interval_text(score), series, shape))
        if len(dots) < 2:
            continue
        dots.sort(key=lambda d: -d.value)
        title = f"{name}: the mixture, its members, the student"
        caption = f"{scores[0].metric.capitalize()}, %. Diamond: mixture. Square: student. Circle: a member alone."
        found.append(figure(title, caption, _interval_drawer(dots, title)))
    return found


def outcome_figure(pairs: Sequence[PairSummary]) -> Figure:
    """Outcomes of the prompts of every judge stage; those that rules dropped are one part, where there are any."""

    def parts(p: PairSummary) -> tuple[float, ...]:
        counts = [p.kept if reason == PAIR else p.dropped.get(reason, 0) for reason in OUTCOMES]
        return tuple(map(float, [*counts, *(count(p) for _, count in further)]))

    more = (("dropped by a rule", by_rule), ("unscored or contradicted", by_scores))
    further = [(name, count) for name, count in more if any(map(count, pairs))]
    bars = [Bar(f"iteration {p.iteration}", parts(p), wording.plural(p.prompts, "prompt")) for p in pairs]
    names = (*OUTCOME_NAMES, *(name for name, _ in further))
    title = "What became of the prompts"
    caption = "Only clear winners and losers become training pairs; what was left out is counted, not hidden."
    return _bars(title, caption, bars, names, (2, 6, 4, 1, 3, 5)[: len(names)])


def by_scores(pairs: PairSummary) -> int:
    """Prompts that a reward model left without a pair."""
    return sum(pairs.dropped.get(reason, 0) for reason in BY_SCORES)


def by_rule(pairs: PairSummary) -> int:
    """Prompts whose pair a rule of `dpo.pairs` dropped."""
    return sum(pairs.dropped.get(reason, 0) for reason in BY_RULE)


def order_figure(judges: Sequence[JudgeSummary]) -> Figure:
    """How much verdicts depend on which answer stood first: of every method, and of the judges of training panels."""
    bars = [
        Bar(
            _judged_label(j),
            tuple(map(float, (o.agreed, o.first_place_won, o.second_place_won, o.no_verdict))),
            wording.plural(o.comparisons, "comparison"),
        )
        for j in judges
        if (o := j.orders) is not None and (j.role == "method" or j.agreement is not None)
    ]
    title = "Verdicts in both orders"
    caption = (
        "Each pair of answers is judged twice, with places swapped. "
        "Where the verdict follows the place, each gets half."
    )
    names = ("same winner both times", "first place won both", "second place won both", "no verdict")
    return _bars(title, caption, bars, names, (0, 4, 3, 6))


def _judged_label(judge: JudgeSummary) -> str:
    """Of an evaluation whose student is judged on what: `iter. 1 SFT · arena`, and of the start's `iter. 0 · arena`."""
    if judge.benchmark is None:
        return f"iter. {judge.iteration} · {judge.judge}"
    student = f" {judge.stage.rpartition('-')[2].upper()}" if judge.iteration else ""
    return f"iter. {judge.iteration}{student} · {judge.benchmark}"


def time_figure(summary: Summary) -> Figure | None:
    """Shares of work time by kind of stage, for the whole run and every iteration."""
    rows: list[tuple[str, list[int]]] = [("whole run", list(range(summary.run.iterations + 1)))]
    rows += [(f"iteration {i}", [i]) for i in sorted({s.iteration for s in summary.stages})]
    bars = []
    for label, iterations in rows:
        parts = tuple(
            sum(
                s.seconds or 0.0
                for s in summary.stages
                if KINDS[Kind(s.kind)].group is group and s.iteration in iterations
            )
            for group in Group
        )
        if sum(parts) > 0:
            bars.append(Bar(label, parts, wording.seconds(sum(parts))))
    if not bars:
        return None
    caption = "Work time over all attempts, without model start-up and waiting for machines."
    colours = tuple(TIME_COLOURS[group] for group in Group)
    return _bars("Where the time went", caption, bars, [*Group], colours, is_full=True)


def curve_figures(view: RunView) -> list[Figure]:
    """Training curves, a line an iteration: losses, DPO's rewards, gradient norms, learning rates."""
    sft = _curves(view, Kind.SFT)
    dpo = _curves(view, Kind.DPO)
    specs: list[tuple[str, str, Sequence[tuple[int, Sequence[CurveRow]]], Callable[[CurveRow], float | None]]] = [
        ("SFT loss", "Cross-entropy on the mixture's answers, per token.", sft, lambda r: r["loss"]),
        ("DPO loss", _dpo_loss_caption(view), dpo, lambda r: r["loss"]),
        (
            "DPO reward margin",
            "β times how much more the policy than ref_model prefers chosen to rejected; by loss SimPO β times how "
            "much likelier a token of the chosen answer is.",
            dpo,
            lambda r: r.get("reward_margin"),
        ),
        (
            "DPO reward accuracy",
            "Part of the pairs whose chosen answer has the higher reward; ½ is chance.",
            dpo,
            lambda r: r.get("reward_accuracy"),
        ),
        (
            "DPO reward of chosen",
            "β times how much likelier the chosen answer is than under ref_model; below 0 it has become less likely.",
            dpo,
            lambda r: r.get("reward_chosen"),
        ),
        (
            "DPO reward of rejected",
            "The same of the rejected answer.",
            dpo,
            lambda r: r.get("reward_rejected"),
        ),
        ("SFT held-out loss", "Of rows that are not trained on (heldOut).", sft, lambda r: r.get("eval_loss")),
        ("DPO held-out loss", "Of pairs that are not trained on (heldOut).", dpo, lambda r: r.get("eval_loss")),
        (
            "DPO held-out reward margin",
            "Of pairs that are not trained on.",
            dpo,
            lambda r: r.get("eval_reward_margin"),
        ),
        (
            "DPO held-out reward accuracy",
            "Of pairs that are not trained on; ½ is chance.",
            dpo,
            lambda r: r.get("eval_reward_accuracy"),
        ),
        ("SFT gradient norm", "Before it is cut to maxGradNorm.", sft, lambda r: r["grad_norm"]),
        ("DPO gradient norm", "Before it is cut to maxGradNorm.", dpo, lambda r: r["grad_norm"]),
        ("SFT learning rate", "Of each step: warm-up, then schedule.", sft, lambda r: r["learning_rate"]),
        ("DPO learning rate", "Of each step: warm-up, then schedule.", dpo, lambda r: r["learning_rate"]),
    ]
    found = []
    for title, caption, curves, value in specs:
        lines = [Line(f"iteration {i}", _thin(rows, value), i - 1) for i, rows in curves]
        lines = [line for line in lines if line.points]
        if lines:
            found.append(_curve_figure(title, caption, lines, is_share=title.endswith("accuracy")))
    return found


def _dpo_loss_caption(view: RunView) -> str:
    dpo = view.resource.spec.training.dpo
    if dpo is not None and not dpo.loss.reads_ref_model:
        return f"Loss {dpo.loss}, which has no ref_model."
    if dpo is not None and (dpo.loss is not PreferenceLoss.SIGMOID or dpo.sft_weight is not None):
        return f"Loss {dpo.loss}; it starts where policy and ref_model are the same."
    return "Starts at ln 2 ≈ 0.693, where policy and ref_model are the same."


def _curve_figure(title: str, caption: str, lines: list[Line], *, is_share: bool) -> Figure:
    desc = "; ".join(
        f"{line.label}: {line.points[0][1]:.3g} at step {line.points[0][0]:.0f} to {line.points[-1][1]:.3g} "
        f"at step {line.points[-1][0]:.0f}"
        for line in lines
    )
    return figure(
        title,
        caption,
        lambda width: charts.line_chart(
            lines, title=title, desc=desc, width=width, x_label="optimiser step", bounds=(0, 1) if is_share else None
        ),
    )


def _curves(view: RunView, kind: Kind) -> list[tuple[int, Sequence[CurveRow]]]:
    return [
        (s.stage.iteration, view.curves[s.stage.id])
        for s in view.stages
        if s.stage.kind is kind and view.curves.get(s.stage.id)
    ]


def _thin(rows: Sequence[CurveRow], value: Callable[[CurveRow], float | None]) -> tuple[tuple[float, float], ...]:
    points = [(float(r["step"]), v) for r in rows if (v := value(r)) is not None and math.isfinite(v)]
    stretch = -(-len(points) // MAX_POINTS) or 1
    parts = [points[i : i + stretch] for i in range(0, len(points), stretch)]
    return tuple((sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in parts)


def _students(
    view: RunView, summary: Summary, scores: Sequence[ScoreSummary]
) -> Iterable[tuple[str, ScoreSummary | None, bool]]:
    """(axis label, score or None, whether promoted) of the start and every student that is or will be evaluated."""
    start = view.resource.spec.student
    base = next((s for s in scores if s.iteration == 0 and s.model == BASE), None)
    kept = {p.promoted for p in summary.promotions}
    yield "start", base, True
    for stage in view.stages:
        if stage.stage.kind is not Kind.EVALUATE or stage.stage.iteration == 0:
            continue
        score = next((s for s in scores if s.stage == stage.stage.id), None)
        suffix = stage.stage.id.rpartition("-")[2].upper()
        yield f"{suffix}\niter. {stage.stage.iteration}", score, student_label(stage.stage.student, start) in kept


def _progress(
    title: str,
    caption: str,
    steps: list[Step],
    mixture: float | None,
    *,
    bounds: tuple[float, float] | None,
    min_span: float,
) -> Figure:
    desc = "; ".join(f"{' '.join(s.label.split())}: {s.text or 'not measured yet'}" for s in steps)
    reference = (mixture, "the mixture") if mixture is not None else None
    return figure(
        title,
        caption,
        lambda width: charts.progress_chart(
            steps, title=title, desc=desc, width=width, bounds=bounds, reference=reference, min_span=min_span
        ),
    )


def _interval_drawer(dots: Sequence[Dot], title: str) -> Callable[[int], str]:
    desc = "; ".join(f"{d.label}: {d.text}" for d in dots)
    return lambda width: charts.interval_plot(
        dots, title=title, desc=desc, width=width, bounds=(0, 100), min_span=SPAN_POINTS
    )


def _bars(
    title: str,
    caption: str,
    bars: Sequence[Bar],
    names: Sequence[str],
    series: Sequence[int],
    *,
    is_full: bool = False,
) -> Figure:
    desc = "; ".join(
        f"{b.label}: " + ", ".join(f"{name} {part:g}" for name, part in zip(names, b.parts, strict=True) if part)
        for b in bars
    )
    return figure(
        title,
        caption,
        lambda width: charts.stacked_bars(bars, names, title=title, desc=desc, width=width, series=series),
        is_full=is_full,
    )


def _look(score: ScoreSummary, *, is_now: bool) -> tuple[Shape, int]:
    if is_now or score.model == BASE:
        return "square", 0
    return ("diamond", 1) if score.model == MIXTURE else ("circle", 6)


def _by_benchmark(scores: Sequence[ScoreSummary]) -> Iterable[tuple[str, list[ScoreSummary]]]:
    for name in dict.fromkeys(s.benchmark for s in scores):
        yield name, [s for s in scores if s.benchmark == name]


def _hundred(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _interval_text(score: ScoreSummary) -> str:
    if score.low is None or score.high is None:
        return f"{100 * score.value:.1f}"
    return f"{100 * score.value:.1f} ({100 * score.low:.1f} to {100 * score.high:.1f})"
