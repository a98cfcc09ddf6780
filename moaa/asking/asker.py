"""One row's way to models: who carries its calls, the prompt templates, the context windows, the place in the row.

Mixture, judges and benchmarks hand an `Asker` down instead of these four; each step adds its own name to the path.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from moaa.api.mixture import JudgeModel, Sampling
from moaa.asking.caller import Caller, Choice, Letters, Reply, Scalar
from moaa.asking.reasons import Reason
from moaa.asking.rest import Rest
from moaa.asking.windows import Windows, fit_texts
from moaa.conversation import Conversation, Message
from moaa.errors import CallError

Build = Callable[[Sequence[str]], Conversation]
"""The prompt's messages from its texts; must be pure."""


@dataclass(frozen=True)
class Fitting:
    reply: Reply
    messages: Conversation
    """What it replies to."""
    shortened: int = 0
    """How many of the prompt's texts were cut."""


@dataclass(frozen=True)
class Asker:
    caller: Caller
    prompts: Mapping[str, str] = field(default_factory=dict)
    """The effective templates by name (`moaa.api.prompts.effective`)."""
    windows: Windows = field(default_factory=dict)
    """A model that is missing has no known bound."""
    path: str = ""
    """Goes before the name of every call: `s1/turn0`. Empty at the row itself."""
    rest: Rest | None = None
    """Models that the row may still ask; None: nobody keeps count."""

    def only(self, models: Collection[str]) -> None:
        """See `Rest.only`."""
        if self.rest is not None:
            self.rest.only(models)

    def at(self, step: str) -> "Asker":
        """The same row, one step further in: `<path>/<step>`."""
        return replace(self, path=f"{self.path}/{step}" if self.path else step)

    async def ask(self, model: str, messages: Conversation, sampling: Sampling | JudgeModel, *, key: str = "") -> Reply:
        """The model's answer; the call is named by `path`. Two calls of one path need different keys.

        Raises:
            CallError, ModelAbsent: as `Caller.call`.
            StageError: the row had given the model up.
        """
        if self.rest is not None:
            self.rest.check(model)
        return await self.caller.call(self.path, model, messages, sampling, key=key)

    async def ask_fitted(
        self, model: str, texts: Sequence[str], build: Build, sampling: Sampling | JudgeModel, *, key: str = ""
    ) -> Fitting:
        """The reply to `build(texts)`, whose texts are shortened where they do not fit into the model's window.

        For endpoints of others, token counts are only bounds. If the server still finds the prompt too long, the texts
        are halved once; that second call has the key `<key>half`.

        Raises:
            CallError, ModelAbsent: as `Caller.call`.
        """
        window = self.windows.get(model)
        fixed = build([""] * len(texts))
        fitted = fit_texts(window, fixed, texts, max_tokens=sampling.max_tokens)
        try:
            messages = build(fitted.texts)
            reply = await self.ask(model, messages, sampling, key=key)
        except CallError as error:
            if error.reason != Reason.CONTEXT_LENGTH or not texts:
                raise
            fitted = fit_texts(window, fixed, texts, max_tokens=sampling.max_tokens, scale=0.5)
            messages = build(fitted.texts)
            reply = await self.ask(model, messages, sampling, key=f"{key}half")
        return Fitting(reply, messages, fitted.shortened)

    async def choose(self, model: str, choice: Choice) -> Letters:
        """The letters' probabilities; the call is named by `path`. What the model said before is shortened at its end
        where the window has no room for all of it.

        Raises:
            CallError, ModelAbsent: as `Caller.choose`.
            StageError: the row had given the model up.
        """
        if self.rest is not None:
            self.rest.check(model)
        around = Message(role="user", content=choice.opening + choice.question)
        fitted = fit_texts(self.windows.get(model), [*choice.messages, around], [choice.said], max_tokens=1)
        return await self.caller.choose(self.path, model, replace(choice, said=fitted.texts[0]))

    async def score(self, model: str, answered: Conversation) -> Scalar:
        """A reward model's number for a conversation that ends with an answer; the call is named by `path`. Nothing is
        shortened: a number for half of an answer is no number for the answer.

        Raises:
            CallError, ModelAbsent: as `Caller.score`.
            StageError: the row had given the model up.
        """
        if self.rest is not None:
            self.rest.check(model)
        return await self.caller.score(self.path, model, answered)
