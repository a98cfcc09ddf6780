"""Each kind of child: the fields that matter, and what must hold for all of them."""

import json
from typing import Any

import pytest

from moaa.api import MoAA
from moaa.errors import ResourceError, StageError
from moaa.plan.stage import Kind, StageJob
from moaa_operator import render
from moaa_operator.owner import HASH_ANNOTATION, ROLE_LABEL, RUN_LABEL
from moaa_operator.served import server_of
from moaa_operator.settings import Dedicated, NodeRole, Settings
from tests.render_world import (
    OWNER,
    RESOURCE,
    SETTINGS,
    changed,
    find,
    job_of,
    pod_templates,
    rayjob_objections,
    restricted,
    results,
)

MODELS = ("big", "small", "claimed", "student", "@i1-sft")
MOAA = MoAA.model_validate(RESOURCE)


def servers(resource: MoAA, *names: str) -> list[dict[str, Any]]:
    served = [server_of(name, resource, results(resource)) for name in names or MODELS]
    return render.servers([model for model in served if model], resource, OWNER, SETTINGS)


def stage(name: str, resource: MoAA = MOAA, *, attempt: int = 1, shards: int | None = None) -> list[dict[str, Any]]:
    job = job_of(name, resource)
    return render.stage_children(job, resource, OWNER, attempt=attempt, shards=shards, settings=SETTINGS)


def finalise(name: str) -> list[dict[str, Any]]:
    return render.finalise_children(job_of(name, MOAA), MOAA, OWNER, attempt=1, settings=SETTINGS)


def everything(resource: MoAA = MOAA) -> list[dict[str, Any]]:
    check = job_of("i0-resolve", resource)
    return [
        *servers(resource),
        *stage("i0-resolve", resource),
        *stage("i0-stage-data", resource),
        *stage("i1-generate", resource, shards=3),
        *stage("i1-sft", resource),
        *stage("i1-dpo", resource),
        *finalise("i1-generate"),
        *finalise("i1-sft"),
        *render.inspect_children(check, resource, OWNER, attempt=1, settings=SETTINGS),
        *render.preflight_children(check, resource, OWNER, attempt=1, settings=SETTINGS),
    ]


def container(manifest: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [
        c
        for template in pod_templates(manifest)
        for c in [*template["spec"]["containers"], *template["spec"].get("initContainers", [])]
        if c["name"] == name
    ]
    return dict(found)


def environment(given: dict[str, Any]) -> dict[str, Any]:
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in given["env"]}


# What holds for every child


def test_every_pod_is_restricted() -> None:
    templates = [template for manifest in everything() for template in pod_templates(manifest)]
    assert len(templates) >= 16
    assert [objection for template in templates for objection in restricted(template)] == []


def test_every_pod_has_the_runs_account_without_its_token_and_writes_only_where_it_may() -> None:
    for manifest in everything():
        for template in pod_templates(manifest):
            spec = template["spec"]
            assert spec["serviceAccountName"] == "moaa-run"
            assert spec["automountServiceAccountToken"] is False
            assert spec["enableServiceLinks"] is False
            assert spec["imagePullSecrets"] == [{"name": "regcred"}]
            assert template["metadata"]["labels"][RUN_LABEL] == "demo"
            for one in [*spec["containers"], *spec.get("initContainers", [])]:
                mounted = {mount["mountPath"] for mount in one["volumeMounts"]}
                assert {"/tmp", "/home/moaa"} <= mounted
                assert environment(one)["HOME"] == "/home/moaa"
                named = {volume["name"] for volume in spec["volumes"]}
                assert {mount["name"] for mount in one["volumeMounts"]} <= named


GPU = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}


def placed(role: str, moaa: str = "") -> dict[str, Any]:
    taint = {"key": "moaa.dev/role", "operator": "Equal", "value": role, "effect": "NoSchedule"}
    only = {"key": "moaa.dev/only", "operator": "Equal", "value": moaa, "effect": "NoSchedule"}
    selector = {"moaa.dev/role": role, **({"moaa.dev/only": moaa} if moaa else {})}
    return {"nodeSelector": selector, "tolerations": [GPU, taint, *([only] if moaa else [])]}


