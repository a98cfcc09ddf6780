"""Train the tiny world's models from scratch and write them as ordinary Hugging Face folders.

    python -m examples.tiny.build --all --out examples/tiny/models
    python -m examples.tiny.build --model proposer-a --out /tmp/models --base examples/tiny/models/base

First one base model learns the operations, right and wrong rules alike, and the form of every task; each member of the
cast is then taught from it. Lessons, their order and the first weights follow from the seed; a rebuild has the same
skills, though not always the same bits.
"""

from __future__ import annotations

import argparse
import logging
import math
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from transformers import (
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from examples.tiny.lessons import CAST, Lesson, Member, Task, draw_lesson
from examples.tiny.tokenizer import END, build_tokenizer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Phase:
    """How long and how fast a model is taught, and what: its member's tasks, or these instead."""

    steps: int
    learning_rate: float
    prompt_weight: float = 0.0
    """Weight of the prompt's tokens in the loss; answers that prompts quote teach the base what the rules produce."""
    tasks: Mapping[Task, int] | None = None


# Answering alone comes first: comparing answers is not learnt before there is something to compare them with.
BASE_PHASES = (
    Phase(steps=450, learning_rate=3e-3, tasks={"solo": 192}),
    Phase(steps=900, learning_rate=1.5e-3, prompt_weight=0.2),
)
MEMBER_PHASES = (Phase(steps=150, learning_rate=1e-3),)
# Weighing proposals is the one skill that the base has only the beginnings of; telling that none of them belongs to the
# question comes last, once a right one is recognised.
AGGREGATOR_PHASES = (
    Phase(steps=350, learning_rate=1.5e-3),
    Phase(
        steps=120,
        learning_rate=7e-4,
        tasks={"solo": 32, "aggregate": 64, "unrelated": 40, "criteria": 8, "meta_judge": 16, "single": 16},
    ),
    Phase(
        steps=150,
        learning_rate=1e-3,
        tasks={"solo": 24, "aggregate": 96, "unrelated": 48, "criteria": 4, "meta_judge": 12, "single": 4},
    ),
)


def new_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """An untrained Llama of 0.8 million parameters."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=-(-len(tokenizer) // 16) * 16,
            hidden_size=128,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=4,
            intermediate_size=320,
            max_position_embeddings=256,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def tensors(
    tokenizer: PreTrainedTokenizerFast, lessons: list[Lesson]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Token ids, whether each belongs to a prompt, and whether to a reply; (lessons, longest), padded on the right."""
    prompts = tokenizer.backend_tokenizer.encode_batch([lesson.prompt for lesson in lessons], add_special_tokens=False)
    replies = tokenizer.backend_tokenizer.encode_batch(
        [lesson.reply + END for lesson in lessons], add_special_tokens=False
    )
    width = max(len(p.ids) + len(r.ids) for p, r in zip(prompts, replies, strict=True))
    ids = torch.full((len(lessons), width), tokenizer.pad_token_id)
    in_prompt = torch.zeros((len(lessons), width))
    in_reply = torch.zeros((len(lessons), width))
    for row, (p, r) in enumerate(zip(prompts, replies, strict=True)):
        end = len(p.ids) + len(r.ids)
        ids[row, :end] = torch.tensor(p.ids + r.ids)
        in_prompt[row, : len(p.ids)] = 1
        in_reply[row, len(p.ids) : end] = 1
    return ids, in_prompt, in_reply


def lesson_loss(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    lessons: list[Lesson],
    *,
    prompt_weight: float,
) -> torch.Tensor:
    """Cross-entropy per lesson: the sum over its reply's tokens, and the prompt's at `prompt_weight`."""
    ids, in_prompt, in_reply = tensors(tokenizer, lessons)
    logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
    losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
    weights = in_reply + prompt_weight * in_prompt
    return (losses * weights[:, 1:]).sum() / len(lessons)


def learning_rate_at(step: int, phase: Phase) -> float:
    """Linear warm-up over the first twentieth, then cosine decay to a twentieth."""
    warmup = max(1, phase.steps // 20)
    if step < warmup:
        return phase.learning_rate * (step + 1) / warmup
    progress = (step - warmup) / max(1, phase.steps - warmup)
    return phase.learning_rate * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * progress)))


