"""Reasons why a call to a model fails."""

from enum import StrEnum


class Reason(StrEnum):
    """Why a call failed. Manifests count by reason, so the set stays small."""

    CONTEXT_LENGTH = "context-length"
    """The prompt does not fit into the model's context window."""
    REFUSED = "refused"
    """The endpoint's content filter declined to answer."""
    BAD_REQUEST = "bad-request"
    EMPTY_ANSWER = "empty-answer"
    """No text, a thought without an answer, or a call of a tool in place of one."""
    BROKEN_TEXT = "broken-text"
    """The answer holds half of a character (a lone surrogate), which neither JSON nor Parquet can carry."""
    CUT_ANSWER = "cut-answer"
    """The answer ended at maxTokens, and `whenCut` says Fail."""
    TIMEOUT = "timeout"
    """No answer within the deadline, all tries together."""
    SERVER_ERROR = "server-error"
    """Every try got an error or something unreadable from the server."""
    UNAUTHORISED = "unauthorised"
    NO_SUCH_MODEL = "no-such-model"
    NO_SYSTEM_ROLE = "no-system-role"
    """The chat template has no system role; the pool folds the system message and asks again."""
    BAD_SCORE = "bad-score"
    """A reward model's answer is not one finite number."""
    COPIED_MARK = "copied-mark"
    """The answer holds a line that we put around or behind a draft: it copies what it was shown."""


TRANSIENT = frozenset({Reason.TIMEOUT, Reason.SERVER_ERROR})
"""They may pass, so the ledger does not keep them and another attempt asks again."""


FATAL = frozenset({Reason.UNAUTHORISED, Reason.NO_SUCH_MODEL})
"""They end the job."""
