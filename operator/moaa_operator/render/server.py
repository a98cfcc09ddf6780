"""A model server: what makes pods of vLLM, and the headless Service by which its replicas are found.

A pod first brings the weights (`python -m moaa_jobs.fetch`), then starts vLLM on them, offline and without any secret.
It is ready once it has answered a real request for one token on loopback (`canary.py`); from then on readiness is
`/health`. A server with requests that gives no token for ten minutes is started again. A pod that is deleted leaves the
Service first, then finishes its requests.

A server on one machine is a Deployment. A server over several (`serving.nodes`) is a LeaderWorkerSet: each replica is a
group of pods, of which the leader answers, and all start anew when one of them ends.

A template of the resource (`serving.template`) knows the containers `weights` and `vllm`, and holds for every pod.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import assert_never

from moaa.api.models import Model
from moaa.api.resource import Storage
from moaa.contract.vllm import chat_arguments
from moaa.contract.weights import BringWeights
from moaa.errors import Problem, ResourceError
from moaa.plan.canonical import digest_of
from moaa.plan.ids import made_by
from moaa.weights.served import ServedModel
from moaa_operator.kube.kinds import DEPLOYMENT, LEADER, LEADER_WORKER_SET, RANK_LABEL, ServerKind, kind_for
from moaa_operator.kube.objects import Manifest
from moaa_operator.kube.owner import MODEL_ANNOTATION, RUN_LABEL, TEMPLATE_ANNOTATION, Role
from moaa_operator.render.context import RANKS_LABEL, SERVER_LABEL, Child, RenderContext
from moaa_operator.render.names import server_of
from moaa_operator.render.serving.vllm_pod import CONTAINERS, PORT, Rank, bring_for, server_pod
from moaa_operator.render.template import merge

_STORE_FIELDS = frozenset(Storage.model_fields) - {"weights"}
"""Where the same weights come from is no edit of a server."""


def url(context: RenderContext, served: ServedModel) -> str:
    """Base URL (up to /v1) of a model's Service; it resolves to every ready replica."""
    return f"http://{_name(context, served)}.{context.owner.namespace}.svc:{PORT}/v1"


def servers(context: RenderContext, models: Iterable[ServedModel], replicas: Mapping[str, int]) -> list[Manifest]:
    """Service and Deployment or LeaderWorkerSet of every model; one of several names gets them once.

    Raises:
        ResourceError: as `server`.
    """
    once = {_name(context, served): served for served in models}
    return [child for served in once.values() for child in server(context, served, replicas)]


def server(context: RenderContext, served: ServedModel, replicas: Mapping[str, int]) -> list[Manifest]:
    """Service and Deployment or LeaderWorkerSet of one model, with the replicas of its declared model, if it is among
    them.

    Raises:
        ResourceError: its weights cannot be had on Kubernetes, or its template says what it may not.
    """
    declared, models = _declared(context, served), context.resource.spec.models
    path = f"spec.models[{models.index(declared)}]"
    count = replicas.get(declared.name, declared.serving.replicas)
    model = declared.with_(serving=declared.serving.with_(replicas=count))
    _check_source(model, served, path)
    made = _Server(context, served, model, path, bring_for(served, model, context.resource))
    kind = kind_for(model.serving.nodes)
    match kind:
        case ServerKind.DEPLOYMENT:
            return [made.service({}), made.deployment()]
        case ServerKind.GROUPS:
            return [made.service({RANK_LABEL: LEADER}), made.groups()]
        case _:
            assert_never(kind)


