"""Preference pairs: their batches, the log-probabilities of their answers, and the losses on them.

A batch of n pairs holds 2n sequences: all chosen, then all rejected, each a prompt and an answer. Padded, a sequence is
a row of the batch. Packed, all lie end to end in one row, and positions that start over keep them apart
(`model.packing_is_exact`). `slots` says how many places each sequence takes, padding included.

The losses follow the formulas of TRL 1.16: DPOTrainer's `loss_type`, and of CPOTrainer SimPO.

Only losses that are a mean over pairs belong here: one that compares the pairs of a batch with each other (AOT) would
depend on how a batch is cut into micro-steps, which is no part of a stage's meaning.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, assert_never

import pyarrow as pa
import torch
from torch.nn.functional import logsigmoid, pad
from torch.nn.utils.rnn import pad_sequence

from moaa.api.training import Dpo, PreferenceLoss

RefLogps = tuple[Sequence[float], Sequence[float]]
"""Summed log-probabilities of the chosen and of the rejected answers under the ref_model, by row index."""
UNTRAINED = -100
"""Label of a place whose token does not count."""
_FOR_THE_MODEL = ("input_ids", "attention_mask", "position_ids", "labels")


class PairCollator:
    """Bins of pairs to batches."""

    def __init__(self, table: pa.Table, *, pad_id: int, packed: bool, ref_logps: RefLogps | None) -> None:
        self._columns = {name: table.column(name) for name in ("prompt", "chosen", "rejected")}
        self._pad_id = pad_id
        self._packed = packed
        self._ref_logps = ref_logps

    def __call__(self, bins: Sequence[Mapping[str, list[int]]]) -> dict[str, Any]:
        """`input_ids`, `labels` and what keeps sequences apart; `slots` and `answer_tokens` of the 2n sequences; with
        a ref_model's log-probabilities, those as `ref_logps`."""
        rows = [row for item in bins for row in item["rows"]]
        sequences = [self._sequence(row, name) for name in ("chosen", "rejected") for row in rows]
        lengths = [len(ids) for ids, _ in sequences]
        ids, labels = ([torch.tensor(part) for part in parts] for parts in zip(*sequences, strict=True))
        batch: dict[str, Any] = {"answer_tokens": torch.tensor([int((one != UNTRAINED).sum()) for one in labels])}
        if self._packed:
            positions = [torch.arange(length) for length in lengths]
            batch |= {
                "input_ids": torch.cat(ids)[None],
                "position_ids": torch.cat(positions)[None],
                "labels": torch.cat(labels)[None],
                "slots": lengths,
            }
        else:
            batch |= {
                "input_ids": pad_sequence(ids, batch_first=True, padding_value=self._pad_id),
                "attention_mask": pad_sequence([torch.ones_like(one) for one in ids], batch_first=True),
                "labels": pad_sequence(labels, batch_first=True, padding_value=UNTRAINED),
                "slots": [max(lengths)] * len(lengths),
            }
        if self._ref_logps is not None:
            batch["ref_logps"] = torch.tensor([part[row] for part in self._ref_logps for row in rows])
        return batch

    def _sequence(self, row: int, name: str) -> tuple[list[int], list[int]]:
        prompt: list[int] = self._columns["prompt"][row].as_py()
        answer: list[int] = self._columns[name][row].as_py()
        return prompt + answer, [UNTRAINED] * len(prompt) + answer


def answer_logps(model: Any, batch: Mapping[str, Any], **options: Any) -> tuple[torch.Tensor, Any]:
    """Summed log-probabilities of the answers' tokens, shape (2n,) in FP32, and the model's whole output.

    `model` has TRL's fused LM head (`trl.trainer.utils.add_fused_lm_head`), which never holds more than a tile of the
    logits. `options` go to the model.
    """
    asked = {name: batch[name] for name in _FOR_THE_MODEL if name in batch}
    output = model(**asked, **options, use_cache=False, fused_lm_head=True)
    # A place's value there is of the next token, so that the first token of the batch has none.
    logps = pad(output.log_probs, (1, 0))
    sums = torch.stack([part.sum() for part in torch.split(logps.flatten(), batch["slots"])])
    return sums, output


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
