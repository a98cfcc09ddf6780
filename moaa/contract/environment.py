"""The environment variables by which an executor configures a job, and those that hold credentials.

`moaa_jobs` reads the first through its settings classes, whose fields are named like these without the prefix (a test
holds the two together).
"""

from collections.abc import Mapping

from pydantic import SecretStr

from moaa.api.base import SECRET_PREFIX, SecretKey

PREFIX = "MOAA_"
WORK_DIR = "MOAA_WORK_DIR"
PROGRESS_FILE = "MOAA_PROGRESS_FILE"
PROGRESS_PORT = "MOAA_PROGRESS_PORT"
TERMINATION_LOG = "MOAA_TERMINATION_LOG"
SHARD = "MOAA_SHARD"
PODS = "MOAA_PODS"
FETCH = "MOAA_FETCH"
"""A `BringWeights` as JSON, for `python -m moaa_jobs.fetch`."""

CREDENTIALS = (SECRET_PREFIX, "AWS_", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
"""Prefix of variables that hold credentials."""


def secret_value(secret: SecretKey, environ: Mapping[str, str]) -> SecretStr | None:
    """The secret's value from MOAA_SECRET_<NAME>_<KEY>; None when the variable is not set or empty."""
    value = environ.get(secret.environment_variable)
    return SecretStr(value) if value else None
