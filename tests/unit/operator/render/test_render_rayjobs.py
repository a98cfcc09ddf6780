"""RayJobs of trainings: the fields that matter, and what KubeRay takes."""

import pytest

from moaa.api import MoAA
from moaa.plan.stage import Kind
from tests.render_world import (
    MOAA,
    SETTINGS,
    bound,
    changed,
    container,
    environment,
    find,
    job_of,
    rayjob_objections,
    stage,
)


@pytest.mark.parametrize("name", ["i1-sft", "i1-dpo"])
@pytest.mark.parametrize("path", ["queued", "plain", "suspended", "cpu"])
def test_kuberay_accepts_every_rayjob(name: str, path: str) -> None:
    resource = {
        "queued": MOAA,
        "plain": changed("metadata.labels", {}),
        "suspended": changed("metadata.labels", {}).with_(spec=MOAA.spec.with_(suspend=True)),
        "cpu": on_cpu(),
    }[path]
    assert rayjob_objections(find(stage(name, resource), "RayJob")) == []


def on_cpu() -> MoAA:
    return changed(
        "spec.training",
        {
            "resources": {"workers": 2, "gpusPerWorker": 0},
            "sft": {"precision": "FP32", "batchSize": 2},
            "dpo": {"precision": "FP32", "batchSize": 2},
        },
    )


def test_a_rayjob_is_one_attempt_and_leaves_no_cluster() -> None:
    spec = find(stage("i1-sft"), "RayJob")["spec"]
    assert spec["backoffLimit"] == 0
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["ttlSecondsAfterFinished"] == 0
    assert spec["entrypoint"] == "python -m moaa_jobs --job /etc/moaa/job.json"


def test_a_log_stream_that_breaks_does_not_end_a_training() -> None:
    """KubeRay fails a RayJob whose submitter has failed for good, whatever its Ray job does."""
    spec = find(stage("i1-sft"), "RayJob")["spec"]
    assert spec["submissionMode"] == "K8sJobMode"
    assert spec["submitterConfig"]["backoffLimit"] > 0


def test_the_head_has_no_cpus_to_give_and_reads_the_job_file() -> None:
    manifest = find(stage("i1-sft"), "RayJob")
    head = manifest["spec"]["rayClusterSpec"]["headGroupSpec"]
    assert head["rayStartParams"]["num-cpus"] == "0"
    assert {"name": "job", "mountPath": "/etc/moaa", "readOnly": True} in container(manifest, "ray-head")[
        "volumeMounts"
    ]


def test_the_head_may_use_idle_cpus() -> None:
    resources = container(find(stage("i1-sft"), "RayJob"), "ray-head")["resources"]
    assert resources["requests"] == {"cpu": SETTINGS.head_cpu, "memory": SETTINGS.head_memory}
    assert resources["limits"] == {"memory": SETTINGS.head_memory}


def test_workers_are_as_many_and_as_large_as_the_resource_says() -> None:
    manifest = find(stage("i1-sft"), "RayJob")
    (group,) = manifest["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert (group["minReplicas"], group["replicas"], group["maxReplicas"]) == (4, 4, 4)
    resources = container(manifest, "ray-worker")["resources"]
    assert resources["limits"] == {"cpu": "6", "memory": "48Gi", "nvidia.com/gpu": "1"}
    assert resources["requests"] == resources["limits"]
    assert "DS_ACCELERATOR" not in environment(container(manifest, "ray-worker"))


@pytest.mark.parametrize(
    ("allowed", "pods", "gpus", "cpu", "memory"),
    [(1, 4, "1", "6", "48Gi"), (2, 2, "2", "12", "96Gi"), (3, 2, "2", "12", "96Gi"), (8, 1, "4", "24", "192Gi")],
)
def test_workers_on_gpus_share_a_pod_as_far_as_the_settings_allow(
    allowed: int, pods: int, gpus: str, cpu: str, memory: str
) -> None:
    settings = SETTINGS.model_copy(update={"training_workers_per_pod": allowed})
    job = job_of("i1-sft", MOAA)
    manifest = find(bound(MOAA, settings).stage(job, attempt=1, shards=None), "RayJob")
    (group,) = manifest["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert (group["minReplicas"], group["replicas"], group["maxReplicas"]) == (pods, pods, pods)
    assert group["rayStartParams"]["num-gpus"] == gpus
    assert group["rayStartParams"]["num-cpus"] == cpu
    limits = container(manifest, "ray-worker")["resources"]["limits"]
    assert limits == {"cpu": cpu, "memory": memory, "nvidia.com/gpu": gpus}


def test_the_head_declares_no_port() -> None:
    assert "ports" not in container(find(stage("i1-sft"), "RayJob"), "ray-head")


def test_training_on_cpus_says_so() -> None:
    manifest = find(stage("i1-sft", on_cpu()), "RayJob")
    one = container(manifest, "ray-worker")
    assert environment(one)["DS_ACCELERATOR"] == "cpu"
    assert "nvidia.com/gpu" not in one["resources"]["limits"]
    assert "tolerations" not in manifest["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["template"]["spec"]


def test_queue_labels_pass_through_and_leave_suspending_to_the_queue() -> None:
    queued = find(stage("i1-sft"), "RayJob")
    assert queued["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
    assert "team" not in queued["metadata"]["labels"]
    assert "suspend" not in queued["spec"]
    plain = find(stage("i1-sft", changed("metadata.labels", {})), "RayJob")
    assert plain["spec"]["suspend"] is False


def test_head_and_workers_reach_the_store_and_the_submitter_holds_no_secret() -> None:
    manifest = find(stage("i1-sft"), "RayJob")
    for name in ("ray-head", "ray-worker"):
        assert "AWS_SECRET_ACCESS_KEY" in environment(container(manifest, name))
    assert not any("secretKeyRef" in str(v) for v in environment(container(manifest, "ray-job-submitter")).values())


def test_every_attempt_has_a_name_of_its_own() -> None:
    names = [find(stage("i1-sft", attempt=n), "RayJob")["metadata"]["name"] for n in (1, 2, 3)]
    assert len(set(names)) == 3
    assert Kind.SFT in names[0]
