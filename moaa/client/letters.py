"""Asking for a letter by its probability: one token, read from the log-probabilities and not from the text. Pure.

OpenAI's chat completions list the most probable tokens in each place (`logprobs`, `top_logprobs`); vLLM does likewise,
before temperature and penalties. No grammar restricts the token: a mask would make the letters' probabilities add up
to 1, and that a model would write neither is worth knowing. vLLM goes on with a reply that was begun, so that the token
asked for is the letter itself; other servers are asked in a further user turn.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from moaa.api.models import Parameter
from moaa.asking.caller import Choice, Letters
from moaa.asking.reasons import Reason
from moaa.client.outcome import Permanent, Retry
from moaa.client.request import PLAIN, Dialect, completions_url, plain
from moaa.client.response import first_choice
from moaa.client.words import Ending, ending
from moaa.conversation import Conversation, Message

LISTED = 20
"""Most probable tokens that are asked for: the most that OpenAI gives, and vLLM without --max-logprobs."""


@dataclass(frozen=True)
class LetterRequest:
    """One `Choice` as it is sent."""

    choice: Choice

    @property
    def messages(self) -> Conversation:
        """The prompt."""
        return self.choice.messages

    @property
    def kind(self) -> str:
        """As `moaa.client.request.Request.kind`."""
        return f"for the {LISTED} most probable tokens"

    def about(self, messages: Conversation) -> "LetterRequest":
        """As `Request.about`."""
        return LetterRequest(replace(self.choice, messages=messages))

    def address(self, base: str) -> str:
        """As `Request.address`."""
        return completions_url(base)

    def body(self, *, served_name: str, messages: Conversation, dialect: Dialect = PLAIN) -> dict[str, object]:
        """As `Request.body`."""
        choice = self.choice
        begun: list[Message] = []
        how: dict[str, object] = {}
        sampling = dialect.sampling(
            {Parameter.TEMPERATURE: 0.0, Parameter.TOP_P: 1.0, Parameter.MAX_TOKENS: 1, Parameter.SEED: 0}
        )
        if choice.is_begun and dialect.goes_on:
            begun = [Message(role="assistant", content=choice.said + choice.opening)]
            how = {"continue_final_message": True, "add_generation_prompt": False}
        elif choice.is_begun:
            said = [Message(role="assistant", content=choice.said)] if choice.said else []
            begun = [*said, Message(role="user", content=choice.question)]
        asked = {"logprobs": True, "top_logprobs": LISTED}
        return {"model": served_name, "messages": [*messages, *begun], **sampling, **asked, **how, **dialect.extra}

    def read(self, payload: bytes) -> Letters | Permanent | Retry:
        """As `Request.read`. A server that sends no log-probabilities never will, so that is a refused request."""
        found = first_choice(payload)
        if isinstance(found, Permanent | Retry):
            return found
        if ending(found.choice.get("finish_reason")) is Ending.FILTERED:
            return Permanent(Reason.REFUSED, "the endpoint's content filter ended the answer", found.spent)
        listed = _listed(found.choice.get("logprobs"))
        if listed is None:
            return Permanent(
                Reason.BAD_REQUEST,
                "the server sent no log-probabilities of tokens; ask it for verdicts in words (verdict: Text)",
                found.spent,
            )
        probabilities = {
            letter: min(1.0, math.fsum(math.exp(p) for token, p in listed.items() if _says(token, letter)))
            for letter in self.choice.letters
        }
        spent = found.spent
        return Letters(probabilities, spent.prompt_tokens, spent.completion_tokens, spent.is_counted)

    def document(self) -> dict[str, object]:
        """As `Request.document`."""
        choice = self.choice
        return {
            "messages": plain(choice.messages),
            "said": choice.said,
            "opening": choice.opening,
            "question": choice.question,
            "letters": list(choice.letters),
        }


def _listed(logprobs: object) -> Mapping[str, float] | None:
    """Log-probabilities of the tokens that could come first, at most 0; None where there are none."""
    match logprobs:
        case {"content": [{"top_logprobs": list(tokens)}, *_]}:
            found = {str(t["token"]): p for t in tokens if (p := _number(t)) is not None and "token" in t}
            return found or None
    return None


def _number(token: object) -> float | None:
    """A token's log-probability. Rounding may take it above 0; masked tokens have −9999 or −inf."""
    value: Any = token.get("logprob") if isinstance(token, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        return None
    return min(0.0, float(value))


def _says(token: str, letter: str) -> bool:
    """Whether a token is the letter, with what tokenizers put around it: `A`, ` A`, `▁A`, `ĠA`, `[[A`, `A]]`, `**A`."""
    return re.fullmatch(rf"[\W_Ġ]*{re.escape(letter)}\W*", token) is not None
