"""One worker's surroundings: where it stands, its files, its voice. Entry point of every Ray Train worker.

Local files lie in `scratch` of the machine: `student`, `ref-model` and `tokens.arrow` are brought by one worker a
machine, `output` is emptied first, since a worker group that is restarted finds the files of the one before.
"""

import asyncio
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moaa.errors import Fenced
from moaa.store.objects.base import Store
from moaa_jobs.training.shared.messages import LoopConfig, LoopProgress, progress_key, remove_others, scratch_folder
from moaa_jobs.training.shared.progress import ProgressWriter
from moaa_jobs.training.worker.process_group import join, leave


def train_loop(raw: dict[str, str]) -> dict[str, Any] | None:
    """Train as `raw["config"]` (a `LoopConfig` as JSON) says; rank 0 returns a `LoopResult` as JSON
    values, or `{"fenced": why}` when a later attempt has taken over."""
    config = LoopConfig.model_validate_json(raw["config"])
    prepare_environment(on_gpu=config.on_gpu)
    join(on_gpu=config.on_gpu)
    with asyncio.Runner() as runner:
        worker = Worker.create(config, runner)
        try:
            with worker.phase("imports"):
                from moaa_jobs.training.worker.session import Session
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


@dataclass
class Worker:
    config: LoopConfig
    store: Store
    runner: asyncio.Runner
    rank: int
    local_rank: int
    local_ranks: range
    """World ranks on this machine."""
    scratch: Path
    seconds: dict[str, float] = field(default_factory=dict)
    resumed_step: int = 0
    packing_refused: bool = False
    writer: ProgressWriter | None = None

    @staticmethod
    def create(config: LoopConfig, runner: asyncio.Runner) -> "Worker":
        import ray.train

        from moaa.store.objects.open import StoreSettings, open_store

        async def connect() -> Store:
            return open_store(config.resource.spec.storage, StoreSettings())

        context = ray.train.get_context()
        first = context.get_world_rank() - context.get_local_rank()
        return Worker(
            config=config,
            store=runner.run(connect()),
            runner=runner,
            rank=context.get_world_rank(),
            local_rank=context.get_local_rank(),
            local_ranks=range(first, first + context.get_local_world_size()),
            scratch=scratch_folder(config.run_name),
        )

    def close(self) -> None:
        """Leaves the files, which go with driver or pod: Ray Train may still be uploading the last checkpoint."""
        if self.writer is not None:
            self.writer.close()
        self.runner.run(self.store.close())

    def fetch(self) -> None:
        import torch.distributed as dist

        if self.local_rank == 0:
            self.runner.run(self._fetch())
        dist.barrier()

    async def _fetch(self) -> None:
        from moaa_jobs.training.shared import weights

        config = self.config
        remove_others(self.scratch, config.run_name)
        shutil.rmtree(self.scratch / "output", ignore_errors=True)
        self.scratch.mkdir(parents=True, exist_ok=True)
        wanted = {"student": config.student} | ({"ref-model": config.ref_model} if config.ref_model else {})
        for name, source in wanted.items():
            folder = await weights.bring(source, self.store, config.resource.spec.storage, self.scratch)
            (self.scratch / name).unlink(missing_ok=True)
            (self.scratch / name).symlink_to(folder)
        await self.store.download(config.tokens_key, self.scratch / "tokens.arrow")

    def report(self, progress: LoopProgress) -> None:
        """Leave `progress` for the driver; rank 0 only. Neither waits nor fails."""
        if self.rank == 0:
            if self.writer is None:
                self.writer = ProgressWriter(self.store, progress_key(self.config))
            known = {"resumed_step": self.resumed_step, "packing_refused": self.packing_refused}
            self.writer.write(progress.model_copy(update=known))

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - started, 2)
