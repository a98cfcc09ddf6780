"""Statuses as Kubernetes and KubeRay write them, and what the operator tells people about them."""

from typing import Any

import pytest

from moaa.contract.answers import FailureAnswer, WaitingAnswer, failure
from moaa_operator.observe.observed import End
from moaa_operator.observe.pods import Termination, describe, problem, terminations, unscheduled_since
from moaa_operator.observe.rayjobs import pods_of_cluster
from moaa_operator.observe.read import observe
from tests.operator_helpers import OWNER, Cluster
from tests.unit.test_cause import DEATHS

Object = dict[str, Any]


def pod(**status: Any) -> Object:
    return {"metadata": {"name": "p", "annotations": {}}, "status": status}


UNSCHEDULABLE = {
    "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "lastTransitionTime": "2026-01-01T00:00:00Z",
    "message": "0/5 nodes are available: 5 Insufficient nvidia.com/gpu. preemption: 0/5 nodes are available.",
}  # fmt: skip


@pytest.mark.parametrize(
    ("status", "reason", "words"),
    [
        pytest.param({"conditions": [UNSCHEDULABLE]}, "GPUsUnavailable", "Insufficient nvidia.com/gpu", id="machine"),
        pytest.param(
            {"containerStatuses": [{"name": "vllm", "state": {"waiting": {
                "reason": "ImagePullBackOff", "message": 'Back-off pulling image "vllm/nope"'}}}]},
            "ImagePullBackOff", "vllm/nope", id="image",
        ),
        pytest.param(
            {"initContainerStatuses": [{"name": "weights", "state": {"waiting": {
                "reason": "CreateContainerConfigError", "message": 'secret "hub-token" not found'}}}]},
            "CreateContainerConfigError", 'secret "hub-token" not found', id="secret",
        ),
        pytest.param(
            {"containerStatuses": [{"name": "vllm", "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                "lastState": {"terminated": {"exitCode": 1, "message": "torch: CUDA out of memory"}}}]},
            "CrashLoopBackOff", "CUDA out of memory", id="last log line",
        ),
        pytest.param(
            {"containerStatuses": [{"name": "vllm", "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled", "message": ""}}}]},
            "CrashLoopBackOff", "more memory than its limit", id="out of memory",
        ),
        pytest.param(
            {"containerStatuses": [{"name": "vllm", "restartCount": 3, "ready": False, "state": {"running": {}},
                "lastState": {"terminated": {"exitCode": 1, "message": "ImportError: libcudart.so.13"}}}]},
            "Restarted", "ImportError: libcudart.so.13", id="started again",
        ),
        pytest.param(
            {"containerStatuses": [{"name": "vllm", "restartCount": 3, "ready": False, "lastState": {}, "state": {
                "terminated": {"exitCode": 1, "message": "ImportError: libcudart.so.13"}}}]},
            "Restarted", "ImportError: libcudart.so.13", id="about to be started again",
        ),
        pytest.param(
            {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: ephemeral-storage."},
            "Evicted", "ephemeral-storage", id="evicted",
        ),
    ],
)  # fmt: skip
def test_why_a_pod_does_not_run(status: Object, reason: str, words: str) -> None:
    found = problem(pod(**status))
    assert found is not None
    assert found.reason == reason
    assert words in found.message


@pytest.mark.parametrize(
    "status",
    [
        {},
        {"phase": "Running", "containerStatuses": [{"name": "c", "state": {"running": {}}}]},
        {
            "phase": "Pending",
            "containerStatuses": [{"name": "c", "state": {"waiting": {"reason": "ContainerCreating"}}}],
        },
        {"phase": "Failed", "containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": 75}}}]},
        {
            "phase": "Running",
            "containerStatuses": [
                {
                    "name": "c",
                    "restartCount": 1,
                    "ready": True,
                    "state": {"running": {}},
                    "lastState": {"terminated": {"exitCode": 1}},
                }
            ],
        },
    ],
)
def test_a_pod_that_starts_runs_or_has_ended_has_no_problem(status: Object) -> None:
    assert problem(pod(**status)) is None


def test_since_when_a_pod_waits_for_a_machine() -> None:
    since = unscheduled_since(pod(conditions=[UNSCHEDULABLE]))
    assert since is not None
    assert since.isoformat() == "2026-01-01T00:00:00+00:00"
    assert unscheduled_since(pod(conditions=[{**UNSCHEDULABLE, "status": "True"}])) is None


def test_the_end_of_an_index() -> None:
    ended = {"exitCode": 75, "message": '{"waiting":{"a":3},"calls":7}', "reason": "Error"}
    item = pod(containerStatuses=[{"name": "job", "state": {"terminated": ended}}])
    item["metadata"]["annotations"] = {"batch.kubernetes.io/job-completion-index": "4"}
    (found,) = terminations(item)
    assert (found.index, found.exit_code) == (4, 75)
    assert found.said(WaitingAnswer) == WaitingAnswer(waiting={"a": 3}, calls=7)


def test_a_description_keeps_the_last_lines_of_a_long_log() -> None:
    text = describe(Termination(1, "first line\n" + "x" * 5000 + "\nRuntimeError: what mattered"))
    assert len(text) <= 1000
    assert text.endswith("RuntimeError: what mattered")


