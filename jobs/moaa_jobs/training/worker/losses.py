"""The losses on preference pairs, by the formulas of TRL 1.16: DPOTrainer's `loss_type`, and of CPOTrainer SimPO.

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
    """The same less those under the ref_model, where the loss reads one."""
    rejected_ratios: torch.Tensor
    chosen_tokens: torch.Tensor
    """Tokens of the chosen answers, the end of the turn included."""
    rejected_tokens: torch.Tensor

    @staticmethod
    def of(logps: torch.Tensor, ref_logps: torch.Tensor | None, tokens: torch.Tensor) -> "Scores":
        """From tensors of shape (2n,), chosen first; without ref_logps the ratios are the log-probabilities."""
        ratios = logps if ref_logps is None else logps - ref_logps
        return Scores(*logps.chunk(2), *ratios.chunk(2), *tokens.chunk(2))


def pair_losses(spec: Dpo, scores: Scores) -> torch.Tensor:
    """The loss of each pair, shape (n,)."""
    losses = _preference(spec, scores)
    if spec.sft_weight is not None:
        losses = losses - float(spec.sft_weight) * scores.chosen / scores.chosen_tokens
    return losses


def _preference(spec: Dpo, scores: Scores) -> torch.Tensor:
    beta = float(spec.beta)
    chosen, rejected = scores.chosen_ratios, scores.rejected_ratios
    difference = chosen - rejected
    a_token = chosen / scores.chosen_tokens - rejected / scores.rejected_tokens
    match spec.loss:
        case PreferenceLoss.SIGMOID:
            return -logsigmoid(beta * difference)
        case PreferenceLoss.IPO:
            return (a_token - 1 / (2 * beta)) ** 2
        case PreferenceLoss.APO_ZERO:
            return 1 - torch.sigmoid(beta * chosen) + torch.sigmoid(beta * rejected)
        case PreferenceLoss.ROBUST:
            assert spec.label_smoothing is not None, "checked in the resource"
            wrong = float(spec.label_smoothing)
            right_way, wrong_way = -logsigmoid(beta * difference), -logsigmoid(-beta * difference)
            return ((1 - wrong) * right_way - wrong * wrong_way) / (1 - 2 * wrong)
        case PreferenceLoss.HINGE:
            return torch.relu(1 - beta * difference)
        case PreferenceLoss.SIGMOID_NORM:
            return -logsigmoid(beta * a_token)
        case PreferenceLoss.SIMPO:
            assert spec.simpo_gamma is not None, "checked in the resource"
            return -logsigmoid(beta * a_token - float(spec.simpo_gamma))
        case _:
            assert_never(spec.loss)


def rewards(spec: Dpo, scores: Scores) -> dict[str, torch.Tensor]:
    """What is logged of the pairs, by TRL's names; shape (n,) each. SimPO's rewards are a token's, as in its paper."""
    chosen, rejected = scores.chosen_ratios.detach(), scores.rejected_ratios.detach()
    if spec.loss is PreferenceLoss.SIMPO:
        chosen, rejected = chosen / scores.chosen_tokens, rejected / scores.rejected_tokens
    chosen, rejected = float(spec.beta) * chosen, float(spec.beta) * rejected
    return {
        "rewards/chosen": chosen,
        "rewards/rejected": rejected,
        "rewards/accuracies": (chosen > rejected).float(),
        "rewards/margins": chosen - rejected,
        "logps/chosen": scores.chosen.detach(),
        "logps/rejected": scores.rejected.detach(),
    }
