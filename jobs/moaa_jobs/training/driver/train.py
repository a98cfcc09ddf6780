"""The driver of both training stages: tokenise and check, train on Ray, publish.

Every mistake a user can make shows here, before a worker starts: a failure in a worker is Ray Train's to repair and is
tried again. The stage's one shard is `train`; through its fencing token, an earlier attempt that still runs loses.
"""

import asyncio
import json
import logging
import secrets
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, assert_never, cast

import pyarrow as pa

from moaa.api.training import Dpo, Sft, TooLong
from moaa.cause import CauseKind, cause
from moaa.contract.job import StageJob
from moaa.errors import DataError, Fenced, StageError
from moaa.judge.outcomes import why_no_pairs
from moaa.plan.lengths import TOO_LONG_CUT, TOO_LONG_DROPPED
from moaa.plan.stage import Kind
from moaa.rows import RankingRow
from moaa.store.fencing import Token, claim
from moaa.store.stages.shards import read_manifest
from moaa_jobs.runner.context import Context, Permanent
from moaa_jobs.runner.inputs import manifest_of, rows_of
from moaa_jobs.runner.rows import shortened
from moaa_jobs.training.driver import compiler, publish
from moaa_jobs.training.driver.cluster import RaySettings, fit, ray_cluster
from moaa_jobs.training.driver.watch import watch
from moaa_jobs.training.rows import table as token_table
from moaa_jobs.training.rows.adapters import check_adapters
from moaa_jobs.training.rows.chat import open_chat
from moaa_jobs.training.rows.held_out import held_out, prompt_of
from moaa_jobs.training.rows.student import check_memory
from moaa_jobs.training.rows.tokens import TOO_LONG, Failed
from moaa_jobs.training.shared import weights
from moaa_jobs.training.shared.checkpoints import find_resume, remove_checkpoints
from moaa_jobs.training.shared.messages import (
    SHARD,
    LoopConfig,
    LoopResult,
    TrainingKind,
    checkpoint_folder,
    optimization,
    run_name,
)
from moaa_jobs.training.shared.scratch import scratch_folder

logger = logging.getLogger(__name__)

ROWS_AT_ONCE = 128
"""Rows encoded between two looks at the clock."""


@dataclass(frozen=True)
class Recipe:
    """Where the two kinds differ before training."""

    kind: TrainingKind
    source: str
    """Kind of the stage that wrote the rows."""
    table: str
    encode: Callable[..., Any]
    """A row to its encoded sequences or `Failed` (`tokens.py`)."""
    to_table: Callable[[Sequence[Any]], pa.Table]


@dataclass(frozen=True)
class Rows:
    """The encoded rows and what became of the others."""

    table: pa.Table
    rows_in: int
    failures: dict[str, int]
    """By reason, the most frequent first."""
    examples: dict[str, str]
    """The first failed row of each reason and what was found."""
    held_out: int
    """The last rows of the table, which are not trained on."""
    too_long: dict[str, float]
    """What a policy for rows that are too long did, as metrics: rows dropped, or rows whose prompt was cut."""


async def train(job: StageJob, context: Context, recipe: Recipe) -> None:
    """Run the stage to its manifest.

    Raises:
        DataError, Permanent: the user's mistake, too many rows failed, or GPUs without a C compiler.
        Fenced: a later attempt has taken over.
        StageError: training failed more often than maxFailures allows; another attempt may help.
    """
    started, begun = datetime.now(UTC), time.monotonic()
    stage_path = publish.path_of(job)
    if await read_manifest(context.store, stage_path) is not None:
        logger.info("stage_done_before stage=%s", job.stage)
        return
    if context.resource.spec.training.resources.gpus_per_worker > 0:
        # The workers' machines have the driver's image, or are this one.
        await asyncio.to_thread(compiler.require)
    token = await claim(context.store, stage_path, SHARD)
    rows = await _encode_rows(job, context, recipe)
    config = await _configure(job, context, recipe, token, rows)
    try:
        result = await _train_on_ray(config, context, token)
    finally:
        await asyncio.to_thread(shutil.rmtree, context.work_dir / "weights", ignore_errors=True)
    await publish.finish(
        context, config, result, token,
        rows_in=rows.rows_in, failures=rows.failures, examples=rows.examples,
        counts=rows.too_long | ({"held_out_rows": float(rows.held_out)} if rows.held_out else {}),
        started=started, seconds=time.monotonic() - begun,
    )  # fmt: skip
    await remove_checkpoints(context.store, config.checkpoints)


