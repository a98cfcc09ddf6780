"""Preference pairs as batches, padded or end to end, and the log-probabilities of their answers.

A batch of n pairs holds 2n sequences: all chosen, then all rejected, each a prompt and an answer. Padded, a sequence is
a row of the batch. Packed, all lie end to end in one row, and positions that start over keep them apart
(`model.packing_is_exact`). `slots` says how many places each sequence takes, padding included.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import torch
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

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
