"""Conversations and pairs as token ids, with exactly the assistant's tokens marked for training.

What holds for every trained answer: the tokens before it are the prompt as it is served (`template.Template.prompt`),
then come the answer's, then the token at which the server stops, which occurs nowhere else in the answer; nothing else
is trained. What a template writes after the end of a turn (a line break, often) is context for the next turn and is
never trained, since serving stops before it.

A conversation is one sequence as long as the prompt of each answer goes on where the answer before it ended. Where a
template writes earlier turns otherwise than they were answered (Qwen3 strips thoughts, Mistral puts the system text
into the last turn), the conversation becomes several sequences, each answer in the context it is served in.

An answer that begins with a line break may merge with the end of the prompt into one token, which serving cannot give:
there the prompt ends and the answer begins a token of its own. So the answer is tokenised apart.

A row that cannot be trained is a recorded failure with a reason, and concerns no other row: a template's refusal of the
conversation, an empty answer, one that spells a control token, a row that is too long.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from moaa.api.training import Thinking
from moaa.conversation import Message
from moaa.rows import ConversationRow, PairRow
from moaa.thoughts import holds_thought, split_channels
from moaa_jobs.training.rows import thoughts
from moaa_jobs.training.rows.chat import Chat, spelling
from moaa_jobs.training.rows.template import TemplateRefuses

TOO_LONG = "too-long"
STOP_IN_ANSWER = "stop-token-in-answer"
CONTROL_IN_ANSWER = "control-token-in-answer"
THOUGHT_IN_ANSWER = "thought-in-answer"
NO_THOUGHT = "no-thought-in-answer"
EMPTY_ANSWER = "empty-answer"
NO_ANSWER = "no-answer"
NO_QUESTION = "answer-without-question"
TEMPLATE_REFUSES = "template-refuses"
INSEPARABLE = "answer-inseparable-from-prompt"
_SHOWN = 120
"""Characters of a template's words in a failure's details."""


@dataclass(frozen=True)
class Encoded:
    """One sequence. `spans` are the trained tokens as half-open ranges of `ids`, ascending; the last ends `ids`."""

    id: str
    """The row's; `<row>#2` and so on for further sequences of it."""
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
    """A row that cannot be trained on: why, as one of the words above, and what was found."""

    id: str
    reason: str
    details: str = ""


class _Untrainable(Exception):
    """An answer cannot be trained; becomes the row's `Failed`."""

    def __init__(self, reason: str, details: str = "") -> None:
        self.reason, self.details = reason, details
        super().__init__(reason)


def encode_conversation(chat: Chat, row: ConversationRow, *, max_length: int) -> list[Encoded] | Failed:
    """Tokens of a conversation, all of its assistant turns marked: one sequence, or several in the order of turns."""
    try:
        found = _sequences(chat, row["messages"])
    except _Untrainable as error:
        return Failed(row["id"], error.reason, error.details)
    longest = max(len(ids) for ids, _ in found)
    if longest > max_length:
        return Failed(row["id"], TOO_LONG, f"{longest} tokens, and maxLength is {max_length}")
    return [
        Encoded(row["id"] if number == 1 else f"{row['id']}#{number}", ids, spans)
        for number, (ids, spans) in enumerate(found, start=1)
    ]


def encode_pair(chat: Chat, row: PairRow, *, max_length: int) -> list[EncodedPair] | Failed:
    """Tokens of a prompt and its two answers, each ending with its end-of-turn token; a list of one."""
    try:
        (prompt, chosen), (_, rejected) = (_turn(chat, row["messages"], row[side]) for side in ("chosen", "rejected"))
    except _Untrainable as error:
        return Failed(row["id"], error.reason, error.details)
    longest = len(prompt) + max(len(chosen), len(rejected))
    if longest > max_length:
        return Failed(row["id"], TOO_LONG, f"{longest} tokens, and maxLength is {max_length}")
    return [EncodedPair(row["id"], prompt, chosen, rejected)]


def _sequences(chat: Chat, messages: Sequence[Message]) -> list[tuple[list[int], list[tuple[int, int]]]]:
    """Ids and spans of every sequence. Raises _Untrainable."""
    found: list[tuple[list[int], list[tuple[int, int]]]] = []
    for k, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        prompt, answer = _turn(chat, messages[:k], message["content"])
        ids, span = prompt + answer, (len(prompt), len(prompt) + len(answer))
        if found and prompt[: len(found[-1][0])] == found[-1][0]:
            found[-1] = (ids, [*found[-1][1], span])
        else:
            found.append((ids, [span]))
    if not found:
        raise _Untrainable(NO_ANSWER)
    return found


