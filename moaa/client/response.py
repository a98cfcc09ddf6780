"""Reading a chat completion: an answer, a permanent failure, or something that is not a completion. Pure.

Servers that speak the API differ in what they leave out and in names. A `Reply` has one spelling, keeps thought and
answer apart, and holds only text that every later file can hold.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from moaa.asking.caller import Reply
from moaa.asking.reasons import Reason
from moaa.asking.windows import CharacterCounter
from moaa.client.outcome import HttpFailure, Permanent, Retry, Trouble, is_retryable, one_line
from moaa.client.words import Ending, Meaning, ending, meanings
from moaa.errors import Spent
from moaa.thoughts import split_thought

_THOUGHT_FIELDS = ("reasoning_content", "reasoning", "thinking")
"""Beside `content`: vLLM and DeepSeek; newer vLLM, Groq and OpenRouter; Ollama."""


def parse_completion(body: bytes, *, max_tokens: int) -> Reply | Permanent | Retry:
    """The answer in a 200 response to a request for at most `max_tokens`.

    A body that is no chat completion (a proxy's page, a cut document) is worth another try; an answer without text is
    not, since the same seed gives it again. Where the server does not say why an answer ended, it counts as cut when
    its tokens are as many as were allowed; without these either, when its characters could be.
    """
    found = first_choice(body)
    return found if isinstance(found, Permanent | Retry) else _read(found.choice, found.spent, max_tokens)


def opened(body: bytes, odd: Callable[[str], Retry]) -> dict[str, Any] | Permanent | Retry:
    """The object of a 200 response; or the error that came with that status. `odd` words what is no such object."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        return odd(f"{type(error).__name__}: {error}")
    if not isinstance(document, dict):
        return odd(f"a JSON {type(document).__name__}")
    failure = error_in(document)
    return document if failure is None else is_retryable(failure)


class Found(NamedTuple):
    choice: dict[str, Any]
    """With an object `message`."""
    spent: Spent


def first_choice(body: bytes) -> Found | Permanent | Retry:
    """The first choice of a 200 response, whatever it says; or the error or refusal that came with that status."""
    document = opened(body, _odd)
    if isinstance(document, Permanent | Retry):
        return document
    choices = document.get("choices")
    if not isinstance(choices, list) or not choices:
        if _is_filtered(document):
            return Permanent(Reason.REFUSED, "the endpoint's content filter left no answer")
        return _odd("it has no choices")
    choice = choices[0]
    if not isinstance(choice, dict) or not isinstance(choice.get("message"), dict):
        return _odd("its first choice has no message")
    if (failure := error_in(choice)) is not None:
        return is_retryable(failure)
    return Found(choice, spent_of(document.get("usage")))


def _read(choice: dict[str, Any], spent: Spent, max_tokens: int) -> Reply | Permanent | Retry:
    message, reason = choice["message"], choice.get("finish_reason")
    content, parts_thought, other = _content(message.get("content"))
    refusal = message.get("refusal")
    how = ending(reason)
    match how:
        case Ending.BROKEN:  # vLLM says "abort" while it shuts down
            return Retry(Trouble.FAILED, f"the server broke the answer off ({_told(reason)})")
        case Ending.FILTERED:
            return Permanent(Reason.REFUSED, f"the endpoint's content filter ended the answer ({_told(reason)})", spent)
        case _ if refusal and not content.strip():
            said = one_line(refusal) if isinstance(refusal, str) else "refusal"
            return Permanent(Reason.REFUSED, f"the model declined to answer: {said}", spent)
        case Ending.TOOL:
            return Permanent(Reason.EMPTY_ANSWER, "the model called a tool in place of answering", spent)
        case Ending.WHOLE | Ending.CUT | Ending.UNTOLD:
            pass
    if other:
        return Permanent(Reason.EMPTY_ANSWER, f"the answer holds a part that is not text ({other})", spent)
    split = split_thought(content)
    pieces = [_thought_beside(message), parts_thought, split.thought]
    # Kept for the record only, so half characters are shown as such.
    thought = "\n\n".join(piece.strip() for piece in pieces if piece.strip()).encode("utf-8", "replace").decode()
    spent = Spent(spent.prompt_tokens, spent.completion_tokens, spent.is_counted, thought)
    if not split.answer:
        return Permanent(Reason.EMPTY_ANSWER, _nothing(_told(reason), thought), spent)
    if (broken := _broken_at(split.answer)) is not None:
        return Permanent(Reason.BROKEN_TEXT, f"character {broken} of the answer is half of one (a surrogate)", spent)
    cut = how is Ending.CUT or (how is Ending.UNTOLD and _fills(max_tokens, spent, content))
    return Reply(
        split.answer,
        "length" if cut else "stop",
        prompt_tokens=spent.prompt_tokens,
        completion_tokens=spent.completion_tokens,
        is_counted=spent.is_counted,
        thought=thought,
    )


def _told(reason: object) -> str:
    return f"finish_reason {one_line(repr(reason))}"


def _odd(what: str) -> Retry:
    return Retry(Trouble.FAILED, f"the response is not a chat completion ({what})")


def _nothing(told: str, thought: str) -> str:
    if not thought:
        return f"the model answered without text ({told})"
    return (
        f"the model thought ({len(thought)} characters) and gave no answer ({told}); raise maxTokens, "
        "or turn thinking off (enable_thinking: false among the chat template's arguments)"
    )


def _content(content: object) -> tuple[str, str, str]:
    """The text of a message's content, the thoughts among its parts, and the type of a part that is neither."""
    if content is None or isinstance(content, str):
        return content or "", "", ""
    if not isinstance(content, list):
        return "", "", type(content).__name__
    texts: list[str] = []
    thoughts: list[str] = []
    for part in content:
        kind = part.get("type", "text") if isinstance(part, dict) else "text"
        if kind in ("thinking", "reasoning"):
            thoughts.append("".join(_texts(part)))
        elif kind in ("text", "output_text"):
            texts.append("".join(_texts(part)))
        else:
            return "", "", one_line(str(kind))
    return "".join(texts), "\n\n".join(thoughts), ""


def _texts(part: object) -> Iterator[str]:
    """Every text in a part, however deep: {"text": …}, {"text": {"value": …}}, {"thinking": [{"text": …}]}."""
    match part:
        case str():
            yield part
        case list():
            for entry in part:
                yield from _texts(entry)
        case dict():
            for name in ("text", "value", "thinking", "reasoning", "summary", "content"):
                yield from _texts(part.get(name))


def _thought_beside(message: dict[str, Any]) -> str:
    for name in _THOUGHT_FIELDS:
        if text := "".join(_texts(message.get(name))):
            return text
    return "".join(_texts(message.get("reasoning_details")))


def spent_of(usage: object) -> Spent:
    """Tokens of the call, as the server counts them. Where thoughts are counted apart (xAI, Gemini), they follow from
    the total."""
    found = usage if isinstance(usage, dict) else {}
    prompt, completion, total = (_count(found.get(f"{name}_tokens")) for name in ("prompt", "completion", "total"))
    if prompt is None or completion is None:
        return Spent(is_counted=False)
    return Spent(prompt, max(completion, (total or 0) - prompt))


def _count(value: object) -> int | None:
    """A number of tokens, or None if the value is not one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 <= value < 2**53 and value == int(value) else None


def _fills(max_tokens: int, spent: Spent, text: str) -> bool:
    """Whether an answer may have reached its limit, when the server does not say how it ended."""
    if spent.is_counted:
        return spent.completion_tokens >= max_tokens
    return CharacterCounter().most(text + spent.thought) >= max_tokens


def _broken_at(text: str) -> int | None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return error.start + 1
    return None


def _is_filtered(document: object) -> bool:
    """Whether it says that a filter acted: Azure's `filtered`, Gemini's `blockReason`, moderation's `flagged`."""
    match document:
        case dict():
            acted = any(document.get(name) is True for name in ("filtered", "blocked", "flagged"))
            named = any(document.get(name) for name in ("blockReason", "block_reason"))
            return acted or named or any(_is_filtered(inner) for inner in document.values())
        case list():
            return any(_is_filtered(inner) for inner in document)
    return False


def error_in(document: dict[str, Any]) -> HttpFailure | None:
    """An error that came with status 200, under the status that its code stands for."""
    error = document.get("error")
    if not error and document.get("object") == "error":
        error = document
    if not error:
        return None
    fields = error if isinstance(error, dict) else {}
    return HttpFailure(_status(fields), json.dumps({"error": error}))


def _status(error: dict[str, Any]) -> int:
    """The HTTP status of an error's code, or of what its code, type and words mean; 500, which may pass, by default."""
    for code in (error.get("code"), error.get("status"), error.get("http_status")):
        if (isinstance(code, int) or (isinstance(code, str) and code.isdecimal())) and 400 <= int(code) < 600:
            return int(code)
    word = " ".join(str(error.get(name) or "") for name in ("code", "type", "status")).lower()
    about = meanings(f"{word} {error.get('message')}")
    if Meaning.BUSY in about:
        return 429
    if about - {Meaning.DYING} or any(hint in word for hint in ("invalid", "bad_request", "not_supported")):
        return 400
    return 500
