"""promote: decide which student the next iteration calls `$student`, and close this one.

The winner's folder is not copied: the output `model` points to where its stage wrote it, or to nothing when the
declared model stays. `scores` carries the winner's rows on, so that the next promotion can pair with them; `gains` says
how every candidate compared.
"""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import cast

import pyarrow as pa

from moaa.contract.job import StageJob
from moaa.data.schemas import SCORES
from moaa.evaluate.gate import Decision, decide, student_of
from moaa.evaluate.statistics import Estimate
from moaa.evaluate.told import decided, doubts
from moaa.plan.digests import output_rows
from moaa.plan.evidence import trial_of
from moaa.plan.ids import BASE_EVALUATE, RESOLVE, STAGE_DATA, made_by, stage_id
from moaa.plan.result import Output
from moaa.plan.stage import Kind
from moaa.plan.subjects import BASE
from moaa.rows import ScoreRow
from moaa.run.records import iteration_record, write_iteration
from moaa.run.students import student_label
from moaa.store.stages.manifest import ObjectRef, StageManifest
from moaa.store.stages.tables import TableRows
from moaa_jobs.runner.context import Context, Permanent
from moaa_jobs.runner.health import fitted
from moaa_jobs.runner.inputs import manifest_of, rows_of
from moaa_jobs.runner.one_worker import finished, publish

logger = logging.getLogger(__name__)

_GAIN_COLUMNS: list[tuple[str, pa.DataType]] = [
    ("candidate", pa.string()),
    ("gain", pa.float64()),
    ("low", pa.float64()),
    ("high", pa.float64()),
    ("rows", pa.int64()),
    ("is_winner", pa.bool_()),
]
GAINS = pa.schema(_GAIN_COLUMNS)
"""One row for each candidate, the previous student first; a gain is over the previous student, None without scores."""


async def run(job: StageJob, context: Context) -> None:
    """Write the manifest of promote.

    Raises:
        Permanent: the students share no scored question of a selection benchmark.
        StageError: a manifest that the plan named is not in the store.
    """
    manifest = await finished(context)
    if manifest is None:
        manifest = await _promote(job, context)
    # Written again when it is there: a killed attempt may have left the manifest without the record.
    record = iteration_record(job.iteration, {**job.results, job.stage: manifest.result()}, job.resource)
    await write_iteration(context.store, job.run, record, indent=2)


async def _promote(job: StageJob, context: Context) -> StageManifest:
    started = datetime.now(UTC)
    scores = {name: await _score_rows(name, job, context) for name in job.candidates}
    decision = _decide(scores, job, context)
    winner = decision.winner or job.candidates[0]
    names = {name: student_label(name, context.resource.spec.student) for name in job.candidates}
    told = decided(decision, context.resource.spec.evaluation, names)
    warnings = fitted(doubts(decision, names))
    logger.info("promoted winner=%s reason=%s", winner, told)
    for warning in warnings:
        logger.warning("stage_warning stage=%s said=%s", job.stage, warning)
    output, files = await _model(winner, job, context)
    tables = {"gains": TableRows(_gain_rows(decision, job.candidates, winner), GAINS)}
    if scores[winner] is not None:
        tables["scores"] = TableRows(scores[winner] or [], SCORES)
    return await publish(
        context,
        iter([tables]),
        main_table="gains",
        started=started,
        rows_in=len(job.candidates),
        metrics=_metrics(decision),
        outputs={"model": output},
        files={"model": files} if files else {},
        decision=told,
        warnings=warnings,
    )


def _decide(scores: Mapping[str, list[ScoreRow] | None], job: StageJob, context: Context) -> Decision:
    evaluation = context.resource.spec.evaluation
    names = [benchmark.name for benchmark in evaluation.selection]
    previous, *candidates = job.candidates
    sizes = {name: output_rows(job.results, STAGE_DATA, f"eval-{name}") for name in names}
    try:
        return decide(
            student_of(scores[previous] or [], names),
            {name: student_of(scores[name] or [], names) for name in candidates},
            evaluation,
            trial_of(context.resource.spec, job.iteration, sizes),
        )
    except ValueError as error:
        raise Permanent(
            f"{job.stage}: {previous} cannot be compared with {', '.join(candidates)}: {error}. A selection benchmark "
            "that was added after the previous student was measured counts from a new run on; remove it here"
        ) from error


