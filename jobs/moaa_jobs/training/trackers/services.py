"""Weights & Biases, MLflow and trackio. Each library is imported when its run begins, and only then.

Where the service is and how to log in stands in the environment, by each library's own variables.
"""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from moaa_jobs.training.shared.messages import CurveRow
from moaa_jobs.training.trackers.metrics import TrackedRun, metrics_of

MLFLOW_TAG = "moaa.run"
"""Holds the id by which a later attempt finds the run again."""


class WeightsAndBiases:
    """A run with the id of the stage's fingerprint."""

    name = "wandb"

    def __init__(self, project: str, run: TrackedRun, folder: Path) -> None:
        self._project, self._about, self._folder = project, run, folder
        self._run: Any = None

    def open(self) -> int:
        import wandb

        self._folder.mkdir(parents=True, exist_ok=True)
        self._run = wandb.init(
            project=self._project,
            id=self._about.id,
            name=self._about.name,
            config=self._about.config,
            dir=str(self._folder),
            resume="allow",
            # The worker's own output stays the worker's.
            settings=wandb.Settings(console="off", silent=True, x_disable_stats=True),
        )
        # A run that is resumed is at the step after its last one.
        return max(0, int(self._run.step) - 1)

    def log(self, rows: Sequence[CurveRow]) -> None:
        for row in rows:
            self._run.log(metrics_of(row), step=row.step)

    def close(self) -> None:
        self._run.finish()


class MLflow:
    """A run that a tag holds together over attempts."""

    name = "mlflow"

    def __init__(self, project: str, run: TrackedRun) -> None:
        self._project, self._about = project, run
        self._client: Any = None
        self._run_id = ""

    def open(self) -> int:
        """Raises LookupError: no server is named."""
        if not os.environ.get("MLFLOW_TRACKING_URI"):
            raise LookupError("MLFLOW_TRACKING_URI is not set; it names the server")
        from mlflow import MlflowClient

        self._client = MlflowClient()
        experiment = self._client.get_experiment_by_name(self._project)
        place = experiment.experiment_id if experiment else self._client.create_experiment(self._project)
        found = self._client.search_runs([place], filter_string=f"tags.`{MLFLOW_TAG}` = '{self._about.id}'")
        if found:
            self._run_id = found[0].info.run_id
            self._client.update_run(self._run_id, status="RUNNING")
            return max((point.step for point in self._client.get_metric_history(self._run_id, "train/loss")), default=0)
        made = self._client.create_run(place, run_name=self._about.name, tags={MLFLOW_TAG: self._about.id})
        self._run_id = made.info.run_id
        for name, value in self._about.config.items():
            self._client.log_param(self._run_id, name, value)
        return 0

    def log(self, rows: Sequence[CurveRow]) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        points = [Metric(metric, value, now, row.step) for row in rows for metric, value in metrics_of(row).items()]
        self._client.log_batch(self._run_id, metrics=points)

    def close(self) -> None:
        self._client.set_terminated(self._run_id)


class Trackio:
    """A run with a name of its own in the project."""

    name = "trackio"

    def __init__(self, project: str, run: TrackedRun, *, resumed_step: int) -> None:
        self._project, self._about, self._resumed_step = project, run, resumed_step
        self._run: Any = None

    def open(self) -> int:
        """The step of the checkpoint that training goes on from: what the run itself has cannot be asked."""
        import trackio

        self._run = trackio.init(
            project=self._project,
            name=self._about.name,
            config=self._about.config,
            resume="allow",
            embed=False,
            auto_log_cpu=False,
            auto_log_gpu=False,
        )
        return self._resumed_step

    def log(self, rows: Sequence[CurveRow]) -> None:
        for row in rows:
            self._run.log(metrics_of(row), step=row.step)

    def close(self) -> None:
        self._run.finish()
