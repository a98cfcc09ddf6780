"""A model server's Deployment and Service: the fields that matter, and what its hash follows."""

import json
from typing import Any

import pytest

from moaa.api import MoAA
from moaa.api.models import ModelKind
from moaa.errors import ResourceError
from moaa.weights.served import server_of
from moaa_operator.kube.owner import HASH_ANNOTATION
from moaa_operator.settings import Settings
from tests.render_world import (
    MOAA,
    SETTINGS,
    bound,
    changed,
    container,
    environment,
    find,
    results,
    servers,
    stage,
)


def vllm(name: str, resource: MoAA = MOAA) -> dict[str, Any]:
    return container(find(servers(resource, name), "Deployment"), "vllm")


def option(command: list[str], flag: str) -> str:
    return str(command[command.index(flag) + 1])


def test_a_gpu_server_is_told_what_the_resource_says() -> None:
    one = vllm("big")
    assert one["image"] == SETTINGS.vllm_image
    assert one["resources"]["limits"] == {"nvidia.com/gpu": "8", "memory": "192Gi"}
    assert option(one["command"], "--tensor-parallel-size") == "8"
    assert option(one["command"], "--served-model-name") == "big"
    assert option(one["command"], "--max-model-len") == "8192"
    assert one["command"][-2:] == ["--quantization", "fp8"]
    assert "--enforce-eager" not in one["command"]
    assert one["securityContext"]["readOnlyRootFilesystem"] is False


