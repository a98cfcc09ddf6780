"""Calls whose prompt holds other models' texts, made to fit the asked model's context window."""

from collections.abc import Callable, Sequence

from moaa.api.mixture import JudgeModel, Sampling
from moaa.asking.caller import Caller, Reply
from moaa.asking.reasons import Reason
from moaa.asking.windows import Windows, fit_texts
from moaa.conversation import Conversation
from moaa.errors import CallError

Build = Callable[[Sequence[str]], Conversation]
"""The prompt's messages from its texts; must be pure."""


async def call_fitted(
    caller: Caller,
    path: str,
    model: str,
    texts: Sequence[str],
    build: Build,
    sampling: Sampling | JudgeModel,
    *,
    windows: Windows,
    key: str = "",
) -> tuple[Reply, int]:
    """The reply to `build(texts)`, with `texts` shortened where they do not fit, and how many were shortened.

    When the server still finds the prompt too long (counts are bounds for endpoints of others), the texts are halved
    once; that second call has the key `<key>half`.

    Raises:
        CallError, ModelAbsent: as `Caller.call`.
    """
    window = windows.get(model)
    fixed = build([""] * len(texts))
    fitted = fit_texts(window, fixed, texts, max_tokens=sampling.max_tokens)
    try:
        reply = await caller.call(path, model, build(fitted.texts), sampling, key=key)
    except CallError as error:
        if error.reason != Reason.CONTEXT_LENGTH or not texts:
            raise
        fitted = fit_texts(window, fixed, texts, max_tokens=sampling.max_tokens, scale=0.5)
        reply = await caller.call(path, model, build(fitted.texts), sampling, key=f"{key}half")
    return reply, fitted.shortened
