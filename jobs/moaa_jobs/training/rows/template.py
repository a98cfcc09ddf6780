"""A tokenizer's chat template, rendered as vLLM renders it for a chat request.

A template that refuses system messages (Gemma 2) is given them folded into the next user turn, as the model is asked
when served (`moaa.conversation`). Rows give the same tokens on every day, so a stage that resumes tomorrow trains on
the same tokens.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from jinja2 import TemplateError

from moaa.conversation import Message, fold_system, has_system
from moaa.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TODAY = datetime(2024, 7, 26, tzinfo=UTC)
"""The date that a template which prints one (Llama 3.x) gets. With the clock's date, tokens and their digest would
change at midnight and differ between two runs of one fingerprint. Those templates print this date themselves where
there is no clock. When served, the model reads the day's date."""
_FAILURES = (TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What rendering raises, by a template's own wish (`raise_exception`) or by an expression that fails."""


class TemplateRefuses(Exception):
    """The template cannot render these messages; its text is the template's own."""


@dataclass(frozen=True)
class Template:
    """A tokenizer's chat template with the arguments that a server gives it."""

    tokenizer: "PreTrainedTokenizerBase"
    args: Mapping[str, object]

    def text(self, messages: Sequence[Message], *, generation_prompt: bool = False) -> str:
        """Raises TemplateRefuses: the template cannot render them."""
        try:
            # What is not an argument of its own reaches the template, before the globals of transformers' environment.
            rendered = self.tokenizer.apply_chat_template(
                [dict(message) for message in messages],
                tokenize=False,
                add_generation_prompt=generation_prompt,
                strftime_now=TODAY.strftime,
                **self.args,
            )
        except _FAILURES as error:
            raise TemplateRefuses(f"{error or type(error).__name__}") from error
        return str(rendered)

    def ids(self, text: str) -> list[int]:
        """Tokens of a rendered text, control tokens spelled in it included, as the server reads it."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def decode(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def prompt(self, messages: Sequence[Message]) -> tuple[str, list[Message]]:
        """The prompt's text and the messages as rendered: folded where the template has no system role.

        Raises:
            TemplateRefuses: it takes them neither way.
        """
        given = list(messages)
        try:
            return self.text(given, generation_prompt=True), given
        except TemplateRefuses:
            if not has_system(given):
                raise
        folded = fold_system(given)
        return self.text(folded, generation_prompt=True), folded


def source_of(tokenizer: "PreTrainedTokenizerBase", name: str) -> str:
    """The template that chats are rendered with. Raises DataError: there is none, or none of several is the default."""
    found = tokenizer.chat_template
    if not found:
        raise DataError(
            f"{name}: its tokenizer has no chat template; give the model one (chatTemplate), or choose a chat model"
        )
    if isinstance(found, dict) and "default" not in found:
        raise DataError(
            f"{name}: its tokenizer has the chat templates {', '.join(sorted(found))} and none is called default, so "
            "that no server would chat with it; name one (chatTemplate)"
        )
    return str(tokenizer.get_chat_template())
