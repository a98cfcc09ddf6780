"""The canonical request: what is asked, of whom, with which sampling and seed, and its hash. Pure.

With row and path, the hash is a call's identity in the ledger. It covers all that shapes the answer: messages,
sampling, run seed, key, and what the fingerprint holds of the model (`moaa.plan.digests.answering_digest`). Its name,
address and replicas are not in it, so that renaming a model or moving its server re-sends nothing. Two identical
proposers have different paths, so they never share an answer.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from moaa.api.base import decimal_text
from moaa.api.models import Parameter
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


PLAIN = Dialect()
"""Every parameter is sent, under the API's names."""


@dataclass(frozen=True)
class ChatRequest:
    """One chat completion as it is sent."""

    messages: Conversation
    temperature: Decimal
    top_p: Decimal
    max_tokens: int
    seed: int
    """Of the sampler; see `sampling_seed`."""

    def body(self, *, served_name: str, messages: Conversation, dialect: Dialect = PLAIN) -> dict[str, object]:
        """The JSON body. `messages` are the request's own, or folded for a model without a system role."""
        values: dict[Parameter, float | int] = {
            Parameter.TEMPERATURE: float(self.temperature),
            Parameter.TOP_P: float(self.top_p),
            Parameter.MAX_TOKENS: self.max_tokens,
            Parameter.SEED: self.seed,
        }
        sampling = {
            name: values[parameter]
            for parameter, name in dialect.names.items()
            if not (parameter in dialect.unless_one and values[parameter] == 1)
        }
        return {"model": served_name, "messages": list(messages), **sampling, **dialect.extra}


def sampling_seed(*, run_seed: int, row: str, path: str, key: str) -> int:
    """A sampler's seed in [0, 2^31): equal for equal arguments, unrelated for different ones."""
    text = json.dumps([run_seed, row, path, key], ensure_ascii=False, separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:4], "big") >> 1


def request_document(request: ChatRequest, *, model_digest: str, run_seed: int, key: str) -> dict[str, object]:
    """What `request_hash` hashes; plain JSON with numbers in one spelling."""
    return {
        "model": model_digest,
        "messages": [{"role": m["role"], "content": m["content"]} for m in request.messages],
        "temperature": decimal_text(request.temperature),
        "topP": decimal_text(request.top_p),
        "maxTokens": request.max_tokens,
        "seed": run_seed,
        "key": key,
    }


def request_hash(request: ChatRequest, *, model_digest: str, run_seed: int, key: str) -> str:
    """sha256 of the canonical JSON of `request_document`, in hexadecimal."""
    document = request_document(request, model_digest=model_digest, run_seed=run_seed, key=key)
    text = json.dumps(document, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    # Text from the wild may hold lone surrogates, which UTF-8 proper cannot carry.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
