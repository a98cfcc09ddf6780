"""Publish a finished training: the curve as a table, then the manifest."""

import hashlib
from datetime import datetime

import pyarrow as pa

from moaa.contract.job import StageJob
from moaa.plan.result import Output, stage_path
from moaa.store.fencing import Token
from moaa.store.stages.manifest import ObjectRef, StageManifest
from moaa.store.stages.shards import write_manifest
from moaa.store.stages.tables import TableRows, encode
from moaa_jobs.runner.context import Context
from moaa_jobs.runner.manifest import build_manifest
from moaa_jobs.training.shared.messages import LoopConfig, LoopResult

_FLOAT: pa.DataType = pa.float64()
_COLUMNS: list[tuple[str, pa.DataType, bool]] = [
    ("step", pa.int64(), False),
    ("epoch", _FLOAT, False),
    ("loss", _FLOAT, False),
    ("learning_rate", _FLOAT, False),
    ("grad_norm", _FLOAT, False),
    ("tokens", pa.int64(), False),
    ("reward_accuracy", _FLOAT, True),
    ("reward_margin", _FLOAT, True),
    ("reward_chosen", _FLOAT, True),
    ("reward_rejected", _FLOAT, True),
    ("eval_loss", _FLOAT, True),
    ("eval_reward_accuracy", _FLOAT, True),
    ("eval_reward_margin", _FLOAT, True),
]
CURVE_SCHEMA = pa.schema([pa.field(name, kind, nullable=nullable) for name, kind, nullable in _COLUMNS])
_LAST = 10
"""Steps the final figures are averaged over; one batch's loss says little."""


def path_of(job: StageJob) -> str:
    return stage_path(job.kind, job.inputs, job.fingerprint)


async def finish(
    context: Context,
    config: LoopConfig,
    result: LoopResult,
    token: Token,
    *,
    rows_in: int,
    failures: dict[str, int],
    examples: dict[str, str],
    counts: dict[str, float],
    started: datetime,
    seconds: float,
) -> StageManifest:
    """Write the curve and the manifest. Raises Fenced: a later attempt owns the stage."""
    job, store = context.job, context.store
    curve = encode(TableRows([row.model_dump() for row in result.curve], CURVE_SCHEMA))
    await token.check()
    key = token.out_key("curve.parquet")
    await store.put(key, curve.body)
    ref = ObjectRef(key=key, size_bytes=len(curve.body), sha256=hashlib.sha256(curve.body).hexdigest())
    manifest = build_manifest(
        job,
        context.resource,
        attempt=token.attempt,
        outputs={"model": result.model, "curve": Output(digest=curve.digest, rows=curve.rows)},
        started=started,
        seconds=round(seconds, 3),
        tables={"curve": [ref]},
        files={"model": result.files},
        rows_in=rows_in,
        failures=failures,
        examples=examples,
        models=_models(job, config),
        metrics=figures(result) | counts,
    )
    await token.check()
    return await write_manifest(store, token.stage_path, manifest)


def figures(result: LoopResult) -> dict[str, float]:
    """What a report shows of a training: ends of the curve, speed, how it came about. Steps that are lost count for
    themselves and in no mean."""
    sound = [row for row in result.curve if row.is_sound]
    first, last = sound[0], sound[-_LAST:]
    values = {
        "steps": float(result.curve[-1].step),
        "tokens": float(result.curve[-1].tokens),
        "first_loss": first.loss,
        "final_loss": _mean([row.loss for row in last]),
        "lost_steps": float(len(result.curve) - len(sound)),
        "packing": float(result.packed),
        "packing_refused": float(result.packing_refused),
        "resumed_step": float(result.resumed_step),
    }
    if result.checkpoints_late:
        values["checkpoints_late"] = float(result.checkpoints_late)
    values |= {f"seconds_{name}": value for name, value in result.seconds.items()}
    for name in ("reward_accuracy", "reward_margin"):
        of_last = [getattr(row, name) for row in last if getattr(row, name) is not None]
        if of_last:
            values[f"final_{name}"] = _mean(of_last)
    looked = [(row.eval_loss, row.step) for row in sound if row.eval_loss is not None]
    if looked:
        best, step = min(looked)
        values |= {"final_eval_loss": looked[-1][0], "best_eval_loss": best, "best_eval_step": float(step)}
    if result.kept_step is not None:
        values["kept_step"] = float(result.kept_step)
    if result.stopped_early:
        values["stopped_early"] = 1.0
    return values


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _models(job: StageJob, config: LoopConfig) -> dict[str, str]:
    models = {job.student or "": config.student.digest}
    if job.ref_model and config.ref_model:
        models[job.ref_model] = config.ref_model.digest
    return models
