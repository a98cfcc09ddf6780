"""Ray Train's trainer without two helpers that this stage does not need, and with one that it does."""

from typing import Any

from ray.train.v2._internal.execution.callback import ControllerCallback
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from moaa_jobs.prctl import die_with_parent

_UNUSED = frozenset({"DatasetsCallback", "PlacementGroupCleanerCallback"})
"""Each starts an actor, about 4 s of CPU for its imports: one serves Ray Data's datasets (rows come from the store),
the other frees placement groups of a dead controller on a cluster that lives on (ours ends with the driver)."""


class EndsWithRaylet(ControllerCallback):  # type: ignore[misc]  # untyped base
    """Ends Ray Train's controller with its raylet, as `train_loop` does for the workers. Ray itself looks whether a
    process's parent is process 1, which it never is below a subreaper: a killed attempt would train on."""

    def after_controller_start(self, train_run_context: Any) -> None:  # noqa: ARG002
        die_with_parent()


class LeanTrainer(DataParallelTrainer):  # type: ignore[misc]  # untyped base
    """`TorchTrainer` but for the process group, which the loop joins itself (`process_group.py`)."""

    def _create_default_callbacks(self) -> list[Any]:
        kept = [one for one in super()._create_default_callbacks() if type(one).__name__ not in _UNUSED]
        return [*kept, EndsWithRaylet()]
