"""What servers mean by their words: errors and ends of answers, as many vendors spell them. Pure.

An HTTP status says little: 400 stands for a long prompt, a filter, a bad key, a field that is not known. Where only the
words tell, those of several vendors are known. Where none match, the status decides and, in the pool, a canary.
"""

import re
from enum import Enum
from functools import lru_cache

_ACCOUNT = re.compile(
    r"""
    (invalid|incorrect|wrong|expired|revoked|missing|bad)[ _-](x-)?api[ _-]?key
    | api[ _-]?key[ '"\w.:*-]{0,80}(not[ ]valid|invalid|incorrect|expired|missing|not[ ]found|required|disabled|revoked)
    | (invalid|missing)[ _](authentication|credentials|(access|auth|bearer)[ _]token|subscription[ ]key)\b
    | authentication_error | unauthori[sz]ed | access[ ]denied[ ]due[ ]to[ ]invalid[ ]subscription
    | insufficient[ _](quota|credits?|balance|funds) | credit[ ]balance | (out[ ]of|no|not[ ]enough)[ ]credits?\b
    | billing[ _](hard[ _]limit|not[ _]active|account) | payment[ _]required | arrear | account[ ]balance
    | (account|organi[sz]ation|project|workspace|subscription|deployment|endpoint|key)\b.{0,60}
      \b(suspended|paused|deactivated|disabled|terminated|blocked|not[ ]active|inactive|on[ ]hold)\b
    """,
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
_FILTERED = re.compile(
    r"""
    content[ _-]?(filter|policy|management|moderation|blocked) | moderation | flagged | responsible[ _-]?ai
    | safety[ _](system|filter|reasons|policy) | usage[ ]polic | data_inspection_failed
    | (inappropriate|prohibited|unsafe|sensitive)[ _](content|data|information|words) | content[ ]exists[ ]risk
    | blocked[ ]by[ ].{0,40}(safety|guardrail|filter|policy) | guardrail
    """,
    re.IGNORECASE | re.VERBOSE,
)
_TOO_LONG = re.compile(
    r"""
    context[ _-]?(length|window|size|limit) | exceed_context | maximum[ ](model|input|prompt|sequence)[ ]length
    | max_model_len | too[ ]many[ ](input[ ]|prompt[ ])?tokens
    | (prompt|input|message|request|conversation)s?\b[^.:_]{0,40}(is|are)[ ]too[ ](long|large)
    | (input|prompt)[ ]token(s|[ ]count)?\b.{0,60}exceed | longer[ ]than[ ]the[ ](maximum|model|context)
    | `?inputs`?[ ]tokens.{0,40}must[ ]be[ ]<= | reduce[ ]the[ ]length[ ]of[ ](the|your)[ ](messages?|prompt|input)
    | range[ ]of[ ]input[ ]length | string[ _]above[ _]max[ _]length | when[ ]context[ ]the[ ]overflows
    | prompt[ ]contains[ ]\d+[ ]tokens
    """,
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
_NO_SYSTEM = re.compile(
    r"""
    system[ _-]?(role|message|prompt|instruction)s?\b.{0,40}(\bnot\b|n't\b|\bcannot\b|\bunsupported\b)
    | \bno[ ]system[ _-]?(role|message|prompt)
    | (not|n't|cannot|no)\b[^.]{0,20}\bsupport[^.]{0,30}['"`]?\bsystem\b
    | developer[ ]instruction[ ]is[ ]not[ ]enabled | unsupported[ ]role:?[ ]['"`]?system
    | (invalid|unknown|unexpected)[ ]role:?[ ]['"`]?system
    | only[ ].{0,12}user.{0,12}[ ]and[ ].{0,12}assistant.{0,12}[ ]roles
    | roles?[ ]must[ ]alternate | conversation[ ]roles
    """,
    re.IGNORECASE | re.VERBOSE,
)
_NO_MODEL = re.compile(
    r"""
    model[ _]not[ _]found | (unknown|invalid|no[ ]such)[ _]model\b | invalid_model | not[ ]a[ ]valid[ ]model
    | \bmodel\b.{0,120}\b(does[ ]not[ ]exist|not[ ]found|is[ ]not[ ]available|has[ ]been[ ]decommissioned)
    """,
    re.IGNORECASE | re.VERBOSE,
)
_BUSY = re.compile(
    r"rate[ _-]?limit|too[ _]many[ _]requests|overloaded|(server|model|engine)\b.{0,20}\bis busy|resource_exhausted"
    r"|capacity exceeded|throttl",
    re.IGNORECASE,
)
_SPENT = re.compile(
    r"insufficient[ _](quota|credits?|balance|funds)|billing[ _]hard[ _]limit|credit balance|(out of|no) credits?\b"
    r"|account balance|arrear",
    re.IGNORECASE,
)
# vLLM answers every request with this 500 between the death of its engine and its own exit.
_DYING = re.compile(r"enginecore encountered|enginedeaderror|engine is dead", re.IGNORECASE)


class Meaning(Enum):
    """What an error is about, by its words."""

    ACCOUNT = "account"
    """The key, the credit, a pause: every call meets it."""
    SPENT = "spent"
    """The credit alone: with status 429 only this tells it from a busy server."""
    NO_MODEL = "no model"
    FILTERED = "filtered"
    TOO_LONG = "too long"
    NO_SYSTEM = "no system role"
    BUSY = "busy"
    DYING = "dying"


_WORDS = {
    Meaning.DYING: _DYING,
    Meaning.SPENT: _SPENT,
    Meaning.FILTERED: _FILTERED,
    Meaning.ACCOUNT: _ACCOUNT,
    Meaning.TOO_LONG: _TOO_LONG,
    Meaning.NO_SYSTEM: _NO_SYSTEM,
    Meaning.NO_MODEL: _NO_MODEL,
    Meaning.BUSY: _BUSY,
}


def meanings(words: str) -> set[Meaning]:
    """Everything that the words of an error may be about."""
    return {meaning for meaning, pattern in _WORDS.items() if pattern.search(words)}


class Ending(Enum):
    """How an answer ended."""

    WHOLE = "whole"
    CUT = "cut"
    """It reached a limit of tokens."""
    FILTERED = "filtered"
    BROKEN = "broken"
    """The server gave up in mid-answer: worth another try."""
    TOOL = "tool"
    """The model called a tool, and none was offered."""
    UNTOLD = "untold"
    """No reason, or an unknown one; the number of tokens decides."""


_ENDINGS = (
    (Ending.TOOL, re.compile(r"tool|function")),
    (
        Ending.BROKEN,
        re.compile(r"abort|cancel|error|fail|interrupt|time.?out|overload|resource|rate.?limit|shut.?down"),
    ),
    (Ending.FILTERED, re.compile(r"filter|safety|recitation|block|prohibited|spii|moderat|refus|guardrail|sensitive")),
    (Ending.CUT, re.compile(r"length|max|limit|truncat|incomplete|window|context")),
    (Ending.WHOLE, re.compile(r"stop|eos|\bend|_end|complete|finish|done")),
)


def ending(reason: object) -> Ending:
    """What a `finish_reason` means: "stop", "eos_token", "MAX_TOKENS", "content_filter", null, …"""
    return _meaning(reason.lower()) if isinstance(reason, str) else Ending.UNTOLD


@lru_cache(maxsize=256)
def _meaning(word: str) -> Ending:
    return next((meaning for meaning, pattern in _ENDINGS if pattern.search(word)), Ending.UNTOLD)
