"""`python -m moaa_jobs --job FILE`: run one stage, or one shard of it. With `preflight` or `inspect` before `--job` it
asks the store instead (`moaa_jobs.check`). `moaa.contract.exits` says what the exit codes mean.
"""

import asyncio
import gc
import importlib
import json
import logging
import signal
import sys
from resource import RLIMIT_NOFILE, getrlimit, setrlimit

import uvloop
from pydantic_settings import CliApp

from moaa.api import MoAA
from moaa.contract.answers import ShardAnswer, WaitingAnswer, last_line
from moaa.contract.exits import TRY_AGAIN, Exit
from moaa.contract.job import StageJob
from moaa.errors import DataError, Fenced, MoaaError, ResourceError, ServerError, StageError, UsageError
from moaa.plan.result import stage_path
from moaa.plan.stage import Kind
from moaa_jobs.runner.context import Context, Deferred, Permanent
from moaa_jobs.runner.settings import JobSettings
from moaa_jobs.tell.answer import answer, answer_failure
from moaa_jobs.tell.progress import Progress
from moaa_jobs.tell.progress_server import shown_on

logger = logging.getLogger("moaa_jobs")


def module_of(kind: Kind) -> str:
    """The module whose `run` carries out stages of a kind.

    >>> module_of(Kind.STAGE_DATA)
    'moaa_jobs.stages.stage_data'
    """
    return f"moaa_jobs.stages.{kind.replace('-', '_')}"


async def run(settings: JobSettings) -> None:
    """Run the stage of `settings.job`. Imports only what this stage needs: a judging pod has no torch.

    Raises:
        StageError: the stage ended without a manifest.
        MoaaError: as the stage says.
    """
    from moaa.store.objects.open import StoreSettings, open_store
    from moaa.store.stages.shards import read_manifest

    job = StageJob.model_validate_json(settings.job.read_bytes())
    resource = MoAA.model_validate(job.resource)
    work_dir = settings.work_dir / job.stage
    work_dir.mkdir(parents=True, exist_ok=True)
    store = open_store(resource.spec.storage, StoreSettings())
    progress = Progress(job.stage, settings.progress_file)
    context = Context(job=job, resource=resource, store=store, work_dir=work_dir, progress=progress, settings=settings)
    module = importlib.import_module(module_of(job.kind))
    collect_less()
    open_more()
    task = asyncio.ensure_future(module.run(job, context))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    logger.info("stage_started stage=%s fingerprint=%s", job.stage, job.fingerprint[:12])
    try:
        with shown_on(settings.progress_port, lambda: progress.figures):
            await task
        if settings.shard is None and settings.termination_log is not None:
            manifest = await read_manifest(store, stage_path(job.kind, job.inputs, job.fingerprint))
            if manifest is None:
                raise StageError(f"{job.stage}: ended without its manifest; run the stage again")
            answer(settings.termination_log, manifest.result())
        elif settings.shard is not None:
            read, written = (progress.figures.get(name, {}) for name in ("prompt_spent", "completion_spent"))
            answer(settings.termination_log, ShardAnswer(prompt_spent=read, completion_spent=written))
        logger.info("stage_ended stage=%s", job.stage)
    except Deferred as deferred:
        calls = progress.figures.get("calls", 0)
        answer(settings.termination_log, WaitingAnswer(waiting=deferred.waiting, calls=calls))
        raise
    finally:
        progress.finish()
        await store.close()


def collect_less() -> None:
    """Let the garbage collector look less often, and never at what is imported.

    A job makes tens of thousands of small objects a second, nearly all of which end by their reference count: looking
    for cycles among them took a quarter of its time (benchmarks/client_202611.md).
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def open_more() -> None:
    """Allow as many open files as this process may have: every request in flight is a connection, and the usual 1,024
    are fewer than two models' requests."""
    _, most = getrlimit(RLIMIT_NOFILE)
    setrlimit(RLIMIT_NOFILE, (most, most))


def main() -> int:
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr, force=True
    )
    check = sys.argv[1] if len(sys.argv) > 1 and not sys.argv[1].startswith("-") else None
    settings = CliApp.run(JobSettings, cli_args=sys.argv[1 if check is None else 2 :])
    try:
        uvloop.run(run(settings) if check is None else _check(check, settings))
    except Deferred as deferred:
        logger.info("stage_deferred %s", json.dumps(deferred.waiting))
        return Exit.DEFERRED
    except Fenced as error:
        logger.warning("stage_fenced %s", error)
        answer_failure(settings.termination_log, str(error), permanent=False)
        return Exit.FENCED
    except (Permanent, DataError, ResourceError, UsageError) as error:
        return _report(error, settings, permanent=True)
    except MoaaError as error:
        return _report(error, settings, permanent=False)
    except asyncio.CancelledError:
        logger.info("stage_stopped by=SIGTERM")
        return Exit.STOPPED
    return Exit.DONE


async def _check(name: str, settings: JobSettings) -> None:
    """Raises UsageError: there is no such check."""
    from moaa_jobs.check import CHECKS

    if name not in CHECKS:
        raise UsageError(f"{name}: there is no such command; it is one of {', '.join(CHECKS)}, or none to run a stage")
    await CHECKS[name](settings)


def _report(error: Exception, settings: JobSettings, *, permanent: bool) -> int:
    """Leave the error as the last line on stderr, and the answer, for the executor."""
    servers = isinstance(error, ServerError)
    answer_failure(settings.termination_log, str(error), permanent=permanent, servers=servers)
    sys.stderr.write(last_line(str(error), permanent=permanent))
    return Exit.PERMANENT if permanent else TRY_AGAIN


if __name__ == "__main__":
    sys.exit(main())
