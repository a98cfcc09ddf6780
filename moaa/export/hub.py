"""A hub as exports see it: names of repositories, who pushes, and its refusals in words that say what to do.

The token is the Hub library's own (HF_TOKEN, or a login); the hub is HF_ENDPOINT or huggingface.co. Neither a token nor
an address's signature is ever in an error.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub import HfApi
from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError, whichever HTTP library is beneath
    BadRequestError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
)
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # documented, but not listed

from moaa.errors import StoreError, UsageError

MAX_CHARS = 400
"""Of a hub's own words in an error."""
_ADDRESS = re.compile(r"(https?://[^\s?'\"]+)\?[^\s'\"]*")
"""Addresses for uploads carry a signature that lets anybody upload."""
_REFUSALS = {
    401: "the hub does not take the token; set HF_TOKEN to one that may write, or sign in with `hf auth login`",
    402: "the owner's plan does not allow this",
    403: "the token may not write there; name an owner that it may write for, or give it the right",
    412: "somebody has committed there in the meantime; look at it, then run the same command again",
}


def repo_name(owner_and_name: str, suffix: str = "") -> str:
    """The repository of one export. Raises UsageError: it is no name that a hub takes."""
    name = f"{owner_and_name}{suffix}"
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise UsageError(f"--push-to-hub {owner_and_name}: {_one_line(str(error))}") from error
    if name.count("/") != 1:
        raise UsageError(f"--push-to-hub {owner_and_name}: write an owner and a name, for example me/my-student")
    return name


def signed_in(api: HfApi) -> str:
    """The account that pushes.

    Raises:
        UsageError: there is no token, or the hub does not take it, or it may only read.
        StoreError: the hub does not answer.
    """
    with told(api.endpoint):
        known = api.whoami()
    role = ((known.get("auth") or {}).get("accessToken") or {}).get("role")
    if role == "read":
        raise UsageError("the token may only read; --push-to-hub needs one that may write")
    return str(known["name"])


@contextmanager
def told(what: str) -> Iterator[None]:
    """The library's errors in our words and the hub's own; `what` was asked for.

    Raises:
        UsageError: the hub refuses, and a person has to act.
        StoreError: it does not answer as it should.
    """
    try:
        yield
    except LocalTokenNotFoundError as error:
        raise UsageError(f"{what}: a push needs a token; set HF_TOKEN, or sign in with `hf auth login`") from error
    except OfflineModeIsEnabled as error:
        raise UsageError(f"{what}: HF_HUB_OFFLINE is set, so nothing can be pushed; unset it") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status in _REFUSALS:
            raise UsageError(f"{what}: {_REFUSALS[status]} (the hub: {_own_words(error)})") from error
        raise StoreError(f"{what}: the hub did not answer as expected: {_own_words(error)}") from error
    except ValueError as error:
        if isinstance(error.__cause__, BadRequestError):
            raise UsageError(f"{what}: the hub does not take the card: {_one_line(str(error))}") from error
        raise StoreError(f"{what}: the hub did not answer as expected: {_one_line(str(error))}") from error
    except (HTTPError, OSError, RuntimeError) as error:
        cause = _one_line(str(error.__cause__ or error))
        raise StoreError(f"{what}: the push broke off: {cause}; run the same command again to go on") from error


def _own_words(error: HfHubHTTPError) -> str:
    return _one_line(error.server_message or str(error))


def _one_line(text: str) -> str:
    line = " ".join(_ADDRESS.sub(r"\1", text).split())
    return line if len(line) <= MAX_CHARS else f"{line[:MAX_CHARS]}…"
