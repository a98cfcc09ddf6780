"""Asking a reward model for its number: one pooling request, read from the vector of length one it answers with. Pure.

vLLM serves sequence classifiers at `/pooling`, beside `/v1` and not below it. The chat template is rendered with the
answer as the last turn and no prompt for another. Without an activation the number is the model's own: vLLM would send
it through a sigmoid otherwise, which makes high ones equal.
"""

import math
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from moaa.asking.caller import Scalar
from moaa.asking.reasons import Reason
from moaa.client.outcome import Permanent, Retry, Trouble
from moaa.client.request import PLAIN, Dialect, plain
from moaa.client.response import opened, spent_of
from moaa.conversation import Conversation, Message


@dataclass(frozen=True)
class ScoreRequest:
    """One conversation to be scored as it is sent."""

    messages: Conversation = field(repr=False)
    """It ends with the answer."""

    @property
    def kind(self) -> str:
        """As `moaa.client.request.Request.kind`."""
        return "for a score"

    def about(self, messages: Conversation) -> "ScoreRequest":
        """As `Request.about`: `messages`, answered."""
        return ScoreRequest((*messages, Message(role="assistant", content="Hello")))

    def address(self, base: str) -> str:
        """As `Request.address`."""
        parts = urlsplit(base)
        return parts._replace(path=f"{parts.path.rstrip('/').removesuffix('/v1')}/pooling").geturl()

    def body(self, *, served_name: str, messages: Conversation, dialect: Dialect = PLAIN) -> dict[str, object]:
        """As `Request.body`. Nothing is sampled, so no parameter of sampling is sent."""
        return {"model": served_name, "messages": list(messages), "use_activation": False, **dialect.extra}

    def read(self, payload: bytes) -> Scalar | Permanent | Retry:
        """As `Request.read`. More numbers than one, or none that is finite, will not be better at another try."""
        document = opened(payload, _odd)
        if isinstance(document, Permanent | Retry):
            return document
        usage = document.get("usage")
        spent = spent_of({**usage, "completion_tokens": 0} if isinstance(usage, dict) else None)  # it writes nothing
        match document.get("data"):
            case [{"data": [int() | float() as score]}] if not isinstance(score, bool):
                if math.isfinite(score):
                    return Scalar(float(score), spent.prompt_tokens, spent.is_counted)
                return Permanent(Reason.BAD_SCORE, f"the score is {score}, which is no finite number", spent)
            case [{"data": [*numbers]}]:
                told = f"the answer is not one number but {len(numbers)}: not a reward model with a single label"
                return Permanent(Reason.BAD_SCORE, told, spent)
            case _:
                return _odd("it has no data")

    def document(self) -> dict[str, object]:
        """As `Request.document`."""
        return {"scored": plain(self.messages)}


def _odd(what: str) -> Retry:
    return Retry(Trouble.FAILED, f"the response is not a pooled one ({what})")
