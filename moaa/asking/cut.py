"""Whether an answer that ended at its limit of tokens counts, and how it is shown. Pure."""

from moaa.api.mixture import FinalSampling, Sampling, WhenCut
from moaa.asking.caller import Reply
from moaa.asking.reasons import Reason
from moaa.errors import CallError

ENDED_MARK = "\n[... the answer ended here at its length limit ...]"


def unless_cut(reply: Reply, sampling: Sampling | FinalSampling, *, model: str) -> Reply:
    """The reply, unless it is cut and `sampling.when_cut` says Fail.

    Raises:
        CallError: `cut-answer`.
    """
    if reply.is_cut and sampling.when_cut is WhenCut.FAIL:
        raise CallError(
            Reason.CUT_ANSWER,
            f"model {model!r}: the answer ended at its limit of tokens ({reply.completion_tokens}; maxTokens "
            f"{sampling.max_tokens}); raise maxTokens, or accept such answers with whenCut: Use",
        )
    return reply


def whole(reply: Reply, max_tokens: int, *, model: str) -> Reply:
    """The reply, unless it is cut: of an answer that is taught as it is.

    Raises:
        CallError: `cut-answer`.
    """
    if reply.is_cut:
        raise CallError(
            Reason.CUT_ANSWER,
            f"model {model!r}: the answer ended at its limit of tokens ({reply.completion_tokens}; maxTokens "
            f"{max_tokens}), and nothing cut is taught; raise maxTokens",
        )
    return reply


def shown(reply: Reply) -> str:
    """The text for another model to read. A cut one says so at its end."""
    return reply.text + ENDED_MARK if reply.is_cut else reply.text