async def _encode_rows(job: StageJob, context: Context, recipe: Recipe) -> Rows:
    """The input table, encoded.

    Raises:
        Permanent: too many rows failed, or none is left.
        DataError: the student cannot be trained by these GPUs.
    """
    maker = f"i{job.iteration}-{recipe.source}"
    rows = await rows_of(context, maker, recipe.table)
    if not rows:
        raise Permanent(f"{job.stage}: no row to train on: {await _why_none(context, maker, recipe)}")
    assert job.student is not None, "every training stage has a student"
    student = await weights.find(job.student, context)
    storage = context.resource.spec.storage
    folder = await weights.bring(student, context.store, storage, context.work_dir / "weights", weights.all_but_weights)
    resource = context.resource.spec
    declared = resource.model(resource.student)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    check_adapters(config, None, resource.training, declared.name)
    check_memory(config, resource.training, declared.name)
    chat = await asyncio.to_thread(open_chat, folder, declared, thinking=resource.training.thinking)
    spec = optimization(context.resource, recipe.kind)
    cuts = spec.too_long is TooLong.CUT_PROMPT

    def encode_all(part: Sequence[Any]) -> list[Any]:
        return [recipe.encode(chat, row, max_length=spec.max_length, cuts=cuts) for row in part]

    encoded: list[tuple[str, list[Any]]] = []
    """With its prompt, all sequences of each row."""
    failed: list[Failed] = []
    dropped: list[Failed] = []
    for i in range(0, len(rows), ROWS_AT_ONCE):
        part = rows[i : i + ROWS_AT_ONCE]
        for row, item in zip(part, await asyncio.to_thread(encode_all, part), strict=True):
            if not isinstance(item, Failed):
                encoded.append((prompt_of(row["messages"]), item))
            elif item.reason == TOO_LONG and spec.too_long is TooLong.DROP:
                dropped.append(item)
            else:
                failed.append(item)
        # Not as rows_done: what is left of the stage is counted in steps.
        context.progress.update(failed=len(failed), message=f"tokenising {i + len(part)} of {len(rows)} rows")
    _check_failures(context, job.stage, len(rows), failed, dropped)
    trained, held = _split(encoded, spec, seed=resource.seed, stage=job.stage)
    cut = sum(any(sequence.is_cut for sequence in of_row) for _, of_row in encoded)
    if len(trained) + len(held) != len(encoded):
        logger.info(
            "rows_split rows=%d sequences=%d: the chat template writes earlier turns otherwise than they were "
            "answered, or prompts are cut",
            len(encoded), len(trained) + len(held),
        )  # fmt: skip
    by_reason = _by_reason(failed)
    return Rows(
        table=recipe.to_table([*trained, *held]),
        rows_in=len(rows),
        failures={reason: len(of) for reason, of in by_reason.items()},
        examples={reason: shortened(_told(of[0])) for reason, of in by_reason.items()},
        held_out=len(held),
        too_long=_too_long(spec, rows=len(rows), dropped=len(dropped), cut=cut),
    )


def _split(
    encoded: Sequence[tuple[str, list[Any]]], spec: Sft | Dpo, *, seed: int, stage: str
) -> tuple[list[Any], list[Any]]:
    """Sequences to train on, and held-out ones, each in the order of rows.

    Raises:
        Permanent: there is one prompt, which cannot be on both sides.
    """
    if spec.held_out is None:
        return [sequence for _, of_row in encoded for sequence in of_row], []
    aside = held_out([prompt for prompt, _ in encoded], share=spec.held_out, seed=seed)
    if not aside:
        raise Permanent(
            f"{stage}: heldOut would leave nothing to train on, since all rows have one prompt; leave it out"
        )
    trained = [sequence for prompt, of_row in encoded if prompt not in aside for sequence in of_row]
    held = [sequence for prompt, of_row in encoded if prompt in aside for sequence in of_row]
    logger.info("rows_held_out prompts=%d sequences=%d of=%d", len(aside), len(held), len(held) + len(trained))
    return trained, held


def _too_long(spec: Sft | Dpo, *, rows: int, dropped: int, cut: int) -> dict[str, float]:
    """Metrics of the policy, which are logged, too."""
    match spec.too_long:
        case TooLong.FAIL:
            return {}
        case TooLong.DROP:
            logger.info("rows_dropped rows=%d of=%d max_length=%d", dropped, rows, spec.max_length)
            return {TOO_LONG_DROPPED: float(dropped)}
        case TooLong.CUT_PROMPT:
            logger.info("prompts_cut rows=%d of=%d max_length=%d", cut, rows, spec.max_length)
            return {TOO_LONG_CUT: float(cut)}
        case _:
            assert_never(spec.too_long)


async def _why_none(context: Context, maker: str, recipe: Recipe) -> str:
    """Outcomes of the rows that the stage before it read."""
    manifest = await manifest_of(context, maker)
    if recipe.kind is Kind.DPO:
        rankings = cast("list[RankingRow]", await rows_of(context, maker, "rankings"))
        return f"{maker}: {why_no_pairs(rankings, manifest.failures)}"
    failed = ", ".join(f"{reason}: {count}" for reason, count in sorted(manifest.failures.items())) or "none"
    return f"{maker} left none in its table {recipe.table}, of {manifest.rows_in} that it read (failed: {failed})"


def _by_reason(failed: Sequence[Failed]) -> dict[str, list[Failed]]:
    """The most frequent reason first."""
    found: dict[str, list[Failed]] = {}
    for row in failed:
        found.setdefault(row.reason, []).append(row)
    return dict(sorted(found.items(), key=lambda entry: -len(entry[1])))


