"""Which trackers a training has: TensorBoard's file, and those that the resource names."""

from pathlib import Path

from moaa.store.objects.base import Store
from moaa_jobs.training.shared.messages import LoopConfig
from moaa_jobs.training.trackers.metrics import tracked_run
from moaa_jobs.training.trackers.recorder import Recorder, Tracker
from moaa_jobs.training.trackers.services import MLflow, Trackio, WeightsAndBiases
from moaa_jobs.training.trackers.tensorboard import EventFile


def recorder_of(config: LoopConfig, store: Store, scratch: Path, *, resumed_step: int) -> Recorder:
    """A recorder that has not been started."""
    named, run = config.resource.spec.training.trackers, tracked_run(config)
    usual = config.resource.metadata.name
    trackers: list[Tracker] = [EventFile(store, config.stage_path, scratch / "tensorboard")]
    if named.wandb is not None:
        trackers.append(WeightsAndBiases(named.wandb.project or usual, run, scratch / "wandb"))
    if named.mlflow is not None:
        trackers.append(MLflow(named.mlflow.project or usual, run))
    if named.trackio is not None:
        trackers.append(Trackio(named.trackio.project or usual, run, resumed_step=resumed_step))
    return Recorder(trackers)