@pytest.mark.parametrize(
    ("name", "begins"),
    [
        ("unknown-option", "it ended with exit code 1: unrecognized arguments: --no-such-flag. Its last lines:\n"),
        ("heads-not-divisible", "it ended with exit code 1: Total number of attention heads (4) must be divisible by"),
        ("port-taken", "it ended with exit code 1: OSError: [Errno 98] Address already in use. Its last lines:\n"),
        ("no-vllm", "it ended with exit code 1: the Python package vllm is not installed. Its last lines:\n"),
        ("libnuma", "it ended with exit code 1: the compiled part _C could not be loaded; the log says further up"),
        ("stopped-while-serving", "it ended with exit code 1; its last lines:\n"),
    ],
)
def test_a_server_that_ended_is_told_with_its_cause_before_its_last_lines(name: str, begins: str) -> None:
    """As far as that stands in the last 2,048 bytes, which is what Kubernetes keeps."""
    kept = (DEATHS / f"{name}.log").read_bytes()[-2048:].decode(errors="replace")
    assert describe(Termination(1, kept)).startswith(begins)


def rayjob(**status: Any) -> Any:
    cluster = Cluster()
    meta = {
        "name": "r", "namespace": OWNER.namespace, "uid": "r1", "ownerReferences": [dict(OWNER.reference)],
        "labels": {"moaa.dev/run": OWNER.name, "moaa.dev/role": "stage", "moaa.dev/stage": "i1-sft"},
        "annotations": {"moaa.dev/fingerprint": "f" * 64, "moaa.dev/attempt": "1"},
    }  # fmt: skip
    item = {"kind": "RayJob", "metadata": meta, "spec": {"suspend": status.pop("suspend", False)}, "status": status}
    owned = [{"kind": "RayCluster", "name": "c", "uid": "c1"}]
    pods = [{"metadata": {"name": "w", "ownerReferences": owned}, "status": {"conditions": [UNSCHEDULABLE]}}]
    (found,) = observe(cluster.document, {"RayJob": [item], "Pod": pods}).children
    return found


def test_a_rayjob_has_succeeded_only_when_ray_says_so() -> None:
    assert rayjob(jobDeploymentStatus="Complete", jobStatus="SUCCEEDED").end is End.SUCCEEDED
    stopped = rayjob(jobDeploymentStatus="Complete", jobStatus="STOPPED")
    assert (stopped.end, stopped.problem.reason) == (End.FAILED, "STOPPED")
    assert rayjob(jobDeploymentStatus="Running", jobStatus="SUCCEEDED").end is End.RUNNING
    submitter = {"reason": "SubmissionFailed", "message": "Job submission has failed. Reason: BackoffLimitExceeded"}
    assert rayjob(jobDeploymentStatus="Failed", jobStatus="SUCCEEDED", **submitter).end is End.SUCCEEDED
    assert rayjob(jobDeploymentStatus="Failed", jobStatus="RUNNING", **submitter).problem.reason == "SubmissionFailed"


def test_how_a_rayjob_failed() -> None:
    refused = rayjob(jobDeploymentStatus="ValidationFailed", message="the name is too long")
    assert (refused.end, refused.problem.reason) == (End.FAILED, "ValidationFailed")
    message = 'Job entrypoint command failed with exit code 64, last logs:\n{"error":"no row is left","permanent":true}'
    (ended,) = rayjob(
        jobDeploymentStatus="Failed", jobStatus="FAILED", reason="AppFailed", message=message
    ).terminations
    assert (ended.exit_code, ended.said(FailureAnswer)) == (64, failure("no row is left", permanent=True))
    late = rayjob(jobDeploymentStatus="Failed", reason="DeadlineExceeded", message="submitted too long ago")
    assert (late.problem.reason, late.terminations) == ("DeadlineExceeded", ())


def test_what_a_rayjob_waits_for() -> None:
    waiting = rayjob(jobDeploymentStatus="Initializing", rayClusterName="c")
    assert (waiting.end, waiting.problem.reason) == (End.RUNNING, "GPUsUnavailable")
    assert rayjob(jobDeploymentStatus="Suspended", suspend=True).problem.reason == "Queued"


def test_last_words_do_not_change_a_terminal() -> None:
    ended = Termination(exit_code=1, message="one\x1b[2J\x07\u202e\r\ntwo")
    assert describe(ended).endswith("last lines:\none[2J\ntwo")


@pytest.mark.parametrize("index", ["²", "-1", "9" * 5000, "x", ""])
def test_an_index_that_is_none_is_passed_over(index: str) -> None:
    ended = {"exitCode": 1, "message": "it broke"}
    about = {"name": "p", "annotations": {"batch.kubernetes.io/job-completion-index": index}}
    pod = {"metadata": about, "status": {"containerStatuses": [{"name": "job", "state": {"terminated": ended}}]}}
    (found,) = terminations(pod)
    assert (found.index, found.message) == (None, "it broke")


@pytest.mark.parametrize("attempt", ["²", "9" * 5000])
def test_a_child_with_an_attempt_that_is_no_number_is_not_a_stages(attempt: str) -> None:
    cluster = Cluster()
    meta = {
        "name": "j", "namespace": OWNER.namespace, "uid": "j1", "ownerReferences": [dict(OWNER.reference)],
        "labels": {"moaa.dev/run": OWNER.name, "moaa.dev/role": "stage"}, "annotations": {"moaa.dev/attempt": attempt},
    }  # fmt: skip
    assert observe(cluster.document, {"Job": [{"kind": "Job", "metadata": meta}]}).children == ()


def test_a_label_alone_puts_no_pod_into_a_ray_cluster() -> None:
    item = {"metadata": {"name": "r"}, "status": {"rayClusterName": "c"}}
    labelled = {"metadata": {"name": "w", "labels": {"ray.io/cluster": "c"}}}
    other = {"metadata": {"name": "w", "ownerReferences": [{"kind": "ReplicaSet", "name": "c", "uid": "u"}]}}
    mine: Object = {"metadata": {"name": "w", "ownerReferences": [{"kind": "RayCluster", "name": "c", "uid": "u"}]}}
    assert pods_of_cluster(item, [labelled, other, mine]) == [mine]
