"""Whether a student can have the adapters that the resource asks for, by its configuration and its tensors' names."""

import re
from collections.abc import Mapping

from moaa.api.training import Lora, Training
from moaa.errors import DataError
from moaa.plan.forecast.fits import trained
from moaa.plan.forecast.shape import experts_of
from moaa_jobs.training.rows.student import Tensor

_IN_A_BLOCK = re.compile(r"\.\d+\.(?:.*\.)?(?P<layer>\w+)\.weight$")


def check_adapters(
    config: Mapping[str, object], tensors: Mapping[str, Tensor | None] | None, training: Training, name: str
) -> None:
    """`tensors` are a student's, None where they are not known; `name` is the student's in errors.

    Raises:
        DataError: the student has experts, or no linear layer of a name in targetModules.
    """
    for stage, spec in trained(training):
        if spec.adapter is not None:
            _check(spec.adapter, config, tensors, f"{name}: spec.training.{stage}.adapter")


def _check(
    adapter: Lora, config: Mapping[str, object], tensors: Mapping[str, Tensor | None] | None, field: str
) -> None:
    if (experts := experts_of(config)) > 1:
        raise DataError(
            f"{field}: the student has {experts} experts, whose weights are no linear layers that could get adapters; "
            "remove adapter, or choose a model without experts"
        )
    if tensors is None or adapter.target_modules is None:
        return
    there = linear_layers(tensors)
    if unknown := sorted(set(adapter.target_modules) - there):
        raise DataError(
            f"{field}.targetModules: {unknown[0]} is no linear layer of the student's blocks; there are "
            f"{', '.join(sorted(there))}"
        )


def linear_layers(tensors: Mapping[str, Tensor | None]) -> set[str]:
    """Names of the matrices in a model's numbered blocks; where shapes are not known, of all weights but norms."""
    found = ((_IN_A_BLOCK.search(tensor), told) for tensor, told in tensors.items())
    return {
        match["layer"]
        for match, told in found
        if match and (len(told.shape) == 2 if told else "norm" not in match["layer"])
    }
