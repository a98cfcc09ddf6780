"""Reading a chat completion strictly: an answer, a permanent failure, or something that is not a completion. Pure."""

import json
from typing import Literal

from moaa.asking.caller import Reply
from moaa.asking.reasons import Reason
from moaa.client.outcome import Permanent, Retry, Trouble


def parse_completion(body: bytes) -> Reply | Permanent | Retry:
    """The answer in a 200 response.

    A body that is no chat completion (a proxy's page, a cut document, missing usage) is worth another try; an answer
    without text is not, since the same seed gives it again.
    """
    try:
        document = json.loads(body)
        choice = document["choices"][0]
        message = choice["message"]
        finish = choice["finish_reason"]
        content = message.get("content")
        refusal = message.get("refusal")
        prompt_tokens = _tokens(document["usage"]["prompt_tokens"])
        completion_tokens = _tokens(document["usage"]["completion_tokens"])
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        return Retry(Trouble.FAILED, f"the response is not a chat completion ({type(error).__name__}: {error})")
    if finish == "content_filter" or (refusal and not content):
        return Permanent(Reason.REFUSED, "the endpoint's content filter declined to answer")
    if finish not in ("stop", "length"):
        # vLLM says "abort" while it shuts down.
        return Retry(Trouble.FAILED, f"finish_reason is {finish!r}, neither 'stop' nor 'length'")
    if content is not None and not isinstance(content, str):
        return Retry(Trouble.FAILED, f"the answer is {type(content).__name__}, not text")
    text = (content or "").strip()
    if not text:
        return Permanent(Reason.EMPTY_ANSWER, f"the model answered without text (finish_reason {finish!r})")
    reason: Literal["stop", "length"] = "stop" if finish == "stop" else "length"
    return Reply(text, reason, prompt_tokens=prompt_tokens, completion_tokens=completion_tokens)


def _tokens(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise TypeError(f"token count {value!r}")
    return value
