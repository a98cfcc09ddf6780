"""The MoAA resource: the one definition of what a user may ask for.

The CRD, `moaa validate`, the plan, both executors and every job read these classes. What a single field can say about
itself is checked here; rules that join fields live in `moaa.api.reading.check`, which reports every mistake at once.
"""

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from moaa.api.addresses import ServerUrl, StoreUri
from moaa.api.anchors import Anchors
from moaa.api.base import STUDENT, Fraction, ModelName, NonNegative, Positive, Spec
from moaa.api.data import Data
from moaa.api.evaluation import Evaluation
from moaa.api.mixture import Judge, Mixture
from moaa.api.models import Model
from moaa.api.prompts import Prompts
from moaa.api.training import Training

API_VERSION = "moaa.dev/v1alpha1"
KIND = "MoAA"


class Metadata(Spec):
    """Kubernetes object metadata, as far as a file may carry it."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z]([a-z0-9-]*[a-z0-9])?$", max_length=24)]
    """At most 24 characters: the names of RayJobs derive from it."""
    namespace: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", max_length=63)] = "default"
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class StorageSecret(Spec):
    """A Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, where there is no cloud identity.

    `moaa run` reads both from the environment.
    """

    name: Annotated[str, StringConstraints(min_length=1, max_length=253)]
    """Of the Secret."""


class WeightsFrom(StrEnum):
    """Where servers, trainings and other jobs read models of the Hub."""

    STORE = "Store"
    """From the store, into which resolve copies each model once."""
    HUB = "Hub"
    """Each machine, on a cluster each pod, reads the Hub."""


class Storage(Spec):
    """Where everything durable lives."""

    uri: StoreUri
    """s3://bucket/prefix, or file:///folder on one machine."""
    endpoint: ServerUrl | None = None
    """Of an S3 server that is not AWS: http(s)://host:port, with a path where the server has one."""
    region: Annotated[str, StringConstraints(max_length=64)] | None = None
    """Of the bucket; None: as the environment or the cloud says."""
    secret: StorageSecret | None = None
    weights: Annotated[WeightsFrom | None, Field(exclude_if=lambda value: value is None)] = None
    """Where hf:// models are read. Store: resolve copies each into the store, once. Hub: every server and training
    reads the Hub. Unset: Store for s3://, Hub for a folder."""

    @property
    def holds_weights(self) -> bool:
        """The store has a copy of every hf:// model, made before the first server starts."""
        chosen = self.weights or (WeightsFrom.STORE if self.uri.startswith("s3://") else WeightsFrom.HUB)
        return chosen is WeightsFrom.STORE


class Schedule(StrEnum):
    """How many of a stage's models are served at a time."""

    TOGETHER = "Together"
    """All models of a stage are served at once."""
    IN_TURN = "InTurn"
    """One model at a time; rows wait in the ledger for the next."""


class Replicas(StrEnum):
    """Who says how many servers a model gets."""

    DECLARED = "Declared"
    """As many servers of each model as its serving.replicas says."""
    AUTO = "Auto"
    """More of them where a stage has the most work, within maxGpus; serving.replicas of a model is then the least."""


class ServingPolicy(Spec):
    """When models are served, and by how many servers."""

    schedule: Schedule = Schedule.TOGETHER
    replicas: Replicas = Replicas.DECLARED
    """Servers of each model. Declared: as its serving.replicas says. Auto: more where a stage has the most work, within
    maxGpus; its serving.replicas is then the least."""
    max_gpus: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Most GPUs that the servers of the run hold at once, trainings aside. Needed for replicas Auto."""
    schedule_minutes: Annotated[int, Field(ge=1, le=7 * 24 * 60)] = 60
    """Minutes that a stage's servers or training pods may wait for machines before all are released."""


class Start(StrEnum):
    """Which student an iteration trains."""

    PROMOTED = "Promoted"
    """An iteration trains the last promoted student."""
    BASE = "Base"
    """Every iteration trains the declared student from the start again."""


class Failures(Spec):
    """What is tolerated before a stage fails."""

    max_fraction: Fraction = Decimal("0.01")
    """Part of a stage's rows that may fail for good; of stage-data, of each source's."""
    max_member_fraction: Fraction = Decimal("0.5")
    """Part of its tries that a proposer or judge may fail."""
    retries: Annotated[int, Field(ge=0, le=20)] = 3
    """Attempts of a stage after the first. One that leaves more in the store than those before it, by a percent of the
    work, begins a new count."""


class Cost(Spec):
    """Prices for the estimate and the report."""

    gpu_hour_usd: Annotated[NonNegative, Field(le=100_000)] | None = None
    """US dollars for one GPU for one hour."""


class Amount(Spec):
    """Most that may be spent. What is not said has no limit."""

    dollars: Annotated[Positive, Field(le=10**9)] | None = None
    """US dollars: GPU-hours at cost.gpuHourUsd, and calls of endpoints at their prices. Needs those prices."""
    gpu_hours: Annotated[Positive, Field(le=10**8)] | None = None
    """GPUs that stages hold × hours at work; the minutes in which servers start are not in it."""
    tokens: Annotated[int, Field(ge=1, le=10**15)] | None = None
    """Prompt and completion tokens of all calls, of own servers and of endpoints."""


class Budget(Amount):
    """Limits of the run. A stage starts if its estimate fits into what is left; it is stopped at the limit, and goes on
    from there once the limit is raised."""

    per_iteration: Amount = Amount()
    """The same for every iteration by itself. Iteration 0 measures what is there before training."""

    @property
    def is_given(self) -> bool:
        return self != Budget()


class MoAASpec(Spec):
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    """Permutes the data; sampled answers take their seeds from it."""
    storage: Storage
    service_account_name: Annotated[str, StringConstraints(max_length=253)] = "moaa-run"
    """Every pod of the run uses it (Kubernetes only)."""
    models: Annotated[list[Model], Field(min_length=1, max_length=64)]
    student: ModelName
    """The declared model that is trained."""
    mixture: Mixture | None = None
    """Needed where answers come from the mixture."""
    judge: Judge | None = None
    """Needed for dpo."""
    anchors: Anchors | None = None
    """Unset: judges are not measured."""
    data: Data
    training: Training
    evaluation: Evaluation = Evaluation()
    iterations: Annotated[int, Field(ge=1, le=1000)] = 1
    """Rounds of data, training and promotion. The paper has one; more are our extension."""
    start: Start = Start.PROMOTED
    serving: ServingPolicy = ServingPolicy()
    prompts: Prompts = Prompts()
    failures: Failures = Failures()
    cost: Cost = Cost()
    budget: Budget = Budget()
    suspend: bool = False
    """Stop after what is running is durable; free every GPU."""

    def model(self, name: str) -> Model:
        """The declared model of that name. Raises KeyError: it is not declared (checked resources never do)."""
        for model in self.models:
            if model.name == name:
                return model
        raise KeyError(name)


class MoAA(Spec):
    api_version: Literal["moaa.dev/v1alpha1"]
    kind: Literal["MoAA"]
    metadata: Metadata
    spec: MoAASpec

    @property
    def run_name(self) -> str:
        return f"{self.metadata.namespace}-{self.metadata.name}"


__all__ = ["API_VERSION", "KIND", "STUDENT", "MoAA", "MoAASpec"]