def _told(row: Failed) -> str:
    """As every stage tells an example of a failed row."""
    return f"row {row.id}: {row.details}" if row.details else f"row {row.id}"


def _check_failures(
    context: Context, stage: str, rows: int, failed: Sequence[Failed], dropped: Sequence[Failed]
) -> None:
    """Raises Permanent: too many rows failed, or none is left; every reason with its count and an example."""
    for row in failed:
        logger.info("row_failed id=%s reason=%s details=%s", row.id, row.reason, row.details)
    for row in dropped:
        logger.info("row_dropped id=%s reason=%s details=%s", row.id, row.reason, row.details)
    reasons = "; ".join(
        f"{reason}: {len(of)}, for example {of[0].id!r}{f' ({of[0].details})' if of[0].details else ''}"
        for reason, of in _by_reason([*failed, *dropped] if rows == len(failed) + len(dropped) else failed).items()
    )
    allowed = context.resource.spec.failures.max_fraction * rows
    if rows == len(failed) + len(dropped):
        raise Permanent(
            f"{stage}: no row is left to train on, of {rows}; {reasons}; raise maxLength where they are too long, "
            "or look at the answers"
        )
    if len(failed) > allowed:
        raise Permanent(
            f"{stage}: {len(failed)} of {rows} rows cannot be trained, but spec.failures.maxFraction allows "
            f"{int(allowed)}; {reasons}. Raise maxLength (too-long) or "
            "maxFraction, or say what becomes of rows that are too long (tooLong)"
        )


async def _configure(job: StageJob, context: Context, recipe: Recipe, token: Token, rows: Rows) -> LoopConfig:
    """Put the encoded rows into the store and say what the workers need to know."""
    resource, stage_path = context.resource, token.stage_path
    checkpoints = checkpoint_folder(stage_path)
    name = run_name(job.fingerprint, token.attempt, secrets.token_hex(3))
    body = await asyncio.to_thread(token_table.to_bytes, rows.table)
    tokens_key = f"{checkpoints}/{name}-tokens.arrow"
    await context.store.put(tokens_key, body)
    assert job.student is not None, "every training stage has a student"
    return LoopConfig(
        resource=resource,
        kind=recipe.kind,
        stage_path=stage_path,
        run_name=name,
        attempt=token.attempt,
        student=await weights.find(job.student, context),
        ref_model=await weights.find(job.ref_model, context) if job.ref_model else None,
        tokens_key=tokens_key,
        tokens_digest=await asyncio.to_thread(token_table.content_digest, rows.table),
        held_out=rows.held_out,
    )


async def _resuming(config: LoopConfig, context: Context) -> LoopConfig:
    """With the checkpoint to go on from. A killed attempt's workers outlive it for moments, in which they write and
    remove checkpoints, so this is asked as late as can be."""
    resources, spec = config.resource.spec.training.resources, optimization(config.resource, config.kind)
    resume = await find_resume(context.store, config.checkpoints, workers=resources.workers, zero_stage=spec.zero_stage)
    if resume is not None:
        logger.info(
            "training_resumes step=%d checkpoint=%s weights_only=%s", resume.step, resume.folder, resume.weights_only
        )
    return config.model_copy(update={"resume": resume})


async def _train_on_ray(config: LoopConfig, context: Context, token: Token) -> LoopResult:
    from ray.train import TrainingFailedError

    resources, cache = context.resource.spec.training.resources, context.settings.work_dir
    training: asyncio.Future[dict[str, Any]] | None = None
    try:
        with ray_cluster(config.run_name, resources, RaySettings(), cache=cache):
            _stop_on_sigterm()
            config = await _resuming(config, context)
            training = asyncio.ensure_future(asyncio.to_thread(fit, config))
            await watch(training, config, context, token)
            value = training.result()
    except TrainingFailedError as error:
        raise worker_failed(config.run_name, str(error)) from error
    finally:
        if training is not None:
            # When this task was stopped, the thread ends because Ray has; its error is a consequence.
            await asyncio.gather(training, return_exceptions=True)
        await asyncio.to_thread(shutil.rmtree, scratch_folder(config.run_name), ignore_errors=True)
    if "fenced" in value:
        raise Fenced(str(value["fenced"]))
    if "refused" in value:
        raise DataError(str(value["refused"]))
    return LoopResult.model_validate(value)


def worker_failed(run_name: str, words: str) -> StageError | Permanent:
    """The error for `words`, in which Ray says how a worker failed: the cause first, Ray's own words below.

    Permanent where a library or package is missing, which it will be in the next attempt, too.
    """
    found = cause(words.splitlines())
    if found is None:
        return StageError(f"{run_name}: training failed: {words}")
    text = f"{run_name}: training failed: {found.text}\n{words}"
    return Permanent(text) if found.kind is CauseKind.MISSING else StageError(text)


def _stop_on_sigterm() -> None:
    """Once more, after Ray is connected: it replaces the process's handler with one that aborts without cleaning up."""
    task = asyncio.current_task()
    assert task is not None, "runs in a coroutine"
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
