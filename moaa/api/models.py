"""Models that take part: where their weights come from and how they are served, or who serves them for us."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from moaa.api.addresses import EndpointUrl, ModelUri
from moaa.api.base import JsonObject, ModelName, NonNegative, Positive, SecretKey, Spec


class Price(Spec):
    """What a foreign endpoint charges."""

    input_usd_per_million: Annotated[NonNegative, Field(le=1_000_000)]
    """US dollars for a million prompt tokens."""
    output_usd_per_million: Annotated[NonNegative, Field(le=1_000_000)]
    """US dollars for a million completion tokens."""


class Parameter(StrEnum):
    """What a request may say of sampling."""

    TEMPERATURE = "temperature"
    TOP_P = "topP"
    MAX_TOKENS = "maxTokens"
    SEED = "seed"


FieldName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$", max_length=64)]


class ParameterNames(Spec):
    """What an endpoint calls the parameters of sampling; one that is named is always sent."""

    temperature: FieldName | None = None
    """None: `temperature`, left out while it is 1. Name it where a server's default is another (Ollama: 0.8)."""
    top_p: FieldName | None = None
    """None: `top_p`, left out while it is 1. Name it where a server's default is another (llama.cpp: 0.95)."""
    max_tokens: FieldName | None = None
    """None: `max_tokens`. OpenAI's reasoning models know `max_completion_tokens` only."""
    seed: FieldName | None = None
    """None: `seed`. Mistral knows `random_seed`."""


class ModelKind(StrEnum):
    """What a model makes of a conversation."""

    CHAT = "Chat"
    """It writes the next turn."""
    REWARD = "Reward"
    """It gives the whole one number, higher where the answer is better: a sequence classifier with one label, served by
    vLLM for pooling."""


class Header(Spec):
    """A header of every request. It says who asks, not what, and counts in no fingerprint."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$", max_length=64)]
    """Of the header."""
    value: (
        Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$", max_length=512)] | None
    ) = None
    """Plain text that everybody may read."""
    secret: SecretKey | None = None
    """Where the value is, for example a key that goes into `api-key`."""


class Endpoint(Spec):
    """A model that somebody else serves behind an OpenAI-compatible API."""

    url: EndpointUrl
    """Base URL: what stands before /chat/completions, usually up to /v1. A query string is kept (?api-version=…)."""
    model: Annotated[str, StringConstraints(min_length=1, max_length=253)]
    """The name the endpoint knows the model by."""
    secret: SecretKey | None = None
    """Where the API key is; sent as a Bearer token."""
    max_concurrency: Annotated[int, Field(ge=1, le=4096)] = 2048
    """Most requests in flight. It starts with 32 and doubles while that brings more answers a second; throttling halves
    it."""
    requests_per_minute: Annotated[int, Field(ge=1, le=10**8)] | None = None
    """Most requests a minute, kept to by all pods of a stage together, each its part; stages side by side each keep to
    it. None: as headers of answers tell (x-ratelimit-remaining-requests, Retry-After)."""
    tokens_per_minute: Annotated[int, Field(ge=1, le=10**12)] | None = None
    """Most prompt and completion tokens a minute, in the same way. What an answer took is known when it is there, so
    requests are let through by the mean of those before."""
    max_model_len: Annotated[int, Field(ge=64, le=100_000_000)] = 8192
    """Context window in tokens; longer prompts are shortened or refused."""
    price: Price | None = None
    omit: Annotated[list[Parameter], Field(max_length=4)] = []
    """Parameters that are never sent; the endpoint then samples by its own defaults."""
    names: ParameterNames = ParameterNames()
    headers: Annotated[list[Header], Field(max_length=8)] = []
    """Further headers of every request."""

    @property
    def secrets(self) -> list[SecretKey]:
        """Every credential it needs."""
        return [s for s in (self.secret, *(header.secret for header in self.headers)) if s is not None]


MAX_NODES = 16
"""Machines of one server."""


class Serving(Spec):
    """How vLLM serves the model. None of it but `args` and `maxModelLen` changes what the model answers."""

    gpus: Annotated[int, Field(ge=0, le=64)] = 1
    """GPUs a replica; 0 serves on the CPU."""
    nodes: Annotated[int, Field(ge=1, le=MAX_NODES)] = 1
    """Machines that a replica is spread over, each with an equal part of `gpus`: tensor parallel on each, pipeline
    parallel over all. More than 1 needs a cluster with LeaderWorkerSet."""
    replicas: Annotated[int, Field(ge=1, le=256)] = 1
    """Servers of this model side by side; requests are spread over them."""
    max_model_len: Annotated[int, Field(ge=64, le=100_000_000)] = 8192
    """Context window in tokens."""
    startup_minutes: Annotated[int, Field(ge=1, le=24 * 60)] = 30
    """Minutes from scheduling until the first completion must succeed."""
    memory_gib: Annotated[Positive, Field(le=65536)] | None = None
    """Memory of a replica on a CPU; None: 1.5 GiB, twice the weights, and room for 16 full conversations."""
    max_concurrency: Annotated[int, Field(ge=1, le=4096)] = 256
    """Most requests in flight a replica."""
    args: Annotated[list[Annotated[str, StringConstraints(max_length=512)]], Field(max_length=64)] = []
    """Further vLLM arguments, such as ["--quantization", "fp8"]. With ["--reasoning-parser", "qwen3"] vLLM tells
    thoughts from answers; without, MoAA does by the tags."""
    template: dict[str, Any] = {}
    """Pod template overrides, merged over the operator's (Kubernetes only)."""


TEMPLATE_ARGUMENTS_OF_OURS = (
    "messages", "tools", "documents", "add_generation_prompt", "continue_final_message", "chat_template", "tokenize",
    "return_dict", "strftime_now",
)  # fmt: skip
"""Arguments of a chat template that a request decides, or the server's clock."""


class Model(Spec):
    """A model, declared once under a name that other fields use."""

    name: ModelName
    """What other fields call it."""
    kind: ModelKind = ModelKind.CHAT
    """Reward: a judge's rewardModel names it, nothing else does. It is asked at /pooling, beside /v1."""
    source: ModelUri | None = None
    """hf://owner/name, s3://bucket/prefix, file:///folder or pvc://claim/folder."""
    revision: Annotated[str, StringConstraints(min_length=1, max_length=128)] | None = None
    """Branch, tag or commit of an hf:// source; None: the default branch, pinned at the first run. Of any other source
    a word of yours: another one takes edited files as they are now."""
    token_secret: SecretKey | None = None
    """Hub token of a gated hf:// source."""
    license: Annotated[str, StringConstraints(max_length=128)] | None = None
    """Licence of the weights, carried into manifests and the report."""
    chat_template: Annotated[str, StringConstraints(min_length=1, max_length=40960)] | None = None
    """Jinja chat template in place of the model's own, in serving and in training alike: its text, or file://./name.jinja
    in a file that `moaa` reads."""
    chat_template_args: Annotated[dict[str, bool | int | str], Field(max_length=16)] = {}
    """Arguments of the chat template, in serving and in training alike, such as {enable_thinking: false}: true, false,
    whole numbers or texts."""
    serving: Serving = Serving()
    endpoint: Endpoint | None = None
    extra_body: JsonObject = {}
    """Further fields of every request, part of what a call is: {top_k: 20}, or for vLLM and SGLang
    {chat_template_kwargs: {enable_thinking: false}}."""

    @property
    def max_model_len(self) -> int:
        return self.endpoint.max_model_len if self.endpoint else self.serving.max_model_len