@dataclass(frozen=True)
class _Server:
    """One server. `model` has its present replicas; `path` is its place in the resource."""

    context: RenderContext
    served: ServedModel
    model: Model
    path: str
    bring: BringWeights

    @property
    def name(self) -> str:
        return _name(self.context, self.served)

    @property
    def selector(self) -> dict[str, str]:
        return {RUN_LABEL: self.context.owner.name, SERVER_LABEL: self.name}

    def service(self, only: Mapping[str, str]) -> Manifest:
        """`only`: further labels of the pods that answer."""
        selector = {**self.selector, **only}
        return {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": self.context.metadata(self._child(), made_from=selector),
            "spec": {
                "clusterIP": "None",
                "selector": selector,
                "ports": [{"name": "http", "port": PORT, "targetPort": PORT, "protocol": "TCP"}],
            },
        }

    def deployment(self) -> Manifest:
        child, serving = self._child(), self.model.serving
        minutes = self.context.resource.spec.serving.schedule_minutes + serving.startup_minutes
        return {
            "apiVersion": DEPLOYMENT.api_version,
            "kind": DEPLOYMENT.kind,
            "metadata": self.context.metadata(self.context.queued(child), made_from=self._made_from()),
            "spec": {
                "replicas": serving.replicas,
                # There may be no spare GPU for a second pod beside the first.
                "strategy": {"type": "Recreate"},
                "revisionHistoryLimit": 1,
                "progressDeadlineSeconds": 60 * minutes,
                "selector": {"matchLabels": self.selector},
                "template": self._pod(Rank.ALONE, child),
            },
        }

    def groups(self) -> Manifest:
        made_from, serving = self._made_from(), self.model.serving
        about_pods = {**made_from, "serving": serving.with_(replicas=1).model_dump(mode="json", exclude_defaults=True)}
        note = {TEMPLATE_ANNOTATION: digest_of(about_pods)}
        child = self._child({RANKS_LABEL: self.model.name}, note)
        return {
            "apiVersion": LEADER_WORKER_SET.api_version,
            "kind": LEADER_WORKER_SET.kind,
            "metadata": self.context.metadata(self.context.queued(child), made_from=made_from),
            "spec": {
                "replicas": serving.replicas,
                "startupPolicy": "LeaderCreated",
                # There may be no spare GPUs for other groups beside these.
                "rolloutStrategy": {
                    "type": "RollingUpdate",
                    "rollingUpdateConfiguration": {"maxUnavailable": "100%", "maxSurge": 0, "partition": 0},
                },
                # Its own Services get the names of groups, and ours is called as the set is.
                "networkConfig": {"subdomainPolicy": "UniquePerReplica"},
                "leaderWorkerTemplate": {
                    "size": serving.nodes,
                    "restartPolicy": "RecreateGroupOnPodRestart",
                    "leaderTemplate": self._pod(Rank.LEADER, child),
                    "workerTemplate": self._pod(Rank.WORKER, child),
                },
            },
        }

    def _child(self, labels: Mapping[str, str] | None = None, notes: Mapping[str, str] | None = None) -> Child:
        annotations = {MODEL_ANNOTATION: self.served.name, **(notes or {})}
        return Child(self.name, Role.SERVER, {SERVER_LABEL: self.name, **(labels or {})}, annotations)

    def _pod(self, rank: Rank, child: Child) -> Manifest:
        template, path = self.model.serving.template, f"{self.path}.serving.template"
        made = server_pod(self.context, child, self.bring, self.served, self.model, rank=rank)
        return merge(made, template, path, own=CONTAINERS)

    def _made_from(self) -> dict[str, object]:
        """Without defaults: a field that a later version adds must not look like an edit."""
        spec = self.context.resource.spec
        return {
            "weights": self.bring.model_dump(
                mode="json",
                include={"storage": set(_STORE_FIELDS), "model": True, "digest": True, "folder": True},
                exclude_defaults=True,
            ),
            "serving": self.model.serving.model_dump(mode="json", exclude_defaults=True),
            "account": spec.service_account_name,
            "scheduleMinutes": spec.serving.schedule_minutes,
            **({"chat": chat} if (chat := chat_arguments(self.model)) else {}),
        }


def _declared(context: RenderContext, served: ServedModel) -> Model:
    spec = context.resource.spec
    return spec.model(spec.student if made_by(served.name) else served.name)


def _name(context: RenderContext, served: ServedModel) -> str:
    nodes = _declared(context, served).serving.nodes
    return server_of(context.owner, served.served_name, served.digest, nodes)


def _check_source(model: Model, served: ServedModel, path: str) -> None:
    if served.folder is None and (model.source or "").startswith("file://"):
        remedy = "is a folder of one machine, which pods do not see; use hf://, s3:// or pvc:// on Kubernetes"
        raise ResourceError("the resource", [Problem(f"{path}.source", str(model.source), remedy)])