def roles_of(settings: Settings) -> dict[str, tuple[Any, Any]]:
    """Selector and tolerations of each role's pods."""
    model = server_of("big", MOAA, results(MOAA))
    assert model is not None
    children = [
        *render.servers([model], MOAA, OWNER, settings),
        *render.stage_children(job_of("i1-sft", MOAA), MOAA, OWNER, attempt=1, shards=None, settings=settings),
        *render.preflight_children(job_of("i0-resolve", MOAA), MOAA, OWNER, attempt=1, settings=settings),
    ]
    templates = {t["spec"]["containers"][0]["name"]: t["spec"] for c in children for t in pod_templates(c)}
    return {name: (spec.get("nodeSelector"), spec.get("tolerations")) for name, spec in templates.items()}


def test_pods_go_to_the_nodes_of_their_role_and_a_runs_own_nodes_come_first() -> None:
    shared = {role: placed(role) for role in ("inference", "training")} | {"system": {"nodeSelector": {"pool": "s"}}}
    own = {"moaa": "demo", "role": "training", "nodeGroup": "big", **placed("training", "demo")}
    other = {"moaa": "another", "role": "inference", **placed("inference", "another")}
    settings = Settings.model_validate({"scheduling": shared, "dedicated": [own, other]})
    found = roles_of(settings)
    system = ({"pool": "s"}, None)
    assert found["job"] == found["ray-head"] == found["ray-job-submitter"] == system
    assert found["vllm"] == tuple(placed("inference").values())
    assert found["ray-worker"] == tuple(placed("training", "demo").values())
    nowhere = roles_of(Settings())
    assert nowhere["vllm"] == nowhere["ray-worker"] == (None, [GPU])


def test_the_resources_template_is_merged_over_where_the_operator_puts_a_pod() -> None:
    template = {"spec": {"nodeSelector": {"zone": "a", "moaa.dev/role": "mine"}, "tolerations": [{"key": "mine"}]}}
    resource = changed("spec.models.0.serving.template", template)
    model = server_of("big", resource, results(resource))
    assert model is not None
    settings = Settings.model_validate({"scheduling": {"inference": placed("inference")}})
    (pod,) = pod_templates(find(render.servers([model], resource, OWNER, settings), "Deployment"))
    assert pod["spec"]["nodeSelector"] == {"zone": "a", "moaa.dev/role": "mine"}
    assert pod["spec"]["tolerations"] == [*placed("inference")["tolerations"], {"key": "mine"}]


def test_servers_have_an_account_of_their_own_where_the_namespace_has_one() -> None:
    settings = Settings(server_service_accounts={"team/moaa-run": "moaa-serve", "other/moaa-run": "else"})
    model = server_of("big", MOAA, results(MOAA))
    assert model is not None
    before, after = (render.servers([model], MOAA, OWNER, s) for s in (SETTINGS, settings))
    (pod,) = pod_templates(find(after, "Deployment"))
    assert pod["spec"]["serviceAccountName"] == "moaa-serve"
    assert [m["metadata"]["annotations"][HASH_ANNOTATION] for m in before] == [
        m["metadata"]["annotations"][HASH_ANNOTATION] for m in after
    ]
    check = render.preflight_children(job_of("i0-resolve", MOAA), MOAA, OWNER, attempt=1, settings=settings)
    (pod,) = pod_templates(find(check, "Job"))
    assert pod["spec"]["serviceAccountName"] == "moaa-run"


def test_where_pods_go_comes_from_variables_as_the_chart_writes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOAA_OPERATOR_SCHEDULING", json.dumps({"training": placed("training")}))
    monkeypatch.setenv("MOAA_OPERATOR_DEDICATED", json.dumps([{"moaa": "demo", "role": "inference"}]))
    monkeypatch.setenv("MOAA_OPERATOR_SERVER_SERVICE_ACCOUNTS", json.dumps({"team/moaa-run": "moaa-serve"}))
    settings = Settings()
    assert settings.place("demo", NodeRole.TRAINING).node_selector == {"moaa.dev/role": "training"}
    assert settings.place("demo", NodeRole.INFERENCE) == Dedicated(moaa="demo", role=NodeRole.INFERENCE)
    assert settings.server_account("team", "moaa-run") == "moaa-serve"
    assert settings.server_account("other", "moaa-run") == "moaa-run"


