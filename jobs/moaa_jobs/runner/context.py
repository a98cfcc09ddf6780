"""What every stage's entry point gets."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from moaa.api import MoAA
from moaa.api.prompts import effective
from moaa.contract.job import StageJob
from moaa.store.objects.base import Store
from moaa_jobs.runner.settings import JobSettings
from moaa_jobs.tell.progress import Progress


@dataclass(frozen=True)
class Context:
    job: StageJob
    resource: MoAA
    store: Store
    work_dir: Path
    """Scratch of this stage; exists and is writable."""
    progress: Progress
    settings: JobSettings

    @cached_property
    def prompts(self) -> Mapping[str, str]:
        """The effective prompt templates."""
        return effective(self.resource.spec.prompts)


class Permanent(Exception):
    """Trying again cannot help: the user's mistake, or too many failed rows (Exit.PERMANENT)."""


class Deferred(Exception):
    """Rows wait for models that are not being served (Exit.DEFERRED); what could be done is in the ledger."""

    def __init__(self, waiting: dict[str, int]) -> None:
        self.waiting = waiting
        super().__init__(f"rows wait for {waiting}")
