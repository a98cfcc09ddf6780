"""The losses on preference pairs, as TRL's DPOTrainer computes them (TRL 1.16, `loss_type`).

Only losses that are a mean over pairs belong here: one that compares the pairs of a batch with each other (AOT) would
depend on how a batch is cut into micro-steps, which is no part of a stage's meaning.
"""

from typing import Any, assert_never

from moaa.api.training import Dpo, PreferenceLoss


def loss_arguments(spec: Dpo) -> dict[str, Any]:
    """Arguments of `trl.DPOConfig` that say which loss is minimised."""
    return {"beta": float(spec.beta), "loss_type": [_loss_type(spec.loss)]}


def _loss_type(loss: PreferenceLoss) -> str:
    match loss:
        case PreferenceLoss.SIGMOID:
            return "sigmoid"
        case PreferenceLoss.IPO:
            return "ipo"
        case PreferenceLoss.APO_ZERO:
            return "apo_zero"
        case _:
            assert_never(loss)
