"""How a user sets up a run, by flags or the environment, and the settings that follow."""

import os
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from moaa.api import MoAA
from moaa.errors import UsageError
from moaa.local.executor import Settings
from moaa.local.serving import machine
from moaa.local.trackers import check_trackers


class RunOptions(BaseSettings):
    """Flags of `moaa run`; each can also be given as MOAA_<NAME>, and the flag wins. Nothing here changes results."""

    model_config = SettingsConfigDict(env_prefix="MOAA_", env_ignore_empty=True, frozen=True, extra="ignore")

    workdir: Path | None = None
    """Logs, job files and scratch."""
    memory_gib: Annotated[float, Field(gt=0)] | None = None
    """For servers and jobs together; None: what is free now, less a reserve."""
    gpus: Annotated[int, Field(ge=0)] | None = None
    """Use the first N visible GPUs; None: all."""


def read_options(flags: dict[str, Any]) -> RunOptions:
    """Flags over environment over defaults; None is a flag that was not given. Raises UsageError: a value is wrong."""
    try:
        return RunOptions(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0])
        option = f"--{name.replace('_', '-')} (or MOAA_{name.upper()})"
        raise UsageError(f"{option}: {first['input']} is wrong: {first['msg']}") from None


def cache_folder() -> Path:
    """Weights, bytecode and kernels, shared by all runs of a user."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "moaa"


def settings_of(resource: MoAA, options: RunOptions, *, until: str | None) -> Settings:
    """Settings of a run on this machine. Raises UsageError: a tracker of the resource cannot be used here."""
    check_trackers(resource.spec.training.trackers, os.environ)
    cache = cache_folder()
    folder = options.workdir or cache / "runs" / resource.run_name
    return Settings(
        folder=folder.resolve(),
        cache=cache,
        capacity=partial(machine.capacity, memory_gib=options.memory_gib, gpus=options.gpus),
        until=until,
    )
