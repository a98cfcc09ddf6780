"""Token budgets: what fits into a model's context window, and how longer texts are shortened.

Pure. A window is divided into prompt and completion: a completion keeps `maxTokens` or a quarter of the window,
whichever is less; the rest is the prompt's. Proposals and evaluations are shortened, the longest first down to one
common cap, and marked as shortened; the conversation itself is never touched. The same inputs give the same budget on
every run, whether a model is served or not, since requests are looked up by what they hold.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from moaa.asking.reasons import Reason
from moaa.conversation import Conversation, Message
from moaa.errors import CallError

TEMPLATE_TOKENS = 64
"""Room for a chat template's own text: begin marks, a default system prompt with a date (Llama 3.1: about 30)."""
MESSAGE_TOKENS = 8
"""Role marks of one message; 4 to 6 in the common templates."""
LEAST_TOKENS = 24
"""A shorter piece is worth nothing: then the prompt counts as too long."""
CUT_MARK = "\n[... the rest was cut to fit ...]"


class Counter(Protocol):
    """Counts tokens of plain text for one model."""

    def most(self, text: str) -> int:
        """An upper bound; exact where the model's tokenizer is known."""
        ...

    def least(self, text: str) -> int:
        """A lower bound; exact where the model's tokenizer is known."""
        ...

    def head(self, text: str, tokens: int) -> str:
        """The longest beginning of `text` that has at most `tokens` tokens."""
        ...


@dataclass(frozen=True)
class Window:
    """A model's context window."""

    tokens: int
    counter: Counter


Windows = Mapping[str, Window]
"""By model name. A model that is missing has no known bound: the server decides."""


@dataclass(frozen=True)
class Fitted:
    texts: tuple[str, ...]
    shortened: int
    """How many of the texts were cut."""


def completion_tokens(window: Window | None, messages: Conversation, *, max_tokens: int) -> int:
    """The `max_tokens` to send: the asked number, or what the prompt leaves of the window.

    Raises:
        CallError: `context-length`; the prompt leaves less than the completion's share.
    """
    if window is None or _prompt(messages, _bytes) + max_tokens <= window.tokens:
        return max_tokens  # cheap, and true for most calls
    prompt = _prompt(messages, window.counter.most)
    if prompt + max_tokens <= window.tokens:
        return max_tokens
    reserve = _reserve(window, max_tokens)
    if prompt + reserve <= window.tokens:
        return window.tokens - prompt
    prompt = _prompt(messages, window.counter.least)
    if prompt + reserve <= window.tokens:
        return reserve  # the count is a guess, so let the server decide
    raise CallError(
        Reason.CONTEXT_LENGTH,
        f"the prompt has {prompt} tokens, which with {reserve} for the answer is more than the context of "
        f"{window.tokens}; serve the model with a longer context (maxModelLen), or lower maxTokens",
    )


def room_left(window: Window, messages: Conversation, *, max_tokens: int) -> int:
    """Tokens that a prompt of `messages` leaves for more of the prompt, by the lower bound of its count. Below 0,
    `completion_tokens` raises."""
    return window.tokens - _reserve(window, max_tokens) - _prompt(messages, window.counter.least)


def fit_texts(
    window: Window | None, fixed: Conversation, texts: Sequence[str], *, max_tokens: int, scale: float = 1.0
) -> Fitted:
    """Shorten `texts` so that they fit beside `fixed`, the prompt's messages without them.

    `scale` below 1 narrows the room for the texts, for another try after a server found the prompt too long.

    Raises:
        CallError: `context-length`; what is fixed leaves too little room.
    """
    together = [*fixed, *(Message(role="user", content=t) for t in texts)]
    if scale == 1.0 and (window is None or _prompt(together, _bytes) + max_tokens <= window.tokens):
        return Fitted(tuple(texts), 0)
    counter: Counter = CharacterCounter() if window is None else window.counter
    sizes = [counter.most(t) for t in texts]
    room = sum(sizes)
    if window is not None:
        # Counted apart, texts may differ from their sum by a token or so at each seam.
        left = window.tokens - _reserve(window, max_tokens) - _prompt(fixed, counter.most)
        room = min(room, left - MESSAGE_TOKENS * len(texts))
    room = int(room * scale)
    if sum(sizes) <= room:
        return Fitted(tuple(texts), 0)
    mark = counter.most(CUT_MARK)
    cap = common_cap(sizes, room)
    if cap < LEAST_TOKENS + mark:
        raise CallError(
            Reason.CONTEXT_LENGTH,
            f"{max(room, 0)} tokens are left for {len(texts)} texts of {sum(sizes)} tokens; serve the model with a "
            "longer context (maxModelLen), or lower maxTokens",
        )
    fitted = tuple(
        text if size <= cap else counter.head(text, cap - mark).rstrip() + CUT_MARK
        for text, size in zip(texts, sizes, strict=True)
    )
    return Fitted(fitted, sum(size > cap for size in sizes))


def common_cap(sizes: Sequence[int], room: int) -> int:
    """The largest cap such that sizes cut to it sum to at most `room`. What short texts leave goes to long ones.

    Example: sizes 10, 50, 90 and room 100 give 45: 10 + 45 + 45.
    """
    left = room
    for position, size in enumerate(sorted(sizes)):
        share = left // (len(sizes) - position)
        if size > share:
            return share
        left -= size
    return max(sizes, default=0)


@dataclass(frozen=True)
class CharacterCounter:
    """Bounds for a model whose tokenizer is not known: between 2.5 and 6 UTF-8 bytes a token.

    English prose has 4 to 5 bytes a token, Chinese about 3 (one character), code and figures about 2.5.
    """

    def most(self, text: str) -> int:
        return (_bytes(text) * 2 + 4) // 5

    def least(self, text: str) -> int:
        return _bytes(text) // 6

    def head(self, text: str, tokens: int) -> str:
        cut = text.encode("utf-8", "surrogatepass")[: max(0, tokens * 5 // 2)]
        return cut.decode("utf-8", "ignore")


def _bytes(text: str) -> int:
    """UTF-8 bytes: byte-level and byte-fallback tokenizers make no more tokens than that of ordinary text."""
    return len(text.encode("utf-8", "surrogatepass"))


def _prompt(messages: Conversation, count: Callable[[str], int]) -> int:
    return TEMPLATE_TOKENS + sum(MESSAGE_TOKENS + count(m["content"]) for m in messages)


def _reserve(window: Window, max_tokens: int) -> int:
    return min(max_tokens, window.tokens // 4)