def test_gpu_servers_would_rather_share_a_machine_with_others() -> None:
    pods = {name: find(servers(MOAA, name), "Deployment")["spec"]["template"] for name in ("big", "small")}
    [wish] = pods["big"]["spec"]["affinity"]["podAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    term = wish["podAffinityTerm"]
    assert term["topologyKey"] == "kubernetes.io/hostname"
    for pod in pods.values():
        assert term["labelSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert "affinity" not in pods["small"]["spec"]


def test_a_cpu_server_is_eager_needs_no_gpu_and_writes_nothing_to_its_root() -> None:
    one = vllm("small")
    assert one["image"] == SETTINGS.vllm_cpu_image
    assert "--enforce-eager" in one["command"]
    assert "nvidia.com/gpu" not in one["resources"]["limits"]
    assert one["resources"]["limits"]["memory"] == "3Gi"
    assert environment(one)["VLLM_CPU_OMP_THREADS_BIND"] == "nobind"
    assert one["securityContext"]["readOnlyRootFilesystem"] is True


def test_a_server_is_ready_after_a_real_completion_within_its_startup_minutes() -> None:
    probe = vllm("big")["startupProbe"]
    assert probe["exec"]["command"][:2] == ["python3", "-c"]
    assert "chat/completions" in probe["exec"]["command"][2]
    assert probe["exec"]["command"][3:] == ["start", "8000", "big", "/tmp/last-token.json"]
    assert probe["periodSeconds"] * probe["failureThreshold"] == 30 * 60


def test_a_server_of_a_reward_model_pools_and_is_ready_after_a_real_score() -> None:
    models = [m.with_(kind=ModelKind.REWARD) if m.name == "big" else m for m in MOAA.spec.models]
    one = vllm("big", MOAA.with_(spec=MOAA.spec.with_(models=models)))
    assert option(one["command"], "--runner") == "pooling"
    probe = one["startupProbe"]["exec"]["command"]
    assert probe[3:] == ["start", "8000", "big", "/tmp/last-token.json", "score"]
    assert "--runner" not in vllm("big")["command"]


def test_a_server_lives_while_it_gives_tokens() -> None:
    probe = vllm("big")["livenessProbe"]
    assert probe["exec"]["command"][3:] == ["alive", "8000", "/tmp/last-token.json"]
    assert probe["periodSeconds"] > probe["timeoutSeconds"]


def test_a_server_asks_for_cores_by_its_gpus() -> None:
    assert MOAA.spec.model("big").serving.gpus == 8
    assert vllm("big")["resources"]["requests"]["cpu"] == "32"
    assert vllm("small")["resources"]["requests"]["cpu"] == SETTINGS.server_cpu


def test_a_server_that_goes_finishes_what_it_was_asked() -> None:
    deployment = find(servers(MOAA, "big"), "Deployment")
    one = container(deployment, "vllm")
    leave = int(one["lifecycle"]["preStop"]["exec"]["command"][1])
    finish = int(option(one["command"], "--shutdown-timeout"))
    assert deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > leave + finish
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}


def test_a_service_finds_exactly_its_own_pods() -> None:
    children = servers(MOAA, "big", "small")
    services = [m for m in children if m["kind"] == "Service"]
    deployments = [m for m in children if m["kind"] == "Deployment"]
    for service in services:
        selector = service["spec"]["selector"].items()
        matched = [d for d in deployments if selector <= d["spec"]["template"]["metadata"]["labels"].items()]
        assert [d["metadata"]["name"] for d in matched] == [service["metadata"]["name"]]
        assert service["spec"]["clusterIP"] == "None"
    for deployment in deployments:
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_secrets_are_referred_to_by_name_and_key() -> None:
    told = environment(container(find(servers(MOAA, "big"), "Deployment"), "weights"))
    assert told["MOAA_SECRET_HUB_TOKEN"] == {"secretKeyRef": {"name": "hub", "key": "token"}}
    assert told["AWS_SECRET_ACCESS_KEY"] == {"secretKeyRef": {"name": "s3", "key": "AWS_SECRET_ACCESS_KEY"}}
    assert told["AWS_SESSION_TOKEN"]["secretKeyRef"]["optional"] is True
    assert told["AWS_ENDPOINT_URL"] == "http://s3.team.svc:7070"
    assert not any("secretKeyRef" in str(v) for v in environment(vllm("big")).values())


def test_urls_lead_to_the_service() -> None:
    model = server_of("big", MOAA, results(MOAA))
    assert model is not None
    name = find(servers(MOAA, "big"), "Service")["metadata"]["name"]
    assert bound().server_url(model) == f"http://{name}.team.svc:8000/v1"


def fetch(name: str) -> dict[str, Any]:
    told = environment(container(find(servers(MOAA, name), "Deployment"), "weights"))
    return dict(json.loads(told["MOAA_FETCH"]))


def test_weights_are_brought_by_digest_from_wherever_they_are() -> None:
    assert fetch("big")["model"]["source"] == "hf://owner/big"
    assert fetch("big")["digest"] == results(MOAA)["i0-resolve"].models["big"]
    student = fetch("@i1-sft")
    assert student["folder"] == "stages/sft/x/out/1/model"
    assert student["digest"] == results(MOAA)["i1-sft"].outputs["model"].digest


def test_a_claim_is_mounted_read_only_where_the_task_says() -> None:
    assert fetch("claimed")["claim"] == "/claim/some/folder"
    deployment = find(servers(MOAA, "claimed"), "Deployment")
    volumes = deployment["spec"]["template"]["spec"]["volumes"]
    assert {"name": "claim", "persistentVolumeClaim": {"claimName": "models", "readOnly": True}} in volumes
    for name in ("weights", "vllm"):
        mounts = {m["mountPath"]: m for m in container(deployment, name)["volumeMounts"]}
        assert mounts["/claim"] == {"name": "claim", "mountPath": "/claim", "readOnly": True}


def test_a_folder_of_one_machine_is_refused_with_what_to_do() -> None:
    resource = changed("spec.models.1.source", "file:///models/small")
    with pytest.raises(ResourceError, match=r"spec\.models\[1\]\.source: file:///models/small .*use hf://, s3://"):
        servers(resource, "small")


def test_a_promoted_student_shares_the_server_of_the_stage_that_trained_it() -> None:
    one = server_of("@i1-sft", MOAA, results(MOAA))
    assert one is not None
    assert len(bound().servers([one, one])) == 2


@pytest.mark.parametrize(
    ("path", "value", "is_edit"),
    [
        ("spec.models.0.serving.args", [], True),
        ("spec.models.0.chatTemplate", "{{ messages }}", True),
        ("spec.models.0.chatTemplateArgs", {"enable_thinking": False}, True),
        ("spec.models.0.serving.template", {"spec": {"nodeSelector": {"a": "b"}}}, True),
        ("spec.storage.region", "us-east-1", True),
        ("spec.serviceAccountName", "other", True),
        ("spec.storage.weights", "Hub", False),
        ("spec.models.0.license", "mit", False),
        ("spec.training.sft.epochs", "1", False),
        ("spec.models.1.serving.maxModelLen", 4096, False),
        ("spec.models.0.serving.maxConcurrency", 256, False),  # the default, written out
    ],
)
def test_a_servers_hash_follows_what_concerns_it(path: str, value: object, is_edit: bool) -> None:
    before, after = (find(servers(one, "big"), "Deployment") for one in (MOAA, changed(path, value)))
    hashes = {m["metadata"]["annotations"][HASH_ANNOTATION] for m in (before, after)}
    assert len(hashes) == (2 if is_edit else 1)


def sized(gib: int, resource: MoAA = MOAA) -> dict[str, Any]:
    """Results in which every model but the last by name has this size, as resolve tells it."""
    known = results(resource)
    listed = [gib] * (len(resource.spec.models) - 1) + [0]
    return {**known, "i0-resolve": known["i0-resolve"].with_(weights_gib=listed)}


UNQUEUED = changed("metadata.labels", {})


@pytest.mark.parametrize(
    ("resource", "requests", "asked"),
    [
        pytest.param(UNQUEUED, "OutsideQueues", "142Gi", id="no-queue"),
        pytest.param(MOAA, "OutsideQueues", None, id="queue"),
        pytest.param(MOAA, "Always", "142Gi", id="always"),
        pytest.param(UNQUEUED, "Never", None, id="never"),
    ],
)
def test_a_pod_asks_for_the_disk_of_its_weights(resource: MoAA, requests: str, asked: str | None) -> None:
    settings = Settings(**SETTINGS.model_dump(exclude={"disk_requests"}), disk_requests=requests)
    known = sized(140, resource)
    for name in ("big", "@i1-sft"):
        model = server_of(name, resource, {**known, "i0-resolve": known["i0-resolve"].with_(weights_gib=[140] * 5)})
        assert model is not None
        one = container(find(bound(resource, settings).servers([model]), "Deployment"), "vllm")
        assert one["resources"]["requests"].get("ephemeral-storage") == asked
        assert "ephemeral-storage" not in one["resources"]["limits"], "it would be ended in the middle of its work"


def test_a_disk_is_asked_for_where_the_size_is_known_and_weights_come_to_it() -> None:
    known = sized(9, UNQUEUED)
    for name, asked in (("big", True), ("student", False), ("claimed", False)):
        model = server_of(name, UNQUEUED, known)
        assert model is not None
        one = container(find(bound(UNQUEUED).servers([model]), "Deployment"), "vllm")
        assert ("ephemeral-storage" in one["resources"]["requests"]) is asked


def test_knowing_a_size_makes_no_server_anew() -> None:
    models = [server_of("big", UNQUEUED, known) for known in (results(UNQUEUED), sized(9, UNQUEUED))]
    assert models[0] == models[1] is not None
    before, after = (find(bound(UNQUEUED).servers([m]), "Deployment") for m in models if m is not None)
    assert before["spec"] != after["spec"]
    assert before["metadata"] == after["metadata"]


def test_a_chat_template_reaches_vllm_as_it_is_written() -> None:
    """Kubernetes would put a variable of the container in place of $(NAME)."""
    told = vllm("big", changed("spec.models.0.chatTemplate", "{{ messages }} $(HOME)"))["command"]
    assert option(told, "--chat-template") == "{{ messages }} $$(HOME)"


def test_an_upgrade_of_the_operator_changes_no_hash() -> None:
    newer = SETTINGS.model_copy(update={"vllm_image": "vllm:2", "jobs_image": "jobs:2", "server_cpu": "9"})
    model = server_of("big", MOAA, results(MOAA))
    assert model is not None
    before, after = (bound(MOAA, given).servers([model]) for given in (SETTINGS, newer))
    assert before != after
    assert [m["metadata"] for m in before] == [m["metadata"] for m in after]


def test_more_replicas_change_the_deployment_alone_and_restart_nothing() -> None:
    before, after = (
        [*servers(one), *stage("i0-resolve", one), *stage("i1-generate", one, shards=3), *stage("i1-sft", one)]
        for one in (MOAA, changed("spec.models.0.serving.replicas", 5))
    )
    (old, new), *others = [(a, b) for a, b in zip(before, after, strict=True) if a != b and a["kind"] != "ConfigMap"]
    assert others == []
    assert old["kind"] == "Deployment"
    assert old["metadata"]["annotations"] != new["metadata"]["annotations"]
    assert old["spec"]["template"] == new["spec"]["template"]
    assert (old["spec"]["replicas"], new["spec"]["replicas"]) == (2, 5)