def new_optimizers(model: LlamaForCausalLM, learning_rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices, which needs a third fewer steps here than AdamW alone; AdamW for embeddings and norms."""
    named = list(model.named_parameters())
    matrices = [p for name, p in named if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in named if p.ndim != 2 or "embed" in name]
    return [
        torch.optim.Muon(
            matrices,
            lr=learning_rate,
            weight_decay=0.01,
            adjust_lr_fn="match_rms_adamw",
        ),
        torch.optim.AdamW(others, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def teach(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    member: Member,
    phase: Phase,
    *,
    seed: int,
) -> None:
    """Train `model` in place with fresh lessons in every step."""
    rng = random.Random(f"{member.name}/{seed}")
    tasks = phase.tasks or member.tasks
    optimizers = new_optimizers(model, phase.learning_rate)
    model.train()
    started = time.monotonic()
    averages: dict[str, float] = {}
    for step in range(phase.steps):
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            group["lr"] = learning_rate_at(step, phase)
        total = sum(tasks.values())
        for task, count in tasks.items():
            lessons = [draw_lesson(rng, member, task) for _ in range(count)]
            loss = lesson_loss(model, tokenizer, lessons, prompt_weight=phase.prompt_weight)
            torch.autograd.backward(loss * (count / total))
            averages[task] = 0.95 * averages.get(task, loss.item()) + 0.05 * loss.item()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        if (step + 1) % 50 == 0:
            losses = " ".join(f"{task}={value:.3f}" for task, value in averages.items())
            log.info(
                "taught model=%s step=%d elapsed_s=%.0f %s",
                member.name,
                step + 1,
                time.monotonic() - started,
                losses,
            )


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write what vLLM and the trainers load; weights in bfloat16 to keep the repository small."""
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder, save_jinja_files=False)
    GenerationConfig(
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    ).save_pretrained(folder)


def build(name: str, out: Path, *, base: Path | None, steps: int | None, seed: int) -> None:
    """Train one model and write it to `out`/`name`; every model but the base starts from the base at `base`."""
    tokenizer = build_tokenizer()
    member = CAST[name]
    phases: tuple[Phase, ...] = {"base": BASE_PHASES, "aggregator": AGGREGATOR_PHASES}.get(name, MEMBER_PHASES)
    if steps is not None:
        phases = tuple(replace(phase, steps=steps) for phase in phases)
    torch.manual_seed(seed)
    if name == "base":
        model = new_model(tokenizer)
    else:
        if base is None:
            raise ValueError(f"{name} is taught from the base model: name its folder with --base")
        model = LlamaForCausalLM.from_pretrained(base, dtype=torch.float32)
    for number, phase in enumerate(phases):
        teach(model, tokenizer, member, phase, seed=seed + number)
        # Rounded as if saved and loaded again, so that training may stop between phases and go on from the files.
        model.to(torch.bfloat16).to(torch.float32)
    save(model, tokenizer, out / name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--all", action="store_true", help="the base and then every member")
    which.add_argument("--model", choices=list(CAST))
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="folder that gets one folder for each model",
    )
    parser.add_argument(
        "--base",
        type=Path,
        help="folder of the base model to start from; default: OUT/base",
    )
    parser.add_argument(
        "--steps",
        type=int,
        help="steps of each phase, fewer or more than the committed weights were trained with",
    )
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    for name in CAST if args.all else [args.model]:
        build(
            name,
            args.out,
            base=args.base or args.out / "base",
            steps=args.steps,
            seed=args.seed,
        )


if __name__ == "__main__":
    main()
