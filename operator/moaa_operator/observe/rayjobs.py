"""What a RayJob's status and its cluster's pods say. Pure."""

import re
from collections.abc import Iterable
from datetime import datetime

from moaa.contract import answers
from moaa_operator.kube import kueue, rejections
from moaa_operator.kube.objects import (
    Fields,
    Problem,
    created_at,
    holds,
    is_leaving,
    is_owned_by_name,
    label,
    moment,
    name_of,
    uid_of,
)
from moaa_operator.observe import pods
from moaa_operator.observe.children import Heard, child
from moaa_operator.observe.observed import Child, End
from moaa_operator.observe.pods import Termination
from moaa_operator.observe.progress import combine

HEAD = "ray-head"
"""Its container."""
_EXIT_CODE = re.compile(r"exit code (\d+)")


def is_silent(item: Fields, all_pods: Iterable[Fields]) -> bool:
    """It goes on and has no pod. One that waits in a queue has none by design."""
    if is_leaving(item) or (item.get("spec") or {}).get("suspend"):
        return False
    return end_of(item) is End.RUNNING and not pods_of_cluster(item, all_pods)


def is_queued(item: Fields) -> bool:
    """It is suspended, which only a queue does."""
    return bool((item.get("spec") or {}).get("suspend")) and not is_leaving(item) and end_of(item) is End.RUNNING


def pods_of_cluster(item: Fields, all_pods: Iterable[Fields]) -> list[Fields]:
    """Of a RayJob's cluster, by their owner reference: anybody who makes a pod may write a label.

    A RayJob says its cluster's name and not its UID. The garbage collector removes a pod that names a UID that is not
    its owner's.
    """
    cluster = (item.get("status") or {}).get("rayClusterName")
    return [pod for pod in all_pods if cluster and is_owned_by_name(pod, "RayCluster", str(cluster))]


def end_of(item: Fields) -> End:
    status = item.get("status") or {}
    deployment = str(status.get("jobDeploymentStatus") or "")
    if deployment not in ("Complete", "Failed", "ValidationFailed"):
        return End.RUNNING
    # Only the Ray job's own status says that it succeeded. One that was stopped ends as Complete, too, and one whose
    # submitter failed (its log stream broke) as Failed.
    return End.SUCCEEDED if status.get("jobStatus") == "SUCCEEDED" else End.FAILED


def rayjob(item: Fields, all_pods: list[Fields], heard: Heard) -> Child | None:
    status = item.get("status") or {}
    deployment, ray = str(status.get("jobDeploymentStatus") or ""), str(status.get("jobStatus") or "")
    message = str(status.get("message") or "")
    mine = pods_of_cluster(item, all_pods)
    head = next((pod for pod in mine if label(pod, "ray.io/node-type") == "head" and not is_leaving(pod)), None)
    end, lost_since, problem, progress = end_of(item), None, None, None
    ended: tuple[Termination, ...] = ()
    if end is End.RUNNING:
        lost_since, progress = _lost_since(status, head), combine(heard.of(mine))
        problem = _problem(item, mine, head, heard)
    else:
        reason = str(
            status.get("reason") or ("ValidationFailed" if deployment == "ValidationFailed" else ray or "Failed")
        )
        problem = None if end is End.SUCCEEDED else Problem(reason, f"RayJob {name_of(item)}: {message or reason}")
        code = _EXIT_CODE.search(message)
        if end is End.FAILED and (code or answers.read(message, answers.FailureAnswer)):
            ended = (Termination(int(code.group(1)) if code else 1, message),)
    return child(
        item,
        "RayJob",
        end=end,
        problem=problem,
        terminations=ended,
        is_silent=is_silent(item, mine),
        is_queued=is_queued(item),
        is_evicted=is_queued(item) and kueue.is_evicted(heard.workloads.get(uid_of(item))),
        is_running=ray == "RUNNING" and head is not None and pods.is_running(head),
        began=_begun(item),
        ended=None if end is End.RUNNING else moment(status.get("endTime")),
        lost_since=lost_since,
        unplaced_since=min((t for pod in mine if (t := pods.unscheduled_since(pod))), default=None),
        progress=progress,
    )


def _begun(item: Fields) -> datetime | None:
    """When its driver began. The head's clock may lag: no driver is older than its RayJob."""
    begun, made = moment(((item.get("status") or {}).get("rayJobInfo") or {}).get("startTime")), created_at(item)
    return begun if begun is None or made is None else max(begun, made)


def _lost_since(status: Fields, head: Fields | None) -> datetime | None:
    """When the head that a running job began on was replaced. The driver went with it, though the RayJob says it runs.

    A job begins some seconds after its head, so one made in the same second (times have no less) is another. The head
    says when the job began by its node's clock, which may be minutes off; so its container's start by that clock is
    compared, and the API server's only while there is none.
    """
    begun = moment((status.get("rayJobInfo") or {}).get("startTime"))
    if head is None or begun is None or status.get("jobStatus") != "RUNNING":
        return None
    made = created_at(head)
    started = pods.started_at(head, HEAD) or made
    return made if started is not None and started >= begun else None


def _problem(item: Fields, mine: list[Fields], head: Fields | None, heard: Heard) -> Problem | None:
    """Why a RayJob that has not ended does not go on."""
    name, status = name_of(item), item.get("status") or {}
    if is_queued(item):
        return kueue.problem(f"RayJob {name}", heard.workloads.get(uid_of(item)))
    is_headless = status.get("jobStatus") == "RUNNING" and mine and head is None
    if is_headless or _lost_since(status, head) is not None:
        return Problem("HeadLost", f"RayJob {name} says that it runs, but the Ray head it ran on is gone")
    refused = holds({"status": status.get("rayClusterStatus")}, "ReplicaFailure")
    if refused is not None:
        words = str(refused.get("message") or "")
        return rejections.problem(f"a pod of RayJob {name}", words, reason=str(refused.get("reason") or ""))
    return pods.first_problem(mine) if mine else heard.no_pods(item, "RayJob")
