"""What an executor sets in a job's environment (`moaa.contract.environment`): paths, a port, limits.

Credentials are in the environment, too, so that no secret is ever part of a job file: `moaa.store.objects.open` reads
the store's, `secret_value` reads tokens and endpoint keys, and `training.driver.cluster` reads Ray's address.
"""

import os
from pathlib import Path

from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from moaa.api.base import SecretKey
from moaa.contract import environment


class JobSettings(BaseSettings):
    """Flags of `python -m moaa_jobs`, or environment variables MOAA_<NAME>."""

    model_config = SettingsConfigDict(env_prefix=environment.PREFIX, frozen=True, extra="ignore")

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
    drain_s: float = 15.0
    """Longest wait for the answers to requests that are out when the job is told to end."""
    rows_in_flight: int = 16_384
    """Most rows worked on at the same time; how many of these there are follows from what the models' servers hold.
    Servers wait for rows where it is less than four times a model's slots: with as many as slots they reach 0.56 of
    their speed, with twice as many 0.97 (benchmarks.generation, in virtual time)."""


def secret_value(secret: SecretKey) -> SecretStr | None:
    """The secret's value; None when its variable is not set or empty."""
    return environment.secret_value(secret, os.environ)