def test_every_child_is_owned_labelled_hashed_and_in_its_namespace() -> None:
    for manifest in everything():
        about = manifest["metadata"]
        assert about["namespace"] == "team"
        assert about["ownerReferences"] == [dict(OWNER.reference)]
        assert about["labels"][RUN_LABEL] == "demo"
        assert about["labels"][ROLE_LABEL] in set(render.Role)
        assert len(about["annotations"][HASH_ANNOTATION]) == 64


def test_names_are_unique_among_children_of_a_kind() -> None:
    names = [(manifest["kind"], manifest["metadata"]["name"]) for manifest in everything()]
    assert len(set(names)) == len(names)


def test_no_secret_value_reaches_a_manifest(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "MOAA_SECRET_HUB_TOKEN", "MOAA_SECRET_X_K")
    for variable in variables:
        monkeypatch.setenv(variable, "SENTINEL")
    assert "SENTINEL" not in json.dumps(everything())


def test_secrets_are_referred_to_by_name_and_key() -> None:
    told = environment(container(find(servers(MOAA, "big"), "Deployment"), "weights"))
    assert told["MOAA_SECRET_HUB_TOKEN"] == {"secretKeyRef": {"name": "hub", "key": "token"}}
    assert told["AWS_SECRET_ACCESS_KEY"] == {"secretKeyRef": {"name": "s3", "key": "AWS_SECRET_ACCESS_KEY"}}
    assert told["AWS_SESSION_TOKEN"]["secretKeyRef"]["optional"] is True
    assert told["AWS_ENDPOINT_URL"] == "http://s3.team.svc:7070"
    assert not any("secretKeyRef" in str(v) for v in environment(vllm("big")).values())


def test_rendering_twice_gives_the_same() -> None:
    assert everything() == everything()


def test_an_upgrade_of_the_operator_changes_no_hash() -> None:
    newer = SETTINGS.model_copy(update={"vllm_image": "vllm:2", "jobs_image": "jobs:2", "server_cpu": "9"})
    model = server_of("big", MOAA, results(MOAA))
    assert model is not None
    before, after = (render.servers([model], MOAA, OWNER, given) for given in (SETTINGS, newer))
    assert before != after
    assert [m["metadata"] for m in before] == [m["metadata"] for m in after]


