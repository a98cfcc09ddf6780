"""What a job process learns from its environment: paths, and how eager it may be. Nothing else reads the environment.

Store credentials are read by `moaa.store.objects.open` and endpoint keys by `secret_value`, so that no secret is ever
part of a job file.
"""

import os
from pathlib import Path

from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from moaa.api.base import SecretKey


class JobSettings(BaseSettings):
    """Flags of `python -m moaa_jobs`, or environment variables MOAA_<NAME>."""

    model_config = SettingsConfigDict(env_prefix="MOAA_", frozen=True, extra="ignore")

    job: Path
    """The StageJob as JSON."""
    work_dir: Path = Path("/tmp/moaa")
    """Scratch; what lies here may be lost at any time."""
    progress_file: Path | None = None
    """Replaced about once a second with the job's progress; None writes none."""
    progress_port: int | None = None
    """Show the same figures to `GET /progress` on this port; None listens nowhere."""
    termination_log: Path | None = None
    """Where to leave the answer (`moaa.contract.answers`), at most 4,096 bytes; None leaves none."""
    shard: int | None = None
    """The one shard to work on; None works on all of them and finalises the stage."""
    rows_in_flight: int = 256
    """Rows worked on at the same time."""


def secret_value(secret: SecretKey) -> SecretStr | None:
    """The secret's value from MOAA_SECRET_<NAME>_<KEY>, or None when the variable is not set or empty."""
    value = os.environ.get(secret.environment_variable)
    return SecretStr(value) if value else None
