"""The canonical request: what is asked, of whom, with which sampling and seed, and its hash. Pure.

With row and path, the hash is a call's identity in the ledger. It covers all that shapes the answer: messages,
sampling, run seed, key, and what the fingerprint holds of the model (`moaa.plan.digests.answering_digest`). Its name,
address and replicas are not in it, so that renaming a model or moving its server re-sends nothing. Two identical
proposers have different paths, so they never share an answer.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Protocol, TypeVar
from urllib.parse import urlsplit

from moaa.api.base import decimal_text
from moaa.api.models import Parameter
from moaa.asking.caller import Reply
from moaa.client.outcome import Permanent, Retry
from moaa.client.response import parse_completion
from moaa.conversation import Conversation

NAMES: Mapping[Parameter, str] = {
    Parameter.TEMPERATURE: "temperature",
    Parameter.TOP_P: "top_p",
    Parameter.MAX_TOKENS: "max_tokens",
    Parameter.SEED: "seed",
}
"""The API's own."""


@dataclass(frozen=True)
class Dialect:
    """How a server wants to be asked."""

    names: Mapping[Parameter, str] = field(default_factory=lambda: dict(NAMES))
    """Under which name each parameter is sent; one that is missing is never sent."""
    unless_one: frozenset[Parameter] = frozenset()
    """Left out while they are 1, the API's own default."""
    extra: Mapping[str, object] = field(default_factory=dict)
    """Further fields of the body."""
    goes_on: bool = False
    """Whether the server goes on with a reply that was begun (vLLM's `continue_final_message`)."""

    def sampling(self, values: Mapping[Parameter, float | int]) -> dict[str, float | int]:
        """Fields of the body for the parameters' values."""
        return {
            name: values[parameter]
            for parameter, name in self.names.items()
            if not (parameter in self.unless_one and values[parameter] == 1)
        }


PLAIN = Dialect()
"""Every parameter is sent, under the API's names."""


ResultT = TypeVar("ResultT", covariant=True)


class Request(Protocol[ResultT]):
    """Something to ask of a model, and how to read what comes back."""

    @property
    def messages(self) -> Conversation:
        """The prompt."""
        ...

    @property
    def kind(self) -> str:
        """What it has in common with others, in words: a server that took one of a kind refuses none of its
        parameters."""
        ...

    def about(self, messages: Conversation) -> "Request[ResultT]":
        """The same request about another prompt."""
        ...

    def address(self, base: str) -> str:
        """Where it is asked, given a server's base URL up to /v1. A query string stays behind the path."""
        ...

    def body(self, *, served_name: str, messages: Conversation, dialect: Dialect) -> dict[str, object]:
        """The JSON body. `messages` are the request's own, or folded for a model without a system role."""
        ...

    def read(self, payload: bytes) -> ResultT | Permanent | Retry:
        """What a response with status 200 holds."""
        ...

    def document(self) -> dict[str, object]:
        """All that shapes the answer, apart from the model, the run's seed and the key: plain JSON, numbers in one
        spelling."""
        ...


@dataclass(frozen=True)
class ChatRequest:
    """One chat completion as it is sent."""

    messages: Conversation
    temperature: Decimal
    top_p: Decimal
    max_tokens: int
    seed: int
    """Of the sampler; see `sampling_seed`."""

    @property
    def kind(self) -> str:
        """As `Request.kind`."""
        return f"at temperature {self.temperature} and top-p {self.top_p}"

    def about(self, messages: Conversation) -> "ChatRequest":
        """As `Request.about`."""
        return replace(self, messages=messages)

    def address(self, base: str) -> str:
        """As `Request.address`."""
        return completions_url(base)

    def body(self, *, served_name: str, messages: Conversation, dialect: Dialect = PLAIN) -> dict[str, object]:
        """As `Request.body`."""
        sampling = dialect.sampling(
            {
                Parameter.TEMPERATURE: float(self.temperature),
                Parameter.TOP_P: float(self.top_p),
                Parameter.MAX_TOKENS: self.max_tokens,
                Parameter.SEED: self.seed,
            }
        )
        return {"model": served_name, "messages": list(messages), **sampling, **dialect.extra}

    def read(self, payload: bytes) -> Reply | Permanent | Retry:
        """As `Request.read`."""
        return parse_completion(payload, max_tokens=self.max_tokens)

    def document(self) -> dict[str, object]:
        """As `Request.document`."""
        return {
            "messages": plain(self.messages),
            "temperature": decimal_text(self.temperature),
            "topP": decimal_text(self.top_p),
            "maxTokens": self.max_tokens,
        }


def completions_url(base: str) -> str:
    """Where completions are asked for; the base URL's query string stays behind the path."""
    parts = urlsplit(base)
    return parts._replace(path=f"{parts.path.rstrip('/')}/chat/completions").geturl()


def sampling_seed(*, run_seed: int, row: str, path: str, key: str) -> int:
    """A sampler's seed in [0, 2^31): equal for equal arguments, unrelated for different ones."""
    text = json.dumps([run_seed, row, path, key], ensure_ascii=False, separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:4], "big") >> 1


def plain(messages: Conversation) -> list[dict[str, str]]:
    """Messages as JSON has them, without what else a row's may hold."""
    return [{"role": m["role"], "content": m["content"]} for m in messages]


def request_document(request: Request[object], *, model_digest: str, run_seed: int, key: str) -> dict[str, object]:
    """What `request_hash` hashes; plain JSON with numbers in one spelling."""
    return {"model": model_digest, "seed": run_seed, "key": key, **request.document()}


def request_hash(request: Request[object], *, model_digest: str, run_seed: int, key: str) -> str:
    """sha256 of the canonical JSON of `request_document`, in hexadecimal."""
    document = request_document(request, model_digest=model_digest, run_seed=run_seed, key=key)
    text = json.dumps(document, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    # Text from the wild may hold lone surrogates, which UTF-8 proper cannot carry.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