def _turn(chat: Chat, before: Sequence[Message], answer: str) -> tuple[list[int], list[int]]:
    """Tokens of the prompt that asks for an answer, and of the answer with its end. Raises _Untrainable."""
    if not before:
        raise _Untrainable(NO_QUESTION)
    asked = _without_thoughts(before)
    try:
        prompt, asked = chat.template.prompt(asked)
    except TemplateRefuses as error:
        roles = ", ".join(message["role"] for message in before)
        raise _Untrainable(TEMPLATE_REFUSES, f"turns {roles}: {str(error)[:_SHOWN]}") from error
    body = _body(chat, prompt, asked, answer)
    if not body.strip():
        raise _Untrainable(EMPTY_ANSWER)
    ids = chat.template.ids(prompt)
    written = _answer_ids(chat, prompt, ids, body)
    _check_spelled(chat, body, written[:-1])
    return ids, written


def _without_thoughts(messages: Sequence[Message]) -> list[Message]:
    """As they are asked when served: of earlier answers only the answers travel."""
    return [
        {"role": "assistant", "content": thoughts.without_thought(message["content"])}
        if message["role"] == "assistant"
        else message
        for message in messages
    ]


def _body(chat: Chat, prompt: str, asked: list[Message], answer: str) -> str:
    """The text between the prompt and the end of the turn: the answer, with the white space the template gives it."""
    if split_channels(answer) is not None:
        raise _Untrainable(THOUGHT_IN_ANSWER, "in channels, as gpt-oss writes them; leave only the answer in the data")
    if chat.thinking is Thinking.ANSWER_ONLY and holds_thought(answer):
        raise _Untrainable(THOUGHT_IN_ANSWER, "training.thinking: AsGiven would train it")
    if chat.opened:
        rest = thoughts.continued(answer, chat.opened)
        if rest is None:
            raise _Untrainable(NO_THOUGHT, "the prompt opens a thought that this answer does not close")
        return rest + chat.ending.space
    try:
        turn = chat.template.text([*asked, {"role": "assistant", "content": answer}])
    except TemplateRefuses:  # of the answer, which the server never renders before it is history
        turn = ""
    rendered = _as_rendered(chat, turn.removeprefix(prompt), answer.strip()) if turn.startswith(prompt) else None
    return chat.space + answer + chat.ending.space if rendered is None else rendered


def _as_rendered(chat: Chat, turn: str, answer: str) -> str | None:
    """What the template makes of an answer, up to the end of the turn; None: something else than white space differs.

    `turn` is what it writes after the prompt, `answer` has no white space around it.
    """
    start = len(turn) - len(turn.lstrip())
    if not turn.startswith(answer, start):
        return None
    stop = start + len(answer)
    after = turn[stop:].lstrip()
    if not after:
        return turn[:stop] + chat.ending.space
    return turn[: len(turn) - len(after)] if after.startswith(chat.ending.text) else None


def _answer_ids(chat: Chat, prompt: str, ids: list[int], body: str) -> list[int]:
    """Tokens of the answer and its end, after the prompt's own `ids`. Raises _Untrainable."""
    template, end = chat.template, chat.ending
    whole = template.ids(prompt + body + end.text)
    if whole[: len(ids)] == ids and whole[-1] == end.id:
        return whole[len(ids) :]
    # Behind a control token tokenising starts afresh, as it does behind the end of a prompt. Tokenizers like those of
    # SentencePiece begin every text with a token for a space, which is not there.
    behind, alone = template.ids(end.text + body + end.text), template.ids(body + end.text)
    said = template.decode(whole)
    for written in (behind[1:], alone, behind[2:], alone[1:]):
        if written[-1:] == [end.id] and template.decode(ids + written) == said:
            return written
    raise _Untrainable(INSEPARABLE, f"{body[:20]!r} after a prompt that ends with {prompt[-20:]!r}")


def _check_spelled(chat: Chat, body: str, answer: Sequence[int]) -> None:
    """Raises _Untrainable: the text of the answer spells a control token."""
    for reason, tokens in ((STOP_IN_ANSWER, chat.stops), (CONTROL_IN_ANSWER, chat.control)):
        for token in answer:
            # Some list the bytes that have no other token among the control tokens: those are not spelled.
            if token in tokens and (text := spelling(chat.template, token)) in body:
                raise _Untrainable(reason, f"it spells {text}")
