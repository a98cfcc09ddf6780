"""One worker's surroundings: its rank, its files, its store, its reports. Imports neither torch nor Ray at its top.

Local files lie in `scratch` of the machine: `student`, `ref-model` and `tokens.arrow` are brought by one worker a
machine, `output` is emptied first, since a worker group that is restarted finds the files of the one before.
"""

import asyncio
import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from moaa.errors import Fenced, NotFound, StoreError
from moaa.store.fencing import Token
from moaa.store.objects.base import Store
from moaa_jobs.training.shared import weights
from moaa_jobs.training.shared.messages import (
    SHARD,
    LoopConfig,
    LoopProgress,
    progress_key,
    refusal_key,
    stall_folder,
)
from moaa_jobs.training.shared.progress import ProgressWriter
from moaa_jobs.training.shared.scratch import hold, remove_others, scratch_folder
from moaa_jobs.training.shared.stall import Pulse

logger = logging.getLogger(__name__)


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
    pulse: Pulse = field(init=False)

    def __post_init__(self) -> None:
        self.pulse = Pulse(
            self.store, stall_folder(self.config), self.scratch / "pulse", rank=self.rank, local_ranks=self.local_ranks
        )

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
        """Leaves the files, held until this process ends, and they go with driver or pod: Ray Train may still be
        uploading the last checkpoint."""
        if self.writer is not None:
            self.writer.close()
        self.pulse.close()
        self.runner.run(self.store.close())

    def fetch(self) -> None:
        """Bring what this machine's ranks read; every rank calls it once."""
        from moaa_jobs.training.worker.process_group import meet

        hold(self.scratch)
        if self.local_rank == 0:
            self.runner.run(self._fetch())
        meet("fetch")

    async def _fetch(self) -> None:
        config = self.config
        remove_others(self.scratch, config.run_name)
        shutil.rmtree(self.scratch / "output", ignore_errors=True)
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

    def check_own(self) -> None:
        """Return while this attempt is the stage's newest. A store that does not say so keeps no one from going on.

        Raises:
            Fenced: a later attempt has taken over.
        """
        try:
            self.runner.run(self.token.check())
        except Fenced:
            raise
        except StoreError as error:
            logger.warning("attempt_not_checked error=%s: training goes on", error)

    @property
    def token(self) -> Token:
        return Token(self.store, self.config.stage_path, SHARD, self.config.attempt)

    def refuse(self, why: str) -> None:
        """Leave word to the worker groups that follow that this training cannot succeed. Its own failure would tell
        Ray Train only that a worker died."""
        try:
            self.runner.run(self.store.put(refusal_key(self.config), why.encode()))
        except StoreError as error:
            logger.warning("refusal_not_kept error=%s: the training will be tried again", error)

    def refused(self) -> str | None:
        """Why a worker group before this one cannot be done better; None: no word was left."""
        try:
            return self.runner.run(self.store.get(refusal_key(self.config))).decode()
        except NotFound:
            return None

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        self.pulse.excuse(name)
        yield
        self.seconds[name] = round(time.monotonic() - started, 2)
