"""The prompt templates of the tiny world; `moaa.yaml` carries the same texts.

Instructions are short and fixed because the tokenizer holds each as one token: on two CPU cores the length of a
sequence is what everything costs.
"""

from __future__ import annotations

PROMPTS: dict[str, str] = {
    "aggregate": "Some of these answers are wrong.\n{proposals}",
    "proposal": "{number}. {text}\n",
    "criteria": "Choose what matters most here.\n{criteria}{question}\nA: {answer_a}\nB: {answer_b}\nHow many: {count}",
    "criterion": "{number}. {name}: {definition}\n",
    "judge": "Rate both answers.\n{criteria}{question}\nA: {answer_a}\nB: {answer_b}\n",
    "evaluation": "{number}. {text}\n",
    "meta_judge": (
        "Which answer is better?\n{criteria}{question}\nA: {answer_a}\nB: {answer_b}\nEvaluations:\n{evaluations}"
    ),
    "single": "Which answer is better?\n{criteria}{question}\nA: {answer_a}\nB: {answer_b}\n",
}

# Name and definition of what an answer can be judged by, in the order in which the judge is shown them.
CRITERIA: dict[str, str] = {
    "Length": "as many letters as asked for",
    "Letters": "the letters asked for",
    "Order": "letters in the order asked for",
}


def render_criteria(*names: str) -> str:
    """The chosen criteria, as every judging prompt shows them."""
    return "".join(
        PROMPTS["criterion"].format(number=number, name=name, definition=CRITERIA[name])
        for number, name in enumerate(names, start=1)
    )


def render_proposals(proposals: list[str]) -> str:
    """The aggregator's system message."""
    items = (PROMPTS["proposal"].format(number=i, text=text) for i, text in enumerate(proposals, start=1))
    return PROMPTS["aggregate"].format(proposals="".join(items))


def render_evaluations(evaluations: list[str]) -> str:
    """The judges' evaluations, as the meta-judge reads them."""
    return "".join(PROMPTS["evaluation"].format(number=i, text=text) for i, text in enumerate(evaluations, start=1))
