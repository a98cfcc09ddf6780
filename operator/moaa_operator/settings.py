"""How the operator is set up: variables MOAA_OPERATOR_<NAME>, which the chart sets.

No fingerprint depends on them: another image or another default repeats no work.
"""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


def _listed(value: object) -> object:
    """`a, b` gives ("a", "b"); an empty text gives none."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


Listed = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)]
"""Names with commas between them."""
Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0)]


class PullPolicy(StrEnum):
    ALWAYS = "Always"
    IF_NOT_PRESENT = "IfNotPresent"
    NEVER = "Never"


class LogFormat(StrEnum):
    TEXT = "text"
    JSON = "json"


class DiskRequests(StrEnum):
    """Which pods ask for the disk (`ephemeral-storage`) that the weights take."""

    OUTSIDE_QUEUES = "OutsideQueues"
    """Those of runs without a Kueue queue: a ClusterQueue that does not cover ephemeral-storage would admit nothing."""
    ALWAYS = "Always"
    """All; ClusterQueues cover ephemeral-storage."""
    NEVER = "Never"
    """None: weights go to volumes that templates name."""


class NodeRole(StrEnum):
    """What nodes are for: their label moaa.dev/role."""

    SYSTEM = "system"
    """Stages, checks, Ray heads and submitters: no GPU."""
    INFERENCE = "inference"
    """Model servers."""
    TRAINING = "training"
    """Ray workers."""


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel, use_attribute_docstrings=True)


class Scheduling(_Value):
    """What a pod needs to land on some nodes."""

    node_selector: dict[str, str] = {}
    tolerations: tuple[dict[str, Any], ...] = ()


class Dedicated(Scheduling):
    """Nodes that take the pods of one MoAA only."""

    namespace: str
    moaa: str
    """Its name. Another namespace's run of that name goes to the shared nodes."""
    role: NodeRole


class Peers(_Value):
    """Who reaches pods of runs besides these, as `from` of a NetworkPolicy has it."""

    operator: tuple[dict[str, Any], ...] = ()
    """Asks stages how far they are."""
    kuberay: tuple[dict[str, Any], ...] = ()
    """Asks Ray heads how a job is."""


Patterns = tuple[str, ...] | None
"""Names in which `*` stands for anything; None: any name."""


class Allowed(_Value):
    """What the creator of a MoAA may choose, beyond what Kubernetes lets the operator do for them. A list that is left
    out allows everything, but for `vllm_code_args`."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    service_accounts: Patterns = None
    """spec.serviceAccountName, as <namespace>/<name>."""
    images: Patterns = None
    """Of containers in pod templates; the installation's own need no entry."""
    secrets: Patterns = None
    """Every Secret that the resource names, in its fields and in pod templates, as <namespace>/<name>."""
    node_selectors: Patterns = None
    """Of pod templates, as <label>=<value>. A list also refuses nodeName, affinity and topologySpreadConstraints."""
    tolerations: Patterns = None
    """Keys that pod templates may tolerate; one without a key tolerates everything and is called `*`."""
    priority_classes: Patterns = None
    """Of pod templates."""
    vllm_args: Patterns = None
    """Names of `serving.args`, as --quantization."""
    vllm_code_args: tuple[str, ...] = ()
    """Those among `serving.args` that run other code than vLLM's, as --trust-remote-code: none unless it is listed."""
    endpoint_hosts: Patterns = None
    """Hosts of models' endpoints and of the store's, with the port where the address has one."""


