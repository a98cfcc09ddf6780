"""Ray for one training stage: the cluster, the run on it, and the end of both.

On Kubernetes a RayJob has made the cluster and RAY_ADDRESS says so. Elsewhere a small one is started on this machine
and ended with the job: its processes end with the driver, kill -9 included (its two agents within a minute).
"""

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from moaa.api.training import TrainingResources
from moaa.errors import StageError
from moaa_jobs.training.shared.checkpoints import KEEP
from moaa_jobs.training.shared.messages import LoopConfig
from moaa_jobs.training.shared.scratch import hold, remove_others

logger = logging.getLogger(__name__)

OBJECT_STORE_BYTES = 80 * 1024 * 1024
"""Ray's least, nearly; nothing of size passes through it."""
_DRIVER_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray Train's own gauges go to a Prometheus that is not read here.
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}
_LOCAL_ENVIRONMENT = {
    # One machine is not preempted in part; the watcher would be one more process.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_enable_metrics_collection": "0",
}


class RaySettings(BaseSettings):
    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    ray_address: str | None = Field(default=None, validation_alias="RAY_ADDRESS")
    """Set in a RayJob's driver; None starts Ray on this machine."""


@contextmanager
def ray_cluster(run_name: str, resources: TrainingResources, settings: RaySettings, *, cache: Path) -> Iterator[None]:
    """Ray, connected; disconnected or ended afterwards. `cache` may keep what makes the next start faster."""
    for name, value in (_DRIVER_ENVIRONMENT | ({} if settings.ray_address else _LOCAL_ENVIRONMENT)).items():
        os.environ.setdefault(name, value)
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.WARNING}
    if settings.ray_address:
        ray.init(address="auto", **quiet)
        try:
            yield
        finally:
            ray.shutdown()
        return
    # Sockets lie in it, and their paths must stay under 107 bytes: not in the stage's scratch folder.
    folder = Path(f"/tmp/moaa-ray-{run_name}")
    held = hold(folder)
    try:
        remove_others(folder, run_name)
        _cache_bytecode(cache)
        ray.init(
            address="local",
            num_cpus=resources.workers * resources.cpus_per_worker,
            object_store_memory=OBJECT_STORE_BYTES,
            include_dashboard=False,
            _temp_dir=str(folder),
            # Ray's processes look whether their parent is process 1, which it never is below a subreaper, as `moaa run`
            # is one: of a killed job, they would live on.
            runtime_env={"worker_process_setup_hook": "moaa_jobs.prctl.die_with_parent"},
            **quiet,
        )
        yield
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
        os.close(held)


def _cache_bytecode(cache: Path) -> None:
    """Let Ray's ten processes share compiled modules even where the environment says to write none: compiling the same
    libraries in each is most of what they do at start (a worker's imports: 20 s of CPU without, 8 s with)."""
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):
        os.environ.setdefault("PYTHONPYCACHEPREFIX", str(cache / "pycache"))


def fit(config: LoopConfig) -> dict[str, Any]:
    """Run the loop on the workers until it ends well; what rank 0 returned.

    A lost worker restarts the group from the last complete checkpoint, `max_failures` times. Blocks.

    Raises:
        ray.train.TrainingFailedError: it failed more often.
        StageError: Ray ended.
    """
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig

    from moaa_jobs.training.driver.keeper import CheckpointKeeper
    from moaa_jobs.training.driver.ray_trainer import LeanTrainer
    from moaa_jobs.training.shared.storage import file_system
    from moaa_jobs.training.worker.loop import train_loop
    from moaa_jobs.training.worker.process_group import SharedDevicesConfig

    resources = config.resource.spec.training.resources
    filesystem, root = file_system(config.resource.spec.storage)
    trainer = LeanTrainer(
        train_loop,
        train_loop_config={"config": config.model_dump_json()},
        backend_config=SharedDevicesConfig(),
        scaling_config=ScalingConfig(
            num_workers=resources.workers,
            use_gpu=config.on_gpu,
            resources_per_worker={"CPU": resources.cpus_per_worker}
            | ({"GPU": resources.gpus_per_worker} if config.on_gpu else {}),
        ),
        run_config=RunConfig(
            name=config.run_name,
            storage_path=f"{root}/{config.checkpoints}",
            storage_filesystem=filesystem,
            failure_config=FailureConfig(max_failures=resources.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=KEEP),
            callbacks=[CheckpointKeeper()],
        ),
    )
    try:
        value = trainer.fit().return_value
    except SystemExit as error:  # how ray.get ends when Ray is shut down under it; the job must not end with 0
        raise StageError(f"{config.run_name}: Ray ended while training") from error
    assert isinstance(value, dict), "rank 0 returns its result"
    return value
