"""Measure what the tiny models can do, in process and without a server: the table in README.md.

    python -m examples.tiny.measure --models examples/tiny/models

Only the models are measured here. What the pipeline makes of them, it measures itself, through vLLM.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from examples.tiny.lessons import PROPOSERS, chat
from examples.tiny.prompts import render_proposals
from examples.tiny.world import OPERATIONS, Question, distinct_questions

MAX_NEW_TOKENS = 12


class Chatter:
    """One model that answers many chats at once."""

    def __init__(self, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
        self._model = model.eval()
        self._tokenizer = tokenizer

    @classmethod
    def load(cls, folder: Path) -> Chatter:
        model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
        return cls(model, PreTrainedTokenizerFast.from_pretrained(folder))

    @torch.no_grad()
    def reply(self, prompts: Sequence[str], *, temperature: float) -> list[str]:
        """One reply to each rendered chat; temperature 0 takes the likeliest token."""
        self._tokenizer.padding_side = "left"
        batch = self._tokenizer(list(prompts), return_tensors="pt", padding=True, return_token_type_ids=False)
        sampling = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {"do_sample": False}
        out = self._model.generate(**batch, max_new_tokens=MAX_NEW_TOKENS, **sampling)
        replies: list[str] = self._tokenizer.batch_decode(
            out[:, batch["input_ids"].shape[1] :], skip_special_tokens=True
        )
        return replies

    def answer(self, questions: Sequence[Question], *, temperature: float) -> list[str]:
        """An answer to each question alone."""
        return self.reply([chat(question.text) for question in questions], temperature=temperature)

    def aggregate(
        self, questions: Sequence[Question], proposals: Sequence[Sequence[str]], *, temperature: float
    ) -> list[str]:
        """An answer to each question with proposals in view."""
        prompts = [
            chat(question.text, system=render_proposals(list(texts)))
            for question, texts in zip(questions, proposals, strict=True)
        ]
        return self.reply(prompts, temperature=temperature)


def accuracy(answers: Sequence[str], questions: Sequence[Question], *, operation: str | None = None) -> float:
    """Share of right answers, over all questions or over those of one operation."""
    right = [
        answer.strip() == question.gold_answer
        for answer, question in zip(answers, questions, strict=True)
        if operation in (None, question.operation)
    ]
    return sum(right) / len(right)


def majority(proposals: Sequence[Sequence[str]]) -> list[str]:
    """The most frequent proposal of each question; the first of those that tie."""
    return [max(texts, key=lambda text: (texts.count(text), -texts.index(text))) for texts in proposals]


def measure(models: Path, questions: Sequence[Question], *, seed: int) -> dict[str, list[str]]:
    """Everyone's answers to `questions`, by name: each member alone and the ways of joining the three proposers."""
    torch.manual_seed(seed)
    proposers = [Chatter.load(models / member.name) for member in PROPOSERS]
    aggregator = Chatter.load(models / "aggregator")
    alone = [proposer.answer(questions, temperature=0.7) for proposer in proposers]
    proposals = list(zip(*alone, strict=True))
    shuffled = random.Random(seed).sample(proposals, k=len(proposals))
    return {
        **{member.name: answers for member, answers in zip(PROPOSERS, alone, strict=True)},
        "aggregator": aggregator.answer(questions, temperature=0.7),
        "student": Chatter.load(models / "student").answer(questions, temperature=0.7),
        "majority vote": majority(proposals),
        "mixture": aggregator.aggregate(questions, proposals, temperature=0.3),
        "mixture, proposals shuffled": aggregator.aggregate(questions, shuffled, temperature=0.3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--questions", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    questions = distinct_questions("report", args.questions, seed=0)
    print("| | " + " | ".join([*OPERATIONS, "all"]) + " |")
    print("|---|" + "---|" * (len(OPERATIONS) + 1))
    for name, answers in measure(args.models, questions, seed=args.seed).items():
        shares = [accuracy(answers, questions, operation=operation) for operation in (*OPERATIONS, None)]
        print(f"| {name} | " + " | ".join(f"{share:.0%}" for share in shares) + " |")


if __name__ == "__main__":
    main()