async def _score_rows(candidate: str, job: StageJob, context: Context) -> list[ScoreRow] | None:
    """The candidate's rows on every benchmark, or None when the run measures nothing.

    A declared student is `base` of iteration 0; a promoted one brings its rows along; a student of this iteration has
    an evaluate stage of its own.
    """
    maker = made_by(candidate)
    if maker is None:
        stage, label = BASE_EVALUATE, BASE
    elif job.results[maker].kind is Kind.PROMOTE:
        stage, label = maker, None
    else:
        label = str(job.results[maker].kind)
        stage = stage_id(job.iteration, Kind.EVALUATE, label)
    result = job.results.get(stage)
    if result is None or "scores" not in result.outputs:
        return None
    rows = cast(list[ScoreRow], await rows_of(context, stage, "scores"))
    return [row for row in rows if label is None or row["model"] == label]


async def _model(winner: str, job: StageJob, context: Context) -> tuple[Output, list[ObjectRef]]:
    """Where the winner's weights are, and the objects they are made of; a declared model has neither."""
    maker = made_by(winner)
    if maker is None:
        return Output(digest=job.results[RESOLVE].models[winner]), []
    manifest = await manifest_of(context, maker)
    return manifest.outputs["model"], manifest.files.get("model", [])


def _gain_rows(decision: Decision, candidates: tuple[str, ...], winner: str) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for name in candidates:
        compared = decision.compared.get(name)
        gain = compared.gain if compared else None
        rows.append(
            {
                "candidate": name,
                "gain": gain.mean if gain else None,
                "low": gain.low if gain else None,
                "high": gain.high if gain else None,
                "rows": gain.rows if gain else 0,
                "is_winner": name == winner,
            }
        )
    return rows


def _metrics(decision: Decision) -> dict[str, float]:
    """What decided; `promoted` is 1 when the student changed, `level` the error rate of each bound.

    `gain.<candidate>` and its bounds are what the gate read, `raw.<candidate>` is the mean gain of the scores as they
    are, `questions.<candidate>` how many of those read both have, of the benchmark with the fewest.
    `lengthControlled.<candidate>.<benchmark>` is there where win rates were read at equal length, as the lower gain,
    and `forgotten.<candidate>.<benchmark>`, with `.low` and `.high`, where a loss barred it.
    `drift.<sign>.<candidate>.<benchmark>`, with `.before`, is what else changed about its answers.
    """
    figures: dict[str, float] = {"promoted": float(decision.winner is not None)}
    if decision.compared:
        figures["level"] = decision.level
    for name, compared in decision.compared.items():
        label, gain = name.removeprefix("@"), compared.gain
        figures |= {f"gain.{label}": gain.mean, f"raw.{label}": compared.raw, f"questions.{label}": compared.fewest}
        figures |= {f"lengthControlled.{label}.{benchmark}": 1.0 for benchmark in compared.controlled}
        figures |= _ends(f"gain.{label}", gain)
        for benchmark, loss in compared.forgotten.items():
            name_of_loss = f"forgotten.{label}.{benchmark}"
            figures |= {name_of_loss: loss.mean, **_ends(name_of_loss, loss)}
        for drift in compared.drifts:
            name_of_drift = f"drift.{drift.sign}.{label}.{drift.benchmark}"
            figures |= {name_of_drift: drift.after, f"{name_of_drift}.before": drift.before}
    return figures


def _ends(name: str, found: Estimate) -> dict[str, float]:
    return {} if found.low is None or found.high is None else {f"{name}.low": found.low, f"{name}.high": found.high}
