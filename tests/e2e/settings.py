"""What a run on a cluster is told: environment variables MOAA_E2E_<NAME>."""

from pathlib import Path

from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

ROOT = Path(__file__).resolve().parents[2]


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="MOAA_E2E_", frozen=True, use_attribute_docstrings=True)

    s3_endpoint: str
    """Of the S3 server, as pods reach it."""
    s3_endpoint_here: str
    """The same, as this process reaches it."""
    s3_access_key: SecretStr
    s3_secret_key: SecretStr
    s3_region: str = "us-east-1"
    bucket: str = "moaa-e2e"
    """Made when it is not there."""
    storage: str = ""
    """Prefix of the run's store in the bucket; an earlier run's goes on from what that finished. Default: a new one."""
    images: str = "localhost/moaa-"
    """What comes before operator, jobs, train and serve-cpu."""
    tag: str = "dev"
    iterations: int = 1
    rows: float = 1.0
    """Part of the example's prompts and questions; scores are compared when it is 1."""
    schedule: str = "Together"
    queue: str = ""
    """A ClusterQueue of Kueue's: the run waits in a queue of that name, and every Job, server and training must have
    been admitted by it. Best with `manageJobsWithoutQueueName` for the run's namespace, where what names no queue never
    runs."""
    timeout_s: float = 3600.0
    operator_namespace: str = "moaa-system"
    run_namespace: str = "moaa-e2e"
    folder: Path = ROOT / "runs" / "e2e"
    """Logs of every pod, the resource, the report."""
    keep: bool = False
    """Leave namespaces and chart as they are."""
