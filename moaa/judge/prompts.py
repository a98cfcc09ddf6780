"""Fill the judge's prompts for one pair of answers in one order. Pure.

Every prompt is a single user message, so that it needs no system role and shares its beginning with the other prompts
about the same pair and order (see `moaa.api.prompts`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from moaa.api.mixture import Criterion
from moaa.api.prompts import render
from moaa.conversation import Conversation, Message

Order = Literal["ab", "ba"]
LETTERS = ("A", "B")
OPENING = "\n\nVerdict: [["
"""How a judge's reply is led to its letter."""
QUESTION = "Which answer is better? Reply with one letter, A or B, and nothing else."
"""Asks for the letter where a server cannot go on with a reply that was begun."""
_LABELS = {"system": "System instructions", "user": "User", "assistant": "Assistant"}


@dataclass(frozen=True)
class Ordered:
    """A question and two answers in the order in which a judge sees them."""

    question: str
    first: str
    """Called A in prompts."""
    second: str
    """Called B."""
    order: Order = "ab"
    """`ba`: the pair's b is shown first."""

    @property
    def longer(self) -> Literal["A", "B"] | None:
        """The answer with more characters; None where both have as many."""
        if len(self.first) == len(self.second):
            return None
        return "A" if len(self.first) > len(self.second) else "B"


def question_text(messages: Conversation) -> str:
    """The conversation as `{question}`: a single user turn is its content, anything longer is written out with role
    labels.

    Assistant turns after the last user turn are no part of the question.
    """
    last = max((i for i, m in enumerate(messages) if m["role"] == "user"), default=len(messages) - 1)
    turns = messages[: last + 1]
    if len(turns) == 1 and turns[0]["role"] == "user":
        return turns[0]["content"]
    return "\n\n".join(f"[{_LABELS[m['role']]}]\n{m['content']}" for m in turns)


def exchange(answered: Conversation) -> tuple[str, str]:
    """The question and the answer, each as one text, of a conversation that one subject has answered.

    With one user turn, these are that turn and its reply. With several, the question is all that user and system said,
    and the answer is all replies, numbered alike. Two subjects answer later turns in the context of their own replies,
    so a judge must see those, not a conversation that neither of them had.
    """
    turns = [m for m in answered if m["role"] == "user"]
    replies = [m for m in answered if m["role"] == "assistant"]
    if len(turns) == 1:
        return question_text(answered), replies[-1]["content"]
    number = 0
    asked: list[str] = []
    for message in answered:
        match message["role"]:
            case "system":
                asked.append(f"[{_LABELS['system']}]\n{message['content']}")
            case "user":
                number += 1
                asked.append(f"[{_LABELS['user']}, turn {number}]\n{message['content']}")
            case "assistant":
                pass
    return (
        "\n\n".join(asked),
        "\n\n".join(f"[Reply to turn {n}]\n{reply['content']}" for n, reply in enumerate(replies, start=1)),
    )


def criteria_list(criteria: Sequence[Criterion], prompts: Mapping[str, str]) -> str:
    """The criteria as `{criteria}`."""
    return "".join(
        render(prompts["criterion"], {"number": str(number), "name": c.name, "definition": c.definition}, prompts)
        for number, c in enumerate(criteria, start=1)
    )


def criteria_messages(
    pair: Ordered, choices: Sequence[Criterion], *, count: int, prompts: Mapping[str, str]
) -> list[Message]:
    return _user("criteria", pair, {"criteria": criteria_list(choices, prompts), "count": str(count)}, prompts)


def prompt_criteria_messages(
    question: str, choices: Sequence[Criterion], *, count: int, prompts: Mapping[str, str]
) -> list[Message]:
    values = {"question": question, "criteria": criteria_list(choices, prompts), "count": str(count)}
    return [Message(role="user", content=render(prompts["prompt_criteria"], values, prompts))]


def judge_messages(pair: Ordered, criteria: Sequence[Criterion], prompts: Mapping[str, str]) -> list[Message]:
    return _user("judge", pair, {"criteria": criteria_list(criteria, prompts)}, prompts)


def single_messages(pair: Ordered, criteria: Sequence[Criterion], prompts: Mapping[str, str]) -> list[Message]:
    return _user("single", pair, {"criteria": criteria_list(criteria, prompts)}, prompts)


def meta_messages(
    pair: Ordered, criteria: Sequence[Criterion], evaluations: Sequence[str], prompts: Mapping[str, str]
) -> list[Message]:
    entries = [
        render(prompts["evaluation"], {"number": str(number), "text": text}, prompts)
        for number, text in enumerate(evaluations, start=1)
    ]
    values = {"criteria": criteria_list(criteria, prompts), "evaluations": "".join(entries)}
    return _user("meta_judge", pair, values, prompts)


def _user(template: str, pair: Ordered, values: Mapping[str, str], prompts: Mapping[str, str]) -> list[Message]:
    case = {"question": pair.question, "answer_a": pair.first, "answer_b": pair.second}
    return [Message(role="user", content=render(prompts[template], case | dict(values), prompts))]
