"""Learn what a student's chat template does, so that rows are trained as they are served.

A trained answer follows the prompt as vLLM renders it (the turns before, with the generation prompt) and is followed by
the token at which the server stops. `learn` finds that token, and how much white space the template puts around an
answer, by rendering a question and an answer of ours. A template for which this is not clear is refused with the
remedy, by resolve before anything is paid for and by training before a worker starts:

- an answer ends with a token at which the server does not stop, or with none;
- the prompt opens a thought, or the student thinks by default, and the resource does not say what to teach;
- the template writes something before an answer that the generation prompt does not end with.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import TemplateSyntaxError

from moaa.api.models import Model
from moaa.api.training import Thinking
from moaa.conversation import Message
from moaa.errors import DataError
from moaa.thoughts import TAGS
from moaa_jobs.training.rows import thoughts
from moaa_jobs.training.rows.template import Template, TemplateRefuses, source_of
from moaa_jobs.training.rows.tokenizer import load_tokenizer, stop_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

QUESTION, ANSWER = "qz question", "qz answer"
"""Found again in what a template makes of them."""
_SWITCHES = ("enable_thinking", "thinking")
"""Arguments by which templates turn thinking on and off."""


@dataclass(frozen=True)
class Ending:
    """How an answer ends."""

    id: int
    """The token at which the server stops."""
    text: str
    """As the template spells it."""
    space: str
    """What white space the template puts before it."""


@dataclass(frozen=True)
class Chat:
    """All that encoding a row needs to know of a student."""

    template: Template
    stops: frozenset[int]
    """At which the server ends an answer."""
    ending: Ending
    space: str
    """What white space the template puts before an answer."""
    opened: str
    """The thought that the prompt opens and leaves open, or ""."""
    control: frozenset[int]
    """Tokens that an answer must not spell: they would train as what they mean, not as text."""
    thinking: Thinking


def open_chat(folder: Path, model: Model, *, thinking: Thinking | None) -> Chat:
    """The chat of a student whose files other than weights lie in `folder`; `model` is the declared student.

    Raises:
        DataError: as `load_tokenizer`, `stop_ids` and `learn`.
    """
    tokenizer = load_tokenizer(folder, chat_template=model.chat_template)
    return learn(
        tokenizer,
        args=model.chat_template_args,
        stops=stop_ids(folder, tokenizer),
        thinking=thinking,
        name=f"spec.models {model.name}",
    )


def learn(
    tokenizer: "PreTrainedTokenizerBase",
    *,
    args: Mapping[str, object],
    stops: frozenset[int],
    thinking: Thinking | None,
    name: str,
) -> Chat:
    """What has to be known of a student's template; `name` is the student's in errors.

    Raises:
        DataError: rows cannot be trained as they are served; the text says what to change.
    """
    template = Template(tokenizer, args)
    _check_args(template, name)
    asked: list[Message] = [{"role": "user", "content": QUESTION}]
    answered: list[Message] = [*asked, {"role": "assistant", "content": ANSWER}]
    try:
        prompt = template.text(asked, generation_prompt=True)
        last, between = template.text(answered), template.text([*answered, *asked])
    except TemplateRefuses as error:
        raise DataError(
            f"{name}: its chat template does not render a question and an answer: {error}; give the model another "
            "template (chatTemplate)"
        ) from error
    if ANSWER not in last:
        raise DataError(f"{name}: its chat template leaves out what the assistant says; give it another (chatTemplate)")
    ending = _ending(template, stops, _after(last), _after(between), name)
    opened = thoughts.unclosed(prompt[prompt.rfind(QUESTION) + len(QUESTION) :])
    shared = _common(prompt, last)
    lead = last[shared : last.index(ANSWER, shared)]
    blocks = thoughts.is_empty_thought(lead)
    if lead.strip() and not blocks:
        raise DataError(
            f"{name}: its chat template writes {lead.strip()!r} before an answer, and its generation prompt does not: "
            "the model would be taught to leave out what its server waits for; give it a chatTemplate whose "
            "generation prompt ends with that text"
        )
    chat = Chat(
        template=template,
        stops=stops,
        ending=ending,
        space="" if blocks else lead,
        opened=opened,
        control=_control(template, prompt + last + between),
        thinking=thinking or Thinking.ANSWER_ONLY,
    )
    _check_thinking(chat, thinking, prompt, thinks=blocks or _thinks(template, asked, prompt), name=name)
    return chat


def _check_args(template: Template, name: str) -> None:
    """Raises DataError: the template cannot be read, or does not read an argument it is given."""
    from jinja2.meta import find_undeclared_variables
    from transformers.utils.chat_template_utils import _compile_jinja_template

    source = source_of(template.tokenizer, name)
    try:
        known = find_undeclared_variables(_compile_jinja_template(source).environment.parse(source))
    except TemplateSyntaxError as error:
        raise DataError(
            f"{name}: its chat template cannot be read as a template (line {error.lineno}: {error.message}); mend it, "
            "or give the model another (chatTemplate)"
        ) from error
    unread = sorted(set(template.args) - known)
    if unread:
        raise DataError(
            f"{name}: chatTemplateArgs.{unread[0]}: its chat template reads no such argument; it reads "
            f"{', '.join(sorted(known - {'messages', 'tools', 'documents', 'raise_exception', 'strftime_now'}))}"
        )


def _after(text: str) -> str:
    """What follows the answer; nothing where the template has cut it out of its history."""
    return text.partition(ANSWER)[2]


def _common(one: str, other: str) -> int:
    """How many characters both begin with."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _ending(template: Template, stops: frozenset[int], last: str, between: str, name: str) -> Ending:
    """From what follows an answer in the last turn, or where that is nothing, in one before. Raises DataError."""
    spelled = {text: token for token in sorted(stops) if template.ids(text := spelling(template, token)) == [token]}
    for tail in (last, between):
        rest = tail.lstrip()
        found = max((text for text in spelled if rest.startswith(text)), key=len, default=None)
        if found is not None:
            return Ending(spelled[found], found, tail[: len(tail) - len(rest)])
        if rest:
            break
    first = template.ids(rest)[0] if rest else None
    listed = ", ".join(repr(spelling(template, token)) for token in sorted(stops)) or "none"
    if first is not None and first in template.tokenizer.added_tokens_decoder:
        raise DataError(
            f"{name}: its chat template ends an answer with {spelling(template, first)!r}, which is not among the "
            f"tokens at which its server stops ({listed}): it would never stop there. Set eos_token_id in "
            f"generation_config.json to {sorted({*stops, first})}, in a copy of the model's folder if it is not yours"
        )
    raise DataError(
        f"{name}: its chat template ends an answer with {tail[:40]!r}, no token at which its server stops ({listed}): "
        "trained so it would never stop. Give it a chatTemplate that ends turns with a token of their own, and list "
        "that token as eos_token_id in generation_config.json"
    )


