"""In Ray Train's controller: a checkpoint exists once every rank has reported it. Imports no torch."""

from typing import Any

from ray.train import Checkpoint, UserCallback

from moaa_jobs.training.shared.checkpoints import write_manifest


class CheckpointKeeper(UserCallback):  # type: ignore[misc]  # untyped base
    def after_report(
        self,
        run_context: Any,  # noqa: ARG002
        metrics: list[dict[str, Any]],
        checkpoint: Checkpoint | None,
    ) -> None:
        if checkpoint is not None:
            write_manifest(checkpoint, metrics)