@pytest.mark.parametrize(
    ("path", "value", "is_edit"),
    [
        ("spec.models.0.serving.args", [], True),
        ("spec.models.0.serving.template", {"spec": {"nodeSelector": {"a": "b"}}}, True),
        ("spec.storage.region", "us-east-1", True),
        ("spec.serviceAccountName", "other", True),
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


# Servers


def vllm(name: str, resource: MoAA = MOAA) -> dict[str, Any]:
    return container(find(servers(resource, name), "Deployment"), "vllm")


def option(command: list[str], flag: str) -> str:
    return str(command[command.index(flag) + 1])


def test_a_gpu_server_is_told_what_the_resource_says() -> None:
    one = vllm("big")
    assert one["image"] == SETTINGS.vllm_image
    assert one["resources"]["limits"]["nvidia.com/gpu"] == "8"
    assert option(one["command"], "--tensor-parallel-size") == "8"
    assert option(one["command"], "--served-model-name") == "big"
    assert option(one["command"], "--max-model-len") == "8192"
    assert one["command"][-2:] == ["--quantization", "fp8"]
    assert "--enforce-eager" not in one["command"]
    assert one["securityContext"]["readOnlyRootFilesystem"] is False


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
    assert probe["exec"]["command"][3:] == ["8000", "big"]
    assert probe["periodSeconds"] * probe["failureThreshold"] == 30 * 60


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


def test_urls_lead_to_the_service() -> None:
    model = server_of("big", MOAA, results(MOAA))
    assert model is not None
    name = find(servers(MOAA, "big"), "Service")["metadata"]["name"]
    assert render.server_url(model, OWNER) == f"http://{name}.team.svc:8000/v1"


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
    assert len(render.servers([one, one], MOAA, OWNER, SETTINGS)) == 2


# Jobs


def test_a_stage_without_shards_is_one_pod() -> None:
    job = find(stage("i0-stage-data"), "Job")["spec"]
    assert "completionMode" not in job
    assert job["backoffLimit"] == 2
    assert job["template"]["spec"]["restartPolicy"] == "Never"
    assert "ttlSecondsAfterFinished" not in job
    assert job["activeDeadlineSeconds"] > 0


def test_a_stage_with_shards_is_one_pod_each() -> None:
    manifest = find(stage("i1-generate", shards=9), "Job")
    job = manifest["spec"]
    assert (job["completionMode"], job["completions"], job["parallelism"]) == ("Indexed", 9, 4)
    assert "backoffLimit" not in job
    assert job["maxFailedIndexes"] <= job["completions"]
    assert job["podReplacementPolicy"] == "Failed"
    told = environment(container(manifest, "job"))
    assert "job-completion-index" in told["MOAA_SHARD"]["fieldRef"]["fieldPath"]


@pytest.mark.parametrize(
    ("shards", "code", "action"),
    [(None, 64, "FailJob"), (None, 75, "FailJob"), (9, 64, "FailJob"), (9, 69, "FailIndex"), (9, 75, "FailIndex")],
)
def test_exit_codes_decide_what_a_failed_pod_means(shards: int | None, code: int, action: str) -> None:
    rules = find(stage("i1-generate", shards=shards), "Job")["spec"]["podFailurePolicy"]["rules"]
    (found,) = [rule["action"] for rule in rules if code in rule.get("onExitCodes", {}).get("values", [])]
    assert found == action
    assert rules[0]["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    assert rules[0]["action"] == "Ignore"


def test_a_job_reads_its_file_and_says_where_it_is() -> None:
    children = stage("i1-generate", shards=2)
    file, job = find(children, "ConfigMap"), find(children, "Job")
    assert file["immutable"] is True
    assert StageJob.model_validate_json(file["data"]["job.json"]) == job_of("i1-generate", MOAA)
    one = container(job, "job")
    assert one["command"] == ["python", "-m", "moaa_jobs", "--job", "/etc/moaa/job.json"]
    volumes = job["spec"]["template"]["spec"]["volumes"]
    assert {"name": "job", "configMap": {"name": file["metadata"]["name"]}} in volumes
    assert environment(one)["MOAA_TERMINATION_LOG"] == "/dev/termination-log"
    assert environment(one)["MOAA_PROGRESS_PORT"] == str(one["ports"][0]["containerPort"])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("i0-resolve", {"MOAA_SECRET_HUB_TOKEN"}),
        ("i0-stage-data", set()),
        ("i1-generate", {"MOAA_SECRET_HUB_TOKEN", "MOAA_SECRET_X_K"}),
    ],
)
def test_a_stage_gets_only_the_secrets_it_needs(name: str, expected: set[str]) -> None:
    told = environment(container(find(stage(name), "Job"), "job"))
    assert {variable for variable in told if variable.startswith("MOAA_SECRET_")} == expected


def test_finalise_is_light_and_has_no_model_secret() -> None:
    one = container(find(finalise("i1-generate"), "Job"), "job")
    assert one["resources"]["requests"]["memory"] == SETTINGS.light_memory
    assert not any(name.startswith("MOAA_SECRET_") or name == "MOAA_SHARD" for name in environment(one))
    assert one["image"] == SETTINGS.jobs_image
    assert container(find(finalise("i1-sft"), "Job"), "job")["image"] == SETTINGS.train_image


@pytest.mark.parametrize("command", ["inspect", "preflight"])
def test_checks_are_light_jobs_of_their_own_command(command: str) -> None:
    make = render.inspect_children if command == "inspect" else render.preflight_children
    children = make(job_of("i0-resolve", MOAA), MOAA, OWNER, attempt=2, settings=SETTINGS)
    assert container(find(children, "Job"), "job")["command"][2:4] == ["moaa_jobs", command]


def test_a_job_file_that_no_config_map_holds_is_an_error() -> None:
    job = job_of("i1-generate", MOAA).model_copy(update={"document": {"x": "y" * 1_100_000}})
    with pytest.raises(StageError, match="more than the 1024000 of a ConfigMap"):
        render.stage_children(job, MOAA, OWNER, attempt=1, shards=1, settings=SETTINGS)


# RayJobs


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
    assert spec["submitterConfig"] == {"backoffLimit": 0}
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["ttlSecondsAfterFinished"] == 0
    assert spec["entrypoint"] == "python -m moaa_jobs --job /etc/moaa/job.json"


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
    manifest = find(render.stage_children(job, MOAA, OWNER, attempt=1, shards=None, settings=settings), "RayJob")
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
