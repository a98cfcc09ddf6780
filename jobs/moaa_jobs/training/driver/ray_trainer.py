"""Ray Train's trainer without two helpers that this stage does not need."""

from typing import Any

from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

_UNUSED = frozenset({"DatasetsCallback", "PlacementGroupCleanerCallback"})
"""Each starts an actor, about 4 s of CPU for its imports: one serves Ray Data's datasets (rows come from the store),
the other frees placement groups of a dead controller on a cluster that lives on (ours ends with the driver)."""


class LeanTrainer(DataParallelTrainer):  # type: ignore[misc]  # untyped base
    """`TorchTrainer` but for the process group, which the loop joins itself (`process_group.py`)."""

    def _create_default_callbacks(self) -> list[Any]:
        return [callback for callback in super()._create_default_callbacks() if type(callback).__name__ not in _UNUSED]
