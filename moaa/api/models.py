"""Models that take part: where their weights come from and how they are served, or who serves them for us."""

from typing import Annotated, Any

from pydantic import Field, StringConstraints

from moaa.api.base import ModelName, NonNegative, Positive, SecretKey, Spec

SourceUri = Annotated[str, StringConstraints(pattern=r"^(hf|s3|file|pvc)://[^\x00-\x1f\x7f]+$", max_length=1024)]


class Price(Spec):
    """What a foreign endpoint charges."""

    input_usd_per_million: Annotated[NonNegative, Field(le=1_000_000)]
    """US dollars for a million prompt tokens."""
    output_usd_per_million: Annotated[NonNegative, Field(le=1_000_000)]
    """US dollars for a million completion tokens."""


class Endpoint(Spec):
    """A model that somebody else serves behind an OpenAI-compatible API."""

    url: Annotated[str, StringConstraints(pattern=r"^https?://.+", max_length=1024)]
    """Base URL up to and including /v1."""
    model: Annotated[str, StringConstraints(min_length=1, max_length=253)]
    """The name the endpoint knows the model by."""
    secret: SecretKey | None = None
    """Where the API key is; sent as a Bearer token."""
    max_concurrency: Annotated[int, Field(ge=1, le=4096)] = 32
    """Most requests in flight."""
    max_model_len: Annotated[int, Field(ge=64, le=100_000_000)] = 8192
    """Context window in tokens; longer prompts are shortened or refused before they are sent."""
    price: Price | None = None


class Serving(Spec):
    """How vLLM serves the model. None of it but `args` and `maxModelLen` changes what the model answers."""

    gpus: Annotated[int, Field(ge=0, le=64)] = 1
    """GPUs a replica; 0 serves on the CPU."""
    replicas: Annotated[int, Field(ge=1, le=256)] = 1
    max_model_len: Annotated[int, Field(ge=64, le=100_000_000)] = 8192
    """Context window in tokens."""
    startup_minutes: Annotated[int, Field(ge=1, le=24 * 60)] = 30
    """Minutes from scheduling until the first completion must succeed."""
    memory_gib: Annotated[Positive, Field(le=65536)] | None = None
    """Memory of one replica when it is served on a CPU; None: 1.5 GiB, twice the weights, and room for 16 full
    conversations."""
    max_concurrency: Annotated[int, Field(ge=1, le=4096)] = 256
    """Most requests in flight a replica."""
    args: Annotated[list[Annotated[str, StringConstraints(max_length=512)]], Field(max_length=64)] = []
    """Further vLLM arguments, for example ["--quantization", "fp8"]."""
    template: dict[str, Any] = {}
    """Pod template overrides, merged over the operator's (Kubernetes only)."""


class Model(Spec):
    """A model, declared once under a name that other fields use."""

    name: ModelName
    source: SourceUri | None = None
    """hf://owner/name, s3://bucket/prefix, file:///folder or pvc://claim/folder."""
    revision: Annotated[str, StringConstraints(min_length=1, max_length=128)] | None = None
    """Branch, tag or commit of an hf:// source; None: the default branch, pinned to its commit at the first run."""
    token_secret: SecretKey | None = None
    """Hub token of a gated hf:// source."""
    license: Annotated[str, StringConstraints(max_length=128)] | None = None
    """Licence of the weights, carried into manifests and the report."""
    serving: Serving = Serving()
    endpoint: Endpoint | None = None

    @property
    def max_model_len(self) -> int:
        return self.endpoint.max_model_len if self.endpoint else self.serving.max_model_len