class Settings(BaseSettings):
    """How the operator works and what it renders."""

    model_config = SettingsConfigDict(
        env_prefix="MOAA_OPERATOR_", frozen=True, extra="ignore", env_ignore_empty=True, use_attribute_docstrings=True
    )

    # What is rendered
    jobs_image: str = "moaa-jobs:latest"
    """Runs every stage but training."""
    train_image: str = "moaa-train:latest"
    """Runs sft and dpo: head, workers and submitter."""
    vllm_image: str = "vllm/vllm-openai:v0.32.0"
    """Serves models on GPUs."""
    vllm_cpu_image: str = "vllm/vllm-openai-cpu:v0.32.0"
    """Serves models whose `serving.gpus` is 0."""
    image_pull_policy: PullPolicy = PullPolicy.IF_NOT_PRESENT
    image_pull_secrets: Listed = ()
    ray_version: str = "2.60.0"
    """Of the Ray in `train_image`."""
    job_priority_class: str | None = None
    server_priority_class: str | None = None
    training_priority_class: str | None = None
    scheduler_name: str | None = None
    """Which scheduler places every pod of a run, as volcano or yunikorn; None: the cluster's default. A template of the
    resource may name another."""
    server_service_accounts: dict[str, str] = {}
    """Which service account model servers use in place of a run's, by `<namespace>/<account of the run>`, as JSON; one
    that is not named serves as itself. Servers read weights and nothing else, jobs write the store."""
    scheduling: dict[NodeRole, Scheduling] = {}
    """Where pods of a role go, as JSON {role: {nodeSelector, tolerations}}. Templates of the resource are merged over
    it; a role that is left out goes anywhere."""
    dedicated: tuple[Dedicated, ...] = ()
    """Nodes of one MoAA alone, as JSON [{namespace, moaa, role, nodeSelector, tolerations}]: its pods of that role
    go there and not where `scheduling` says. Of several entries the first one's selector counts, and all
    tolerations."""
    allowed: Allowed = Allowed()
    """What creators of MoAAs may choose, as JSON; a resource that chooses something else is not carried out."""
    network_peers: Peers | None = None
    """As JSON {operator, kuberay}: each run gets network policies of its own, by which its pods take connections from
    each other and these peers only. None: the operator makes no policies, and needs no right to."""
    job_cpu: str = "1"
    job_memory: str = "4Gi"
    """Requests of a stage's pod; the memory is its limit, too."""
    light_cpu: str = "250m"
    light_memory: str = "1Gi"
    """The same for finalise, inspect and preflight."""
    server_cpu: str = "4"
    """Of a model server, for each of its GPUs: each has a process of its own that keeps a core busy."""
    server_memory: str = "24Gi"
    """The same; `serving.template` overrides both."""
    head_cpu: str = "2"
    head_memory: str = "8Gi"
    """Of the Ray head; less than 8Gi has been seen to run out of memory."""
    worker_cpu: str = "8"
    worker_memory: str = "64Gi"
    """Of a training worker whose resource says nothing; requests equal limits, since Ray counts limits."""
    training_workers_per_pod: Annotated[int, Field(ge=1, le=64)] = 1
    """Training workers on GPUs that share a pod, and so a machine and its NVLink: GPUs of different pods talk over the
    network. Set it to the GPUs of one machine; a run with a number of workers it does not divide gets smaller pods."""
    machine_gpus: Annotated[int, Field(ge=1, le=64)] | None = None
    """GPUs of the largest machine that servers can get; a resource whose server asks for more is not carried out. None:
    not known, and such a server waits for a machine that never comes."""
    shards_at_once: Annotated[int, Field(ge=1, le=1000)] = 4
    """Pods of one Indexed Job that run at the same time."""
    disk_requests: DiskRequests = DiskRequests.OUTSIDE_QUEUES
    """Which pods ask for the disk that their weights take, where their size is known, and 2 GiB beside."""
    training_deadline_hours: Annotated[int, Field(ge=1)] = 24 * 14
    """A RayJob that runs longer is ended and tried again."""

    # How it works
    watch_namespaces: Listed = ()
    """None: every namespace, which needs a ClusterRole."""
    namespace: str = "default"
    """Where the operator runs: the lease is here."""
    leader_election: bool = True
    lease_name: str = "moaa-operator"
    lease_duration_s: Seconds = 30.0
    """Another replica takes over when the lease was not renewed for so long. That is the wait after a node was lost;
    one that ends in order gives the lease back, and a container that is started again in its pod goes on with it.

    Twice what Kubernetes' own components take (15, 10 and 2 s). A run goes on without a leader, since its pods work on.
    A leader that ends because of a short outage of the API server, or on a starved node, costs a new list of everything
    and, after a few times, the kubelet's growing delay. The longer lease also halves the writes of a cluster at
    rest."""
    lease_renew_s: Seconds = 20.0
    """A leader that could not renew for so long ends its process. It is less than the lease lasts: the difference is
    the time for a last try, a quarter of it for each connection and each answer."""
    lease_retry_s: Seconds = 4.0
    """Time between two renewals, and between two looks of the other replicas; several fit into `lease_renew_s`."""
    workers: Annotated[int, Field(ge=1, le=64)] = 4
    """MoAAs reconciled at the same time."""
    resync_active_s: Seconds = 30.0
    """The longest time between two looks at a run with work under way, whatever the watch says."""
    resync_idle_s: Seconds = 300.0
    progress_s: Seconds = 30.0
    """Seconds between two rounds of asking running pods for their progress. A status is written only when people would
    see a difference."""
    backoff_s: Seconds = 1.0
    """First delay after an error of a reconcile; doubles up to `backoff_max_s`."""
    backoff_max_s: Seconds = 300.0
    retry_s: Seconds = 10.0
    """First delay before another attempt of a stage; doubles up to `retry_max_s`."""
    retry_max_s: Seconds = 900.0
    request_timeout_s: Seconds = 30.0
    watch_timeout_s: Seconds = 290.0
    """A watch ends after so long and is opened again."""
    watch_silence_s: Seconds = 320.0
    """A watch that says nothing at all for so long, not even that it ends, is dead."""
    health_host: str = "0.0.0.0"
    health_port: Port = 8081
    """/healthz and /readyz."""
    metrics_port: Port = 8080
    """/metrics."""
    log_format: LogFormat = LogFormat.TEXT
    log_level: str = "INFO"

    @model_validator(mode="after")
    def _leave_time_to_renew(self) -> "Settings":
        if not self.lease_retry_s < self.lease_renew_s < self.lease_duration_s:
            raise ValueError(
                f"lease_retry_s ({self.lease_retry_s:g}) must be less than lease_renew_s ({self.lease_renew_s:g}), and "
                f"that less than lease_duration_s ({self.lease_duration_s:g}): else two replicas would lead at once"
            )
        return self

    def server_account(self, namespace: str, account: str) -> str:
        return self.server_service_accounts.get(f"{namespace}/{account}", account)

    def place(self, namespace: str, moaa: str, role: NodeRole) -> Scheduling:
        """Where the pods of a MoAA's role go."""
        whose = namespace, moaa, role
        own = [nodes for nodes in self.dedicated if (nodes.namespace, nodes.moaa, nodes.role) == whose]
        if not own:
            return self.scheduling.get(role, Scheduling())
        merged = [entry for nodes in own for entry in nodes.tolerations]
        once = tuple(entry for i, entry in enumerate(merged) if entry not in merged[:i])
        return own[0].model_copy(update={"tolerations": once})
