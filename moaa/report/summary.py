"""From what was read to what is reported: `RunView` to `Summary`, without I/O, clock or chance."""

import math
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Literal

from moaa.api.mixture import MixtureMethod
from moaa.judge.scalar.ranking import correlation
from moaa.plan.lengths import TOO_LONG_CUT, TOO_LONG_DROPPED
from moaa.plan.stage import Kind
from moaa.report import measure, wording
from moaa.report.calls import call_notes, calls
from moaa.report.costs import budget, gpu_hours, unpriced, usd
from moaa.report.judges import anchored, judges
from moaa.report.promotion import promotion_summaries
from moaa.report.provenance import lineage, models, public_text
from moaa.report.schema import (
    FailureSummary,
    Headline,
    PairSummary,
    RunSummary,
    StageSummary,
    Summary,
    TrainingSummary,
    UnchangedSummary,
)
from moaa.run.students import promoted, promotions, student_label, weights_of
from moaa.run.tally import Tally
from moaa.run.view import RunView, StageView, Unchanged
from moaa.store.stages.manifest import TokenUsage

NAMED = 8
"""Waiting stages that are named; the others are counted."""
LINE_CHARS = 300


def summarise(view: RunView) -> Summary:
    """Every figure of the report. The same view gives the same summary, to the byte once written."""
    spec = view.resource.spec
    done = [s for s in view.stages if s.manifest is not None]
    closed = promotions(view)
    own = [s.manifest for s in done if s.manifest is not None and s.manifest.run == view.run]
    started = min((manifest.started for manifest in own), default=None)
    finished = max((manifest.finished for manifest in own), default=None)
    return Summary(
        run=RunSummary(
            name=view.resource.metadata.name,
            namespace=view.resource.metadata.namespace,
            run=view.run,
            student=spec.student,
            seed=spec.seed,
            storage=public_text(spec.storage.uri),
            iterations=spec.iterations,
            iterations_closed=len(closed),
            is_complete=len(done) == len(view.stages),
            started=_moment(started),
            finished=_moment(finished),
            elapsed_seconds=(finished - started).total_seconds() if started and finished else None,
        ),
        headline=_headline(view, done=len(done), closed=len(closed)),
        stages=[_stage(view, s) for s in view.stages],
        data=measure.data(view),
        scores=measure.scores(view),
        unchanged=[_unchanged(same, spec.student) for same in view.unchanged],
        pairs=[_pairs(s, view.tallies[s.stage.id]) for s in view.stages if s.stage.id in view.tallies],
        anchors=anchored(view),
        judges=judges(view),
        training=[t for s in view.stages if (t := _training(view, s)) is not None],
        promotions=promotion_summaries(view),
        models=models(view),
        lineage=lineage(view),
        failures=failures(view),
        calls=calls(view),
        budget=budget(view),
        notes=notes(view),
        versions=versions(view),
        missing=missing(view),
    )


def _moment(time: datetime | None) -> str | None:
    """2026-03-02T08:00:00Z, to the second."""
    return None if time is None else f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _headline(view: RunView, *, done: int, closed: int) -> Headline:
    spec = view.resource.spec
    now = promoted(view)
    found = wording.headline(
        measure.gains_of_promoted(view),
        promoted=student_label(now, spec.student),
        is_start=now == spec.student,
        closed=closed,
        progress=(done, len(view.stages)),
        failed=[s.stage.id for s in view.stages if s.status == "failed"],
        confidence=100 * float(spec.evaluation.confidence),
        against_mixture=measure.gains_over_mixture(view),
    )
    return found.model_copy(update={"verdict": f"{found.verdict}{_doubt(view)}", "weights": weights_of(view, now)})


def _doubt(view: RunView) -> str:
    """The first thing that is doubtful about the last promotion, as a further sentence."""
    last = promotions(view)[-1:]
    found = [warning for stage in last if stage.manifest for warning in stage.manifest.warnings[:1]]
    return "".join(f" {text[0].upper()}{text[1:]}." for text in map(public_text, found))


def _stage(view: RunView, stage: StageView) -> StageSummary:
    manifest = stage.manifest
    usage = sum(manifest.usage.values(), TokenUsage()) if manifest and manifest.usage else None
    return StageSummary(
        id=stage.stage.id,
        kind=str(stage.stage.kind),
        iteration=stage.stage.iteration,
        status=stage.status,
        started=_moment(manifest.started) if manifest else None,
        finished=_moment(manifest.finished) if manifest else None,
        seconds=manifest.seconds if manifest else None,
        wall_seconds=stage.wall_seconds,
        rows=manifest.rows_in if manifest else None,
        prompt_tokens=usage.prompt_tokens if usage else None,
        completion_tokens=usage.completion_tokens if usage else None,
        calls=usage.calls if usage else None,
        reused_calls=usage.reused if usage else None,
        attempts=stage.attempts,
        gpu_hours=gpu_hours(view, stage),
        usd=usd(view, stage),
        warnings=[public_text(warning) for warning in manifest.warnings] if manifest else [],
        reused_from=manifest.run if manifest and manifest.run != view.run else None,
        problem=public_text(stage.problem) or None,
    )


def _unchanged(same: Unchanged, start: str) -> UnchangedSummary:
    student, before = (student_label(one, start) for one in (same.student, same.before))
    return UnchangedSummary(stage=same.stage, student=student, before=before, answers=same.answers)


