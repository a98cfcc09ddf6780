"""Conversations and pairs as token ids, with exactly the assistant's tokens marked for training.

What holds for every encoded row: each prompt (the turns before an answer, with the generation prompt) is a token prefix
of the conversation; every assistant turn is trained from its first token to its end-of-turn token, which is the last
trained one and occurs nowhere else in the answer; nothing else is trained. What a template writes after the end of a
turn (a line break, often) is context for the next turn and is never trained, since serving stops before it.

A template that refuses system messages (Gemma 2) is given them folded into the next user turn, as the model is asked
when served (`moaa.conversation`).

A template that breaks what holds breaks every row, so it is an error that names the first one. A row that is too long,
or an answer that itself spells an end-of-turn token, concerns that row only and is a recorded failure.

Rows give the same tokens on every day: a stage that goes on tomorrow trains on what it was given today.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from jinja2 import TemplateError

from moaa.conversation import Message, fold_system, has_system
from moaa.errors import DataError
from moaa.rows import ConversationRow, PairRow

TOO_LONG = "too-long"
STOP_IN_ANSWER = "stop-token-in-answer"
TODAY = datetime(2024, 7, 26, tzinfo=UTC)
"""What a template that prints the date (Llama 3.x) is told. Not the clock's, by which the tokens, and with them their
digest, would change at midnight and differ between two runs of one fingerprint; this one is what those templates print
themselves where there is no clock. When served the model reads the day's date."""


class ChatTokenizer(Protocol):
    """The part of a Hugging Face tokenizer that is used here."""

    def apply_chat_template(
        self,
        conversation: list[Message],
        *,
        tokenize: bool,
        add_generation_prompt: bool,
        return_dict: bool,
        strftime_now: Callable[[str], str],
    ) -> list[int]: ...


@dataclass(frozen=True)
class Encoded:
    """One conversation. `spans` are the trained tokens as half-open ranges of `ids`, ascending; the last ends `ids`."""

    id: str
    ids: list[int]
    spans: list[tuple[int, int]]


@dataclass(frozen=True)
class EncodedPair:
    """One preference pair; every token of `chosen` and `rejected` counts, none of `prompt`."""

    id: str
    prompt: list[int]
    chosen: list[int]
    rejected: list[int]


@dataclass(frozen=True)
class Failed:
    """A row that cannot be trained on, and why (`TOO_LONG` or `STOP_IN_ANSWER`)."""

    id: str
    reason: str


def encode_conversation(
    tokenizer: ChatTokenizer, row: ConversationRow, *, stop_ids: frozenset[int], max_length: int
) -> Encoded | Failed:
    """Tokens of a conversation, all of its assistant turns marked.

    Raises:
        DataError: the chat template renders a prompt differently on its own than within the conversation, or ends a
            turn without an end-of-turn token, or refuses the conversation, or the row has no assistant turn.
    """
    messages = list(row["messages"])
    ids = _render(tokenizer, row["id"], messages)
    spans = []
    for k, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        prompt = _render(tokenizer, row["id"], messages[:k], generation_prompt=True)
        turn = ids if k == len(messages) - 1 else _render(tokenizer, row["id"], messages[: k + 1])
        span = _answer_span(row["id"], prompt, turn, stop_ids)
        if ids[: span[1]] != turn[: span[1]]:
            raise DataError(
                f"row {row['id']!r}: the chat template renders assistant turn {k} differently once other turns follow; "
                "use a template that leaves earlier turns as they are, or single-turn data"
            )
        spans.append(span)
    if not spans:
        raise DataError(f"row {row['id']!r}: has no assistant turn, so there is nothing to train on; remove it")
    if any(_holds_stop(ids[start : end - 1], stop_ids) for start, end in spans):
        return Failed(row["id"], STOP_IN_ANSWER)
    end = spans[-1][1]
    return Failed(row["id"], TOO_LONG) if end > max_length else Encoded(row["id"], ids[:end], spans)


def encode_pair(
    tokenizer: ChatTokenizer, row: PairRow, *, stop_ids: frozenset[int], max_length: int
) -> EncodedPair | Failed:
    """Tokens of a prompt and its two answers, each ending with its end-of-turn token.

    Raises:
        DataError: as `encode_conversation`.
    """
    messages = list(row["messages"])
    prompt = _render(tokenizer, row["id"], messages, generation_prompt=True)
    answers = []
    for text in (row["chosen"], row["rejected"]):
        turn = _render(tokenizer, row["id"], [*messages, {"role": "assistant", "content": text}])
        start, end = _answer_span(row["id"], prompt, turn, stop_ids)
        answers.append(turn[start:end])
    chosen, rejected = answers
    if _holds_stop(chosen[:-1], stop_ids) or _holds_stop(rejected[:-1], stop_ids):
        return Failed(row["id"], STOP_IN_ANSWER)
    if len(prompt) + max(len(chosen), len(rejected)) > max_length:
        return Failed(row["id"], TOO_LONG)
    return EncodedPair(row["id"], prompt, chosen, rejected)


def _render(
    tokenizer: ChatTokenizer, row_id: str, messages: list[Message], *, generation_prompt: bool = False
) -> list[int]:
    """Tokens of the messages as the model is served them. Raises DataError: the chat template refuses them."""
    try:
        return _tokens(tokenizer, messages, generation_prompt)
    except TemplateError as error:
        refused = error
    if has_system(messages):
        # Should one rendering of a row be folded and a longer one not, the shorter is no prefix of it: an error too.
        try:
            return _tokens(tokenizer, fold_system(messages), generation_prompt)
        except TemplateError as error:
            refused = error
    turns = ", ".join(message["role"] for message in messages)
    raise DataError(
        f"row {row_id!r}: the student's chat template refuses its conversation ({turns}): {refused}; remove such "
        "rows, or give the student a chat template that takes them"
    ) from refused


def _tokens(tokenizer: ChatTokenizer, messages: list[Message], generation_prompt: bool) -> list[int]:
    # return_dict is False by our wish: transformers 5 returns a mapping by default, whose length is its key count.
    # What is not an argument of its own reaches the template, before the globals of transformers' environment.
    ids = tokenizer.apply_chat_template(
        messages,
        tokenize=True,
        add_generation_prompt=generation_prompt,
        return_dict=False,
        strftime_now=TODAY.strftime,
    )
    return list(ids)


def _answer_span(row_id: str, prompt: list[int], turn: list[int], stop_ids: frozenset[int]) -> tuple[int, int]:
    """Where the answer lies in `turn`: after the prompt, up to and with the last end-of-turn token."""
    start = len(prompt)
    if turn[:start] != prompt:
        at = next((i for i, (a, b) in enumerate(zip(prompt, turn, strict=False)) if a != b), min(start, len(turn)))
        raise DataError(
            f"row {row_id!r}: its prompt of {start} tokens is not a prefix of its tokenised conversation (they "
            f"differ at token {at}); the model would be trained on a context it never sees when served. Use a chat "
            "template whose generation prompt is what an assistant turn starts with"
        )
    for end in range(len(turn), start, -1):
        if turn[end - 1] in stop_ids:
            if end == start + 1:
                break
            return start, end
    raise DataError(
        f"row {row_id!r}: no trained token: the chat template ends the answer without one of the end-of-turn tokens "
        f"{sorted(stop_ids)}, or the answer is empty; a model trained so would never stop. Set eos_token_id in "
        "generation_config.json to the token that ends a turn"
    )


def _holds_stop(ids: Sequence[int], stop_ids: frozenset[int]) -> bool:
    return not stop_ids.isdisjoint(ids)
