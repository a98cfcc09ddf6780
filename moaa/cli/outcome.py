"""How a run ended, for a terminal: what was done and left out, what decided promotions, the verdict, every score."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from moaa.api import MoAA
from moaa.local.executor import Finished, Settings
from moaa.plan.show import ANEW
from moaa.report.schema import ScoreSummary, Summary
from moaa.report.summary import summarise
from moaa.report.wording import published
from moaa.run.collect import collect
from moaa.run.records import run_id
from moaa.store.objects.base import Store
from moaa.tables import Fitted


async def outcome_text(resource: MoAA, store: Store, finished: Finished, settings: Settings) -> RenderableType:
    """Reads the scores of what is finished. Raises StoreError: they cannot be read."""
    summary = summarise(await collect(resource, store, run_id(resource)))
    until = f" up to {settings.until}" if settings.until else ""
    if finished.made:
        made = len(finished.made)
        stages = "1 stage" if made == 1 else f"{made} stages"
        first = f"done{until}: {stages} in this run; logs: {settings.folder / 'logs'}"
    else:
        first = f"nothing to do{until}: all {len(finished.results)} stages are done"
    kept = [*(f"edit: {line}" for line in finished.kept), *([f"edit: {ANEW}"] if finished.kept else [])]
    warned = [f"warning: {stage.id}: {warning}" for stage in summary.stages for warning in stage.warnings]
    head = summary.headline
    decided = [f"{promotion.stage}: {promotion.reason}" for promotion in summary.promotions]
    taken = [f"weights: {store.uri}/{head.weights}; `moaa export FILE --model DIR` takes them"] if head.weights else []
    return Group(*map(Text, [first, *kept, *warned, *lost_rows(summary), *decided]), scores_text(summary), *taken)


def lost_rows(summary: Summary) -> list[str]:
    """A line for each stage that went on without rows that failed; the report has an example of each reason."""
    lines = []
    for stage in summary.stages:
        lost = {failure.reason: failure.rows for failure in summary.failures if failure.stage == stage.id}
        if lost:
            reasons = ", ".join(f"{reason}: {rows}" for reason, rows in lost.items())
            lines.append(f"rows left out: {stage.id}: {sum(lost.values())} of {stage.rows} ({reasons})")
    return lines


def scores_text(summary: Summary) -> RenderableType:
    """The verdict, then a line for each score: who, on what, how much, between which bounds, over how many prompts."""
    parts: list[RenderableType] = [Text(summary.headline.verdict, style="bold")]
    if summary.scores:
        table = Table(box=None, padding=(0, 1))
        published = {id(score): _published(score) for score in summary.scores}
        more = ["published"] if any(published.values()) else []
        for title in ("iteration", "model", "benchmark", "score", "interval", "prompts", *more):
            numeric = title in ("iteration", "score", "prompts")
            table.add_column(title, justify="right" if numeric else "left", no_wrap=True)
        for score in summary.scores:
            table.add_row(
                str(score.iteration),
                score.model,
                score.benchmark,
                f"{score.value:.3f}",
                "–" if score.low is None or score.high is None else f"{score.low:.3f} to {score.high:.3f}",
                str(score.n),
                *([published[id(score)]] if more else []),
            )
        parts.append(Fitted(table, ("prompts", "published", "iteration", "interval")))
    return Group(*parts)


def _published(score: ScoreSummary) -> str:
    """The figure that papers print: `AlpacaEval 2 LC 25.3 %`."""
    return ", ".join(f"{f.name} {published(f)}" for f in score.figures if f.is_headline)
