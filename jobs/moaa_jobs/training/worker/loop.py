"""Entry point of every Ray Train worker: the process group, the worker's place, then the session."""

import asyncio
import os
from typing import Any

from moaa.errors import Fenced
from moaa_jobs.training.shared.messages import LoopConfig, LoopProgress, TrainingRefused
from moaa_jobs.training.worker.memory import is_out_of_memory, out_of_memory
from moaa_jobs.training.worker.place import Worker
from moaa_jobs.training.worker.process_group import join, leave


def train_loop(raw: dict[str, str]) -> dict[str, Any] | None:
    """Train as `raw["config"]` (a `LoopConfig` as JSON) says; rank 0 returns a `LoopResult` as JSON
    values, `{"fenced": why}` when a later attempt has taken over, or `{"refused": why}` when no other attempt can do
    better."""
    config = LoopConfig.model_validate_json(raw["config"])
    prepare_environment(on_gpu=config.on_gpu)
    join(on_gpu=config.on_gpu)
    with asyncio.Runner() as runner:
        worker = Worker.create(config, runner)
        worker.pulse.start()
        try:
            with worker.phase("imports"):
                from moaa_jobs.training.worker.session import Session
            if (why := worker.refused()) is not None:
                return {"refused": why}
            worker.report(LoopProgress(phase="loading"))
            with worker.phase("fetch"):
                worker.fetch()
            result = Session(worker).run()
            # After a failure, and for one that is fenced, the others may be in the middle of a collective: NCCL's group
            # would wait for them, for hours, before Ray Train hears of it and ends them all.
            leave()
            return result.model_dump(mode="json") if result else None
        except Fenced as error:  # an exception would make Ray Train try again
            return {"fenced": str(error)}
        except TrainingRefused as error:
            return {"refused": str(error)}
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                # The others wait in a collective, so only an exception ends them; the worker group that Ray Train
                # starts next finds the reason.
                worker.refuse(out_of_memory(error, config))
            raise
        finally:
            worker.close()


def prepare_environment(*, on_gpu: bool) -> None:
    """What the heavy libraries read when they are imported."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if not on_gpu:
        os.environ["DS_ACCELERATOR"] = "cpu"
        # DeepSpeed decorates an optimiser we do not use with torch.compile, which imports a whole compiler.
        os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
