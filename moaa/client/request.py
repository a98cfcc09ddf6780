"""The canonical request: what is asked, of whom, with which sampling and seed, and its hash. Pure.

The hash is a call's identity in the ledger together with row and path. It covers everything that shapes the answer:
messages, sampling, run seed and key, and of the model what the fingerprint holds of it (`answering_digest` of
`moaa.plan.fingerprint`: weights, serving arguments, context window). Its name, address and replicas are not in it, so
that renaming a model or moving its server re-sends nothing. Two identical proposers have different paths, so they never
share an answer.
"""

import hashlib
import json
from dataclasses import dataclass
from decimal import Decimal

from moaa.api.base import decimal_text
from moaa.conversation import Conversation


@dataclass(frozen=True)
class ChatRequest:
    """One chat completion as it is sent."""

    messages: Conversation
    temperature: Decimal
    top_p: Decimal
    max_tokens: int
    seed: int
    """Of the sampler; see `sampling_seed`."""

    def body(self, *, served_name: str, messages: Conversation) -> dict[str, object]:
        """The JSON body. `messages` are the request's own, or folded for a model without a system role."""
        return {
            "model": served_name,
            "messages": list(messages),
            "temperature": float(self.temperature),
            "top_p": float(self.top_p),
            "max_tokens": self.max_tokens,
            "seed": self.seed,
        }


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
