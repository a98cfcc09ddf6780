"""Teach a Hugging Face causal model from lessons on the CPU: bfloat16 passes, float32 weights in the optimiser."""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Iterator, Sequence

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from examples.rules.lessons import Lesson

log = logging.getLogger(__name__)
TOKENS = 640
"""Padded tokens of a batch: lessons of any length take about the same time a step."""


class Weights:
    """The optimiser's float32 copies of a bfloat16 model, whose own steps would be rounded away."""

    def __init__(self, model: LlamaForCausalLM) -> None:
        self._rough = list(model.parameters())
        self._exact = [p.detach().float().clone() for p in self._rough]
        for exact in self._exact:  # kept from step to step: half a gigabyte takes longer to get than to fill
            exact.grad = torch.zeros_like(exact)
        self._optimizer = torch.optim.AdamW(self._exact, lr=0.0, betas=(0.9, 0.98), weight_decay=0.0, fused=True)

    def step(self, learning_rate: float) -> None:
        for exact, rough in zip(self._exact, self._rough, strict=True):
            assert rough.grad is not None, "every weight has a part in every lesson"
            assert exact.grad is not None, "made with the weights"
            exact.grad.copy_(rough.grad)
            rough.grad.zero_()
        torch.nn.utils.clip_grad_norm_(self._exact, 1.0)
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._optimizer.step()
        with torch.no_grad():
            for exact, rough in zip(self._exact, self._rough, strict=True):
                rough.copy_(exact)


Encoded = tuple[list[int], int]
"""Token ids of a whole lesson, and how many of them are the prompt's."""


def encode(tokenizer: PreTrainedTokenizerFast, lesson: Lesson) -> Encoded:
    prompt = tokenizer.apply_chat_template(lesson.messages, add_generation_prompt=True, tokenize=False)
    ids = tokenizer.encode(prompt, add_special_tokens=False)
    reply = tokenizer.encode(lesson.reply, add_special_tokens=False)
    return [*ids, *reply, tokenizer.eos_token_id], len(ids)


def batches(rng: random.Random, encoded: Sequence[Encoded]) -> Iterator[list[Encoded]]:
    """Every lesson once, those of about one length together, in random order."""
    ordered = sorted(encoded, key=lambda one: (len(one[0]) // 8, rng.random()))
    found: list[list[Encoded]] = [[]]
    for one in ordered:
        if found[-1] and len(one[0]) * (len(found[-1]) + 1) > TOKENS:
            found.append([])
        found[-1].append(one)
    rng.shuffle(found)
    yield from found


def loss_of(model: LlamaForCausalLM, batch: Sequence[Encoded], pad: int) -> torch.Tensor:
    """Mean cross-entropy of the replies' tokens."""
    width = max(len(row) for row, _ in batch)
    ids = torch.tensor([row + [pad] * (width - len(row)) for row, _ in batch])
    learnt = torch.tensor([[prompt <= at < len(row) for at in range(1, width)] for row, prompt in batch])
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
    logits = model.lm_head(hidden[learnt]).float()
    return torch.nn.functional.cross_entropy(logits, ids[:, 1:][learnt])


def teach(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    lessons: Sequence[Lesson],
    *,
    epochs: int,
    learning_rate: float,
    seed: str,
) -> None:
    """Train `model`, which is in bfloat16, in place."""
    rng = random.Random(seed)
    encoded = [encode(tokenizer, lesson) for lesson in lessons]
    plan = [batch for _ in range(epochs) for batch in batches(rng, encoded)]
    weights = Weights(model)
    model.train()
    started, tokens, mean = time.monotonic(), 0, 0.0
    for step, batch in enumerate(plan, start=1):
        loss = loss_of(model, batch, tokenizer.pad_token_id)
        torch.autograd.backward(loss)
        weights.step(learning_rate * rate_at(step, len(plan)))
        tokens += sum(len(ids) for ids, _ in batch)
        mean = loss.item() if step == 1 else 0.9 * mean + 0.1 * loss.item()
        if step % 20 == 0 or step == len(plan):
            took = time.monotonic() - started
            log.info(
                "taught step=%d of=%d loss=%.3f tokens=%d tokens_s=%.0f", step, len(plan), mean, tokens, tokens / took
            )


def rate_at(step: int, steps: int) -> float:
    """Part of the learning rate: linear warm-up over a twentieth, then cosine decay to a twentieth."""
    warmup = max(1, steps // 20)
    if step <= warmup:
        return step / warmup
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
