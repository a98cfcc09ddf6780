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
conversation, an empty answer, one that spells a control token, a row that is too long. Where prompts are cut instead,
a conversation goes on, from the first answer that does not fit, in a sequence of its own with a shorter context: every
answer is trained once and whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from moaa.api.training import Thinking
from moaa.conversation import Message
from moaa.rows import ConversationRow, PairRow
from moaa.thoughts import holds_thought, split_channels
from moaa_jobs.training.rows import thoughts
from moaa_jobs.training.rows.chat import Chat, spelling
from moaa_jobs.training.rows.cut import cut_prompt
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
    is_cut: bool = False
    """Its prompt was cut to fit."""


@dataclass(frozen=True)
class EncodedPair:
    """One preference pair; every token of `chosen` and `rejected` counts, none of `prompt`."""

    id: str
    prompt: list[int]
    chosen: list[int]
    rejected: list[int]
    is_cut: bool = False
    """Its prompt was cut to fit."""


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


@dataclass(frozen=True)
class _Limit:
    """Most tokens of a sequence, and whether the prompt of a longer one is cut."""

    tokens: int
    cuts: bool


def encode_conversation(
    chat: Chat, row: ConversationRow, *, max_length: int, cuts: bool = False
) -> list[Encoded] | Failed:
    """Tokens of a conversation, all of its assistant turns marked: one sequence, or several in the order of turns.

    `max_length` is in tokens of a sequence; `cuts`: prompts of longer ones are cut, where the row fails otherwise.
    """
    limit = _Limit(max_length, cuts)
    try:
        found = _sequences(chat, row["messages"], limit)
    except _Untrainable as error:
        return Failed(row["id"], error.reason, error.details)
    longest = max(len(sequence.ids) for sequence in found)
    if longest > limit.tokens:
        return Failed(row["id"], TOO_LONG, f"{longest} tokens, and maxLength is {limit.tokens}")
    return [
        replace(sequence, id=row["id"] if number == 1 else f"{row['id']}#{number}")
        for number, sequence in enumerate(found, start=1)
    ]


def encode_pair(chat: Chat, row: PairRow, *, max_length: int, cuts: bool = False) -> list[EncodedPair] | Failed:
    """Tokens of a prompt and its two answers, each ending with its end-of-turn token; a list of one. `max_length` and
    `cuts` as of `encode_conversation`."""
    limit = _Limit(max_length, cuts)

    def encode(messages: Sequence[Message], *, is_cut: bool) -> EncodedPair:
        (prompt, chosen), (_, rejected) = (_turn(chat, messages, row[side]) for side in ("chosen", "rejected"))
        return EncodedPair(row["id"], prompt, chosen, rejected, is_cut)

    try:
        pair = encode(row["messages"], is_cut=False)
        if _length(pair) > limit.tokens and limit.cuts:
            cut = cut_prompt(row["messages"], lambda messages: _length(encode(messages, is_cut=True)) <= limit.tokens)
            if cut is None:
                raise _no_room(max(len(pair.chosen), len(pair.rejected)), limit)
            pair = encode(cut, is_cut=True)
    except _Untrainable as error:
        return Failed(row["id"], error.reason, error.details)
    if _length(pair) > limit.tokens:
        return Failed(row["id"], TOO_LONG, f"{_length(pair)} tokens, and maxLength is {limit.tokens}")
    return [pair]


def _length(pair: EncodedPair) -> int:
    """Of the longer of its two sequences."""
    return len(pair.prompt) + max(len(pair.chosen), len(pair.rejected))


def _no_room(answer: int, limit: _Limit) -> _Untrainable:
    return _Untrainable(TOO_LONG, f"an answer of {answer} tokens, which is never cut, and maxLength is {limit.tokens}")


def _sequences(chat: Chat, messages: Sequence[Message], limit: _Limit) -> list[Encoded]:
    """Every sequence, still without its row's id. Raises _Untrainable."""
    found: list[Encoded] = []
    before: list[Message] = []
    for message in messages:
        if message["role"] == "assistant":
            prompt, answer = _turn(chat, before, message["content"])
            is_cut = limit.cuts and len(prompt) + len(answer) > limit.tokens
            if is_cut:
                before, prompt, answer = _cut(chat, before, message["content"], len(answer), limit)
            _append(found, prompt, answer, is_cut=is_cut)
        before.append(message)
    if not found:
        raise _Untrainable(NO_ANSWER)
    return found


def _append(found: list[Encoded], prompt: list[int], answer: list[int], *, is_cut: bool) -> None:
    """To the last sequence, if the prompt goes on where it ends; else as a new one."""
    ids, span = prompt + answer, (len(prompt), len(prompt) + len(answer))
    if found and prompt[: len(found[-1].ids)] == found[-1].ids:
        found[-1] = Encoded("", ids, [*found[-1].spans, span], found[-1].is_cut or is_cut)
    else:
        found.append(Encoded("", ids, [span], is_cut))


def _cut(
    chat: Chat, before: Sequence[Message], answer: str, answer_tokens: int, limit: _Limit
) -> tuple[list[Message], list[int], list[int]]:
    """The turns before an answer, cut to fit, and the tokens of prompt and answer. Raises _Untrainable."""
    shorter = cut_prompt(before, lambda messages: sum(map(len, _turn(chat, messages, answer))) <= limit.tokens)
    if shorter is None:
        raise _no_room(answer_tokens, limit)
    return (shorter, *_turn(chat, shorter, answer))


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
