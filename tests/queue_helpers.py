"""A cluster in memory with a queue, which suspends Jobs and gates groups of pods as Kueue 0.17 does."""

from typing import Any

from moaa_operator.kube import kueue
from moaa_operator.kube.objects import condition, holds
from moaa_operator.kube.owner import GANG_ANNOTATION
from moaa_operator.render import bind
from tests.operator_helpers import OWNER, Cluster, Object, stamp

FULL = "couldn't assign flavors to pod set main: insufficient unused quota for cpu in flavor example, 50m more needed"
GATED = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "message": "gated"}


class Queue(Cluster):
    """One MoAA in a namespace that Kueue manages, rendered for real. `admits`: all Workloads get quota at once."""

    def __init__(self, *, queue: str = "gpus", admits: bool = False, words: str = FULL, **changes: Any) -> None:
        super().__init__(render=bind, **changes)
        self.document["metadata"]["labels"] = {kueue.QUEUE_LABEL: queue} if queue else {}
        self.admits = admits
        self.words = words

    def label(self, queue: str) -> None:
        """Somebody edits the MoAA's label, which makes no new generation."""
        self.document["metadata"]["labels"] = {kueue.QUEUE_LABEL: queue}

    def _make(self, manifest: Object) -> None:
        is_new = (manifest["kind"], manifest["metadata"]["name"]) not in self.objects
        super()._make(manifest)
        item = self.objects[manifest["kind"], manifest["metadata"]["name"]]
        if not is_new or kueue.QUEUE_LABEL not in item["metadata"].get("labels", {}):
            return
        if manifest["kind"] in ("Job", "RayJob"):
            item["spec"]["suspend"] = True
            uid = item["metadata"]["uid"]
            self._workload(f"job-{item['metadata']['name']}", [uid], {kueue.JOB_UID_LABEL: uid})
        elif manifest["kind"] == "Deployment":
            self._pods(item)
        elif manifest["kind"] == "LeaderWorkerSet":
            uid, when = item["metadata"]["uid"], stamp(self.now)
            self.group(item, phase="Pending", conditions=[{**GATED, "lastTransitionTime": when}])
            self._workload(f"group-{item['metadata']['name']}", [uid], {kueue.JOB_UID_LABEL: uid})

    def _pods(self, deployment: Object) -> None:
        template = deployment["spec"]["template"]["metadata"]
        for number in range(deployment["spec"]["replicas"]):
            name = f"{deployment['metadata']['name']}-{number}"
            self.uids += 1
            about = {
                "name": name, "namespace": OWNER.namespace, "uid": f"pod-{self.uids}",
                "labels": dict(template["labels"]), "annotations": dict(template["annotations"]),
                "creationTimestamp": stamp(self.now), "ownerReferences": [{"uid": deployment["metadata"]["uid"]}],
            }  # fmt: skip
            status = {"phase": "Pending", "conditions": [{**GATED, "lastTransitionTime": stamp(self.now)}]}
            self.objects["Pod", name] = {"kind": "Pod", "metadata": about, "status": status}
        group = template["labels"].get(kueue.GROUP_LABEL)
        there = [pod for pod in self.of("Pod") if pod["metadata"]["labels"].get(kueue.GROUP_LABEL) == group]
        if group and len(there) == int(template["annotations"][kueue.COUNT_ANNOTATION]):
            self._workload(group, [pod["metadata"]["uid"] for pod in there], {})

    def _workload(self, name: str, owners: list[str], labels: dict[str, str]) -> None:
        waits = {"type": "QuotaReserved", "status": "False", "reason": "Pending", "message": self.words}
        about = {"name": name, "namespace": OWNER.namespace, "labels": labels, "uid": f"workload-{name}"}
        references = {"ownerReferences": [{"uid": uid} for uid in owners]}
        before = self.objects.get(("Workload", name), {"status": {"conditions": []}})["status"]["conditions"]
        evicted = [c for c in before if c["type"] == "Evicted"]
        self.objects["Workload", name] = {
            "kind": "Workload", "metadata": about | references, "spec": {}, "status": {"conditions": [waits, *evicted]},
        }  # fmt: skip
        if self.admits:
            self.admit(name)

    def admit(self, name: str) -> None:
        """The Workload gets quota: its Job is resumed, its pods find machines."""
        when = {"status": "True", "lastTransitionTime": stamp(self.now)}
        workload = self.objects["Workload", name]
        workload["status"]["conditions"] = [{"type": kind, **when} for kind in ("QuotaReserved", "Admitted")]
        owners = {reference["uid"] for reference in workload["metadata"]["ownerReferences"]}
        for item in list(self.objects.values()):
            if item["metadata"].get("uid") in owners and item["kind"] in ("Job", "RayJob"):
                item["spec"]["suspend"] = False
            elif item["metadata"].get("uid") in owners and item["kind"] == "LeaderWorkerSet":
                self.group(item)
            elif item["metadata"].get("uid") in owners:
                item["status"] = {"phase": "Running", "conditions": [{"type": "PodScheduled", **when}]}

    def admit_all(self) -> None:
        for kind, name in list(self.objects):
            if kind == "Workload" and not holds(self.objects[kind, name], "Admitted"):
                self.admit(name)

    def evict(self, name: str) -> None:
        """A more important Workload takes its quota; a server's pods have successors at once, and these wait."""
        workload = self.objects["Workload", name]
        by = {
            "type": "Evicted",
            "status": "True",
            "reason": "Preempted",
            "message": "Preempted to accommodate a workload",
        }
        waits = {"type": "QuotaReserved", "status": "False", "reason": "Pending", "message": self.words}
        workload["status"]["conditions"] = [waits, by]
        owners = {reference["uid"] for reference in workload["metadata"]["ownerReferences"]}
        for (kind, place), item in list(self.objects.items()):
            if item["metadata"].get("uid") in owners and kind in ("Job", "RayJob"):
                item["spec"]["suspend"] = True
            elif item["metadata"].get("uid") in owners and kind == "LeaderWorkerSet":
                self.group(item, phase="Pending", conditions=[{**GATED, "lastTransitionTime": stamp(self.now)}])
            elif item["metadata"].get("uid") in owners:
                del self.objects[kind, place]
        for deployment in self.of("Deployment"):
            if deployment["metadata"]["annotations"].get(GANG_ANNOTATION) == name:
                deployment["status"] = {}
                self._pods(deployment)

    def running(self) -> list[Object]:
        """What its queue has admitted, and what has the file that it mounts."""
        files = {name for kind, name in self.objects if kind == "ConfigMap"}
        return [
            item for item in super().running() if not item["spec"].get("suspend") and item["metadata"]["name"] in files
        ]

    def servers_answer(self) -> None:
        waiting = [pod for pod in self.of("Pod") if condition(pod, "PodScheduled") and _is_gated(pod)]
        gated = {reference["uid"] for pod in waiting for reference in pod["metadata"]["ownerReferences"]}
        for item in self.of("Deployment"):
            if item["metadata"]["uid"] not in gated:
                item["status"] = {"observedGeneration": 1, "readyReplicas": 1}
        for item in self.of("LeaderWorkerSet"):
            if item["metadata"]["uid"] not in gated:
                self.group(item, leader=True)

    def gangs(self) -> set[str]:
        return {item["metadata"]["annotations"].get(GANG_ANNOTATION, "") for item in self.of("Deployment")}


def _is_gated(pod: Object) -> bool:
    return any(one.get("reason") == "SchedulingGated" for one in pod["status"]["conditions"])