def _pairs(stage: StageView, tally: Tally) -> PairSummary:
    manifest = stage.manifest
    return PairSummary(
        stage=stage.stage.id,
        iteration=stage.stage.iteration,
        prompts=tally.prompts,
        kept=tally.pairs,
        dropped={reason: n for reason, n in sorted(tally.outcomes.items()) if reason != "pair"},
        failed_rows=sum(manifest.failures.values()) if manifest else 0,
        failed_verdicts=tally.failed_verdicts,
        verdicts=2 * (tally.verdicts.valid + tally.verdicts.missing) + tally.single_verdicts,
        skipped_verdicts=tally.skipped_verdicts,
        seeds=tally.seconded + tally.opposed,
        seed_correlation=correlation(tally.seconded, tally.opposed),
        mean_margin=tally.margin / tally.pairs if tally.pairs else None,
        chosen_length=tally.chosen_chars / tally.pairs if tally.pairs else None,
        rejected_length=tally.rejected_chars / tally.pairs if tally.pairs else None,
        longer_chosen=tally.longer_chosen / tally.pairs if tally.pairs else None,
        criteria=dict(sorted(tally.criteria.items(), key=lambda item: (-item[1], item[0]))),
    )


def _training(view: RunView, stage: StageView) -> TrainingSummary | None:
    curve = view.curves.get(stage.stage.id, ())
    sound = [row for row in curve if math.isfinite(row["loss"]) and math.isfinite(row["grad_norm"])]
    if not sound:
        return None
    kind: Literal["sft", "dpo"] = "sft" if stage.stage.kind is Kind.SFT else "dpo"
    last = sound[-1]
    return TrainingSummary(
        stage=stage.stage.id,
        iteration=stage.stage.iteration,
        kind=kind,
        steps=curve[-1]["step"],
        lost_steps=len(curve) - len(sound),
        first_loss=sound[0]["loss"],
        last_loss=last["loss"],
        tokens=last["tokens"],
        reward_accuracy=last.get("reward_accuracy"),
        reward_margin=last.get("reward_margin"),
    )


def failures(view: RunView) -> list[FailureSummary]:
    """Rows that failed for good, by stage and reason, the most frequent reason first."""
    return [
        FailureSummary(
            stage=s.stage.id,
            iteration=s.stage.iteration,
            reason=reason,
            rows=rows,
            example=public_text(s.manifest.examples.get(reason, "")) or None,
        )
        for s in view.stages
        if s.manifest
        for reason, rows in sorted(s.manifest.failures.items(), key=lambda item: (-item[1], item[0]))
    ]


def notes(view: RunView) -> list[str]:
    """Where the run differed from what was asked for."""
    outdated = [
        f"{s.stage.id} is shown as closed iterations have it; the resource as it is now would not make it."
        for s in view.stages
        if s.is_outdated
    ]
    unpacked = [
        f"{s.stage.id} asked for packing but trained without it: with this model, packed rows give other logits "
        "than single rows. The result is the same; steps take longer."
        for s in view.stages
        if s.manifest and s.manifest.metrics.get("packing_refused") == 1
    ]
    return [*outdated, *unpacked, *_long_rows(view), *call_notes(view)]


def _long_rows(view: RunView) -> Iterator[str]:
    """What became of rows longer than maxLength, where the resource says that they are no failures."""
    for s in view.stages:
        metrics, rows = (s.manifest.metrics, s.manifest.rows_in) if s.manifest else ({}, 0)
        if metrics.get(TOO_LONG_DROPPED):
            yield f"{s.stage.id} left out {metrics[TOO_LONG_DROPPED]:.0f} of {rows} rows longer than maxLength."
        if metrics.get(TOO_LONG_CUT):
            yield (
                f"{s.stage.id} cut the prompts of {metrics[TOO_LONG_CUT]:.0f} of {rows} rows, which were longer than "
                "maxLength."
            )


def versions(view: RunView) -> dict[str, list[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for stage in view.stages:
        for name, version in (stage.manifest.versions if stage.manifest else {}).items():
            found[name].add(version)
    return {name: sorted(found[name]) for name in sorted(found)}


def missing(view: RunView) -> list[str]:
    """What the report cannot show, in sentences."""
    spec = view.resource.spec
    found = [public_text(problem) for problem in view.unreadable]
    if not measure.measured(spec):
        found.append("No benchmark is declared under spec.evaluation, so nothing says how good any student is.")
    elif not spec.evaluation.members and spec.mixture:
        found.append("spec.evaluation.members is false: the mixture and its members were not measured.")
    elif spec.mixture and spec.mixture.method is MixtureMethod.COMBINED:
        found.append("spec.mixture.method Combined gives no one answer to a question: only its members were measured.")
    fields = [f for s in view.stages if s.manifest for f in unpriced(view, s)]
    found += [f"Cost is incomplete: {field} is not stated." for field in dict.fromkeys(fields)]
    for stage in view.stages:
        if stage.status == "failed":
            found.append(f"{stage.stage.id} failed: {_first_line(public_text(stage.problem))}.")
        elif stage.status == "started":
            found.append(f"{stage.stage.id} has started but is not done.")
    if waiting := [s.stage.id for s in view.stages if s.status == "waiting"]:
        more = f" and {wording.plural(len(waiting) - NAMED, 'other')}" if len(waiting) > NAMED else ""
        found.append(
            f"Not begun, because their inputs are missing or nothing runs: {', '.join(waiting[:NAMED])}{more}."
        )
    for stage in view.stages:
        if view.curves.get(stage.stage.id) == ():
            found.append(f"{stage.stage.id} left no training curve.")
    return found


def _first_line(problem: str) -> str:
    """The sentence of a problem without the log lines that may follow it."""
    line = problem.strip().partition("\n")[0].rstrip(".;:")
    return (line if len(line) <= LINE_CHARS else f"{line[:LINE_CHARS]}…") or "no reason was recorded"
