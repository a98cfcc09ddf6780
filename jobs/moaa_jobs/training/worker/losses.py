"""The losses on preference pairs, by the formulas of TRL's DPOTrainer (TRL 1.16, `loss_type`).

Only losses that are a mean over pairs belong here: one that compares the pairs of a batch with each other (AOT) would
depend on how a batch is cut into micro-steps, which is no part of a stage's meaning.
"""

from dataclasses import dataclass
from typing import assert_never

import torch
from torch.nn.functional import logsigmoid

from moaa.api.training import Dpo, PreferenceLoss


@dataclass(frozen=True)
class Scores:
    """Of n pairs, each tensor of shape (n,)."""

    chosen: torch.Tensor
    """Summed log-probabilities of the chosen answers' tokens under the policy."""
    rejected: torch.Tensor
    chosen_ratios: torch.Tensor
    """The same less those under the ref_model."""
    rejected_ratios: torch.Tensor
    chosen_tokens: torch.Tensor
    """Tokens of the chosen answers, the end of the turn included."""
    rejected_tokens: torch.Tensor

    @staticmethod
    def of(logps: torch.Tensor, ref_logps: torch.Tensor, tokens: torch.Tensor) -> "Scores":
        """From tensors of shape (2n,), chosen first."""
        return Scores(*logps.chunk(2), *(logps - ref_logps).chunk(2), *tokens.chunk(2))


def pair_losses(spec: Dpo, scores: Scores) -> torch.Tensor:
    """The loss of each pair, shape (n,)."""
    beta = float(spec.beta)
    chosen, rejected = scores.chosen_ratios, scores.rejected_ratios
    match spec.loss:
        case PreferenceLoss.SIGMOID:
            return -logsigmoid(beta * (chosen - rejected))
        case PreferenceLoss.IPO:
            a_token = chosen / scores.chosen_tokens - rejected / scores.rejected_tokens
            return (a_token - 1 / (2 * beta)) ** 2
        case PreferenceLoss.APO_ZERO:
            return 1 - torch.sigmoid(beta * chosen) + torch.sigmoid(beta * rejected)
        case _:
            assert_never(spec.loss)


def rewards(spec: Dpo, scores: Scores) -> dict[str, torch.Tensor]:
    """What is logged of the pairs, by TRL's names; shape (n,) each."""
    chosen, rejected = (float(spec.beta) * part.detach() for part in (scores.chosen_ratios, scores.rejected_ratios))
    return {
        "rewards/chosen": chosen,
        "rewards/rejected": rejected,
        "rewards/accuracies": (chosen > rejected).float(),
        "rewards/margins": chosen - rejected,
        "logps/chosen": scores.chosen.detach(),
        "logps/rejected": scores.rejected.detach(),
    }
