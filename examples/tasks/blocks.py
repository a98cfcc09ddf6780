"""Code out of answers, and whether it passes; `humaneval_chat.yaml` names these functions."""

import re
from typing import Any

import evaluate

BLOCK = re.compile(r"```[a-zA-Z]*\n(.*?)(?:```|\Z)", re.DOTALL)

code_eval = evaluate.load("code_eval")


def of_code(answers: list[list[str]], documents: list[dict[str, Any]]) -> list[list[str]]:  # noqa: ARG001  as filters are
    """The last block of each answer, or all of it where it has none; `documents` are not read."""
    return [[(BLOCK.findall(answer) or [answer])[-1] for answer in of_one] for of_one in answers]


def passes(references: list[str], predictions: list[list[str]]) -> dict[str, float]:
    """`pass@1`."""
    found: dict[str, float] = code_eval.compute(references=references, predictions=predictions, k=[1])[0]
    return found
