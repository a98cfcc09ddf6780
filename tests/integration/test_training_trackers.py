"""Weights & Biases (offline), MLflow (a folder) and trackio (a folder): what they have after two attempts."""

from pathlib import Path

import pytest

from moaa_jobs.training.shared.messages import CurveRow
from moaa_jobs.training.trackers.metrics import TrackedRun
from moaa_jobs.training.trackers.recorder import Recorder, Tracker
from moaa_jobs.training.trackers.services import MLFLOW_TAG, MLflow, Trackio, WeightsAndBiases

pytestmark = pytest.mark.filterwarnings("ignore")  # of the services' libraries
RUN = TrackedRun("0123456789abcdef" * 2, "small-sft-01234567", {"kind": "sft", "learningRate": "0.000008"})


def row(step: int) -> CurveRow:
    return CurveRow(step=step, epoch=step / 10, loss=1 / step, learning_rate=1e-5, grad_norm=2.0, tokens=100 * step)


def attempts(first: Tracker, second: Tracker) -> None:
    """The first dies after step 7 with a checkpoint of step 5, from which the second goes on to step 10."""
    for tracker, begins, ends in ((first, 0, 7), (second, 5, 10)):
        recorder = Recorder([tracker], every_s=0.01)
        recorder.start([row(step) for step in range(1, begins + 1)])
        for step in range(begins + 1, ends + 1):
            recorder.add(row(step))
        recorder.close()


def test_mlflow_has_one_run_with_every_step_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file://{tmp_path}/mlruns")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    attempts(MLflow("alignment", RUN), MLflow("alignment", RUN))
    from mlflow import MlflowClient

    client = MlflowClient()
    experiment = client.get_experiment_by_name("alignment")
    assert experiment is not None
    (found,) = client.search_runs([experiment.experiment_id])
    assert (found.info.run_name, found.info.status) == (RUN.name, "FINISHED")
    assert (found.data.tags[MLFLOW_TAG], found.data.params) == (RUN.id, RUN.config)
    points = client.get_metric_history(found.info.run_id, "train/loss")
    assert [(point.step, point.value) for point in points] == [(step, 1 / step) for step in range(1, 11)]
    assert set(found.data.metrics) == {
        "train/loss", "train/grad_norm", "train/learning_rate", "train/epoch", "train/num_tokens",
    }  # fmt: skip


def test_wandb_keeps_a_run_that_is_named_by_the_fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from wandb import teardown

    monkeypatch.setenv("WANDB_MODE", "offline")
    recorder = Recorder([WeightsAndBiases("alignment", RUN, tmp_path)], every_s=0.01)
    recorder.start([row(1)])
    recorder.add(row(2))
    recorder.close()
    teardown()  # its own process writes the file out when it ends, not when the run does
    (kept,) = (tmp_path / "wandb").glob("offline-run-*")
    assert kept.name.endswith(RUN.id), "attempts are uploaded to one run"
    (file,) = kept.glob("run-*.wandb")
    body = file.read_bytes()
    missing = [word for word in (b"train/grad_norm", b"alignment", RUN.name.encode()) if word not in body]
    assert not missing, body


def test_trackio_goes_on_with_the_run_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import trackio.utils
    from trackio.sqlite_storage import SQLiteStorage

    for module in (trackio.utils, __import__("trackio.sqlite_storage", fromlist=["TRACKIO_DIR"])):
        monkeypatch.setattr(module, "TRACKIO_DIR", tmp_path)
    attempts(Trackio("alignment", RUN, resumed_step=0), Trackio("alignment", RUN, resumed_step=5))
    assert SQLiteStorage.get_runs("alignment") == [RUN.name]
    logs = SQLiteStorage.get_logs("alignment", RUN.name)
    assert sorted({log["step"] for log in logs}) == list(range(1, 11))
    assert {log["step"]: log["train/loss"] for log in logs}[10] == pytest.approx(0.1)


def test_a_service_that_cannot_be_reached_is_told_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    recorder = Recorder([MLflow("alignment", RUN)], every_s=0.01)
    recorder.start([row(1)])
    recorder.close()
    assert "tracker_failed tracker=mlflow error=MlflowException: " in caplog.text
    assert "tracker_incomplete tracker=mlflow steps=1" in caplog.text
    assert not list(tmp_path.iterdir())