def spelling(template: Template, token: int) -> str:
    """A token as a text spells it."""
    added = template.tokenizer.added_tokens_decoder.get(token)
    return str(added.content) if added is not None else template.decode([token])


def _control(template: Template, rendered: str) -> frozenset[int]:
    """Special tokens, and what the template itself writes; marks of thoughts have rules of their own."""
    added = template.tokenizer.added_tokens_decoder
    written = set(template.ids(rendered)) & set(added)
    special = {token for token, described in added.items() if described.special}
    marks = {token for token, described in added.items() if described.content in TAGS}
    unknown = {template.tokenizer.unk_token_id}
    return frozenset((written | special) - marks - unknown)


def _thinks(template: Template, asked: list[Message], prompt: str) -> bool:
    """Whether the template has a switch for thinking, and it is on."""
    for switch in _SWITCHES:
        try:
            on, off = (
                Template(template.tokenizer, {**template.args, switch: value}).text(asked, generation_prompt=True)
                for value in (True, False)
            )
        except TemplateRefuses:  # an argument of that name that is no switch
            continue
        if prompt == on != off:
            return True
    return False


def _check_thinking(chat: Chat, stated: Thinking | None, prompt: str, *, thinks: bool, name: str) -> None:
    off = (
        "chatTemplateArgs of the model (enable_thinking: false for many, thinking: false for some), which turns it off "
        "when it is served and trained"
    )
    given = "training.thinking: AsGiven, with data whose answers hold their thoughts"
    if chat.opened and chat.thinking is Thinking.ANSWER_ONLY:
        raise DataError(
            f"{name}: its generation prompt opens a thought ({chat.opened!r}), and answers have none: it "
            f"would be taught to answer inside its thought. Write one of: {off}; a chatTemplate whose generation "
            f"prompt opens none; {given}"
        )
    if stated is Thinking.AS_GIVEN and thoughts.ends_closed(prompt):
        raise DataError(
            f"{name}: training.thinking is AsGiven, but its generation prompt says that it has thought already: "
            "thoughts would be taught behind that. Leave out what turns thinking off in its chatTemplateArgs, or write "
            "AnswerOnly"
        )
    if thinks and stated is None:
        raise DataError(
            f"{name}: it thinks before it answers, as its chat template is served; what it is to be taught has to be "
            f"said. Write one of: {off}; training.thinking: AnswerOnly, which teaches it to answer at once; {given}"
        )
