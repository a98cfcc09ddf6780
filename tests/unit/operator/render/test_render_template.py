"""Pod templates of the resource: what they change, and what they may not."""

from typing import Any

import pytest

from moaa.errors import ResourceError
from moaa.weights.served import server_of
from moaa_operator.render.template import merge
from tests.render_world import bound, changed, find, restricted, results

OWN = frozenset({"vllm", "weights"})


def ours() -> dict[str, Any]:
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True}
    return {
        "metadata": {"labels": {"a": "1"}, "annotations": {"stay": "true"}},
        "spec": {
            "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
            "tolerations": [{"key": "gpu"}],
            "containers": [
                {
                    "name": "vllm",
                    "image": "vllm:1",
                    "env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"secretKeyRef": {}}}],
                    "resources": {"requests": {"cpu": "4", "memory": "32Gi"}},
                    "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
                    "securityContext": security,
                }
            ],
            "volumes": [{"name": "tmp", "emptyDir": {}}],
        },
    }


def merged(spec: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return merge(ours(), {"spec": spec, "metadata": metadata}, "t", own=OWN)


def of_vllm(**fields: Any) -> dict[str, Any]:
    return dict(merged({"containers": [{"name": "vllm", **fields}]})["spec"]["containers"][0])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("nodeSelector", {"pool": "h100"}),
        ("runtimeClassName", "nvidia"),
        ("priorityClassName", "high"),
        ("affinity", {"nodeAffinity": {"x": []}}),
        ("topologySpreadConstraints", [{"maxSkew": 1}]),
        ("terminationGracePeriodSeconds", 300),
    ],
)
def test_fields_of_the_pod_are_set(field: str, value: object) -> None:
    assert merged({field: value})["spec"][field] == value


def test_tolerations_and_volumes_join_ours() -> None:
    spec = merged({"tolerations": [{"key": "gpu"}, {"key": "spot"}], "volumes": [{"name": "x", "emptyDir": {}}]})[
        "spec"
    ]
    assert spec["tolerations"] == [{"key": "gpu"}, {"key": "spot"}]
    assert spec["volumes"] == [{"name": "tmp", "emptyDir": {}}, {"name": "x", "emptyDir": {}}]


def test_a_volume_of_our_name_gets_the_templates_settings() -> None:
    spec = merged({"volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "9Gi"}}]})["spec"]
    assert spec["volumes"] == [{"name": "tmp", "emptyDir": {"sizeLimit": "9Gi"}}]


def test_a_volume_of_our_name_may_be_of_another_kind() -> None:
    claim = {"name": "tmp", "persistentVolumeClaim": {"claimName": "scratch"}}
    assert merged({"volumes": [claim]})["spec"]["volumes"] == [claim]


def test_labels_and_annotations_join_ours() -> None:
    metadata = merged({}, labels={"team": "x"}, annotations={"stay": "false"})["metadata"]
    assert metadata == {"labels": {"a": "1", "team": "x"}, "annotations": {"stay": "false"}}


def test_a_container_is_changed_where_the_template_says() -> None:
    one = of_vllm(
        image="mine:2",
        env=[{"name": "A", "value": "2"}, {"name": "B", "value": "plain"}, {"name": "C", "value": "3"}],
        resources={"requests": {"memory": "64Gi"}},
        volumeMounts=[{"name": "x", "mountPath": "/x"}],
    )
    assert one["image"] == "mine:2"
    assert one["env"] == [{"name": "A", "value": "2"}, {"name": "B", "value": "plain"}, {"name": "C", "value": "3"}]
    assert one["resources"] == {"requests": {"cpu": "4", "memory": "64Gi"}}
    assert [mount["mountPath"] for mount in one["volumeMounts"]] == ["/tmp", "/x"]


def test_a_container_of_another_name_joins_and_is_restricted_too() -> None:
    template = merged(
        {
            "containers": [{"name": "log", "image": "l", "command": ["/log"]}],
            "initContainers": [{"name": "warm", "image": "w", "securityContext": {"runAsUser": 7}}],
        }
    )
    assert [c["name"] for c in template["spec"]["containers"]] == ["vllm", "log"]
    assert template["spec"]["initContainers"][0]["securityContext"]["runAsUser"] == 7
    assert restricted(template) == []


def test_merging_changes_neither_side() -> None:
    given, template = ours(), {"spec": {"containers": [{"name": "vllm", "env": [{"name": "A", "value": "2"}]}]}}
    merge(given, template, "t", own=OWN)
    assert given == ours()
    assert template == {"spec": {"containers": [{"name": "vllm", "env": [{"name": "A", "value": "2"}]}]}}


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"spec": {"serviceAccountName": "x"}}, "t.spec.serviceAccountName"),
    ({"spec": {"serviceAccount": "x"}}, "t.spec.serviceAccount"),
    ({"spec": {"automountServiceAccountToken": True}}, "t.spec.automountServiceAccountToken"),
    (
        {"spec": {"volumes": [{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]}},
        "t.spec.volumes[0].projected.sources[0].serviceAccountToken",
    ),
    ({"spec": {"hostNetwork": True}}, "t.spec.hostNetwork"),
    ({"spec": {"hostPID": True}}, "t.spec.hostPID"),
    ({"spec": {"hostIPC": True}}, "t.spec.hostIPC"),
    ({"spec": {"restartPolicy": "Always"}}, "t.spec.restartPolicy"),
    ({"spec": {"volumes": [{"name": "x", "hostPath": {"path": "/"}}]}}, "t.spec.volumes[0].hostPath"),
    ({"spec": {"volumes": [{"name": "x", "nfs": {}}]}}, "t.spec.volumes[0].nfs"),
    ({"spec": {"securityContext": {"runAsUser": 0}}}, "t.spec.securityContext.runAsUser"),
    ({"spec": {"securityContext": {"runAsNonRoot": False}}}, "t.spec.securityContext.runAsNonRoot"),
    ({"spec": {"securityContext": {"sysctls": []}}}, "t.spec.securityContext.sysctls"),
    (
        {"spec": {"securityContext": {"seccompProfile": {"type": "Unconfined"}}}},
        "t.spec.securityContext.seccompProfile",
    ),
    (
        {"spec": {"containers": [{"name": "vllm", "securityContext": {"privileged": True}}]}},
        "t.spec.containers[0].securityContext.privileged",
    ),
    (
        {"spec": {"initContainers": [{"name": "x", "securityContext": {"allowPrivilegeEscalation": True}}]}},
        "t.spec.initContainers[0].securityContext.allowPrivilegeEscalation",
    ),
    (
        {"spec": {"containers": [{"name": "vllm", "securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}]}},
        "t.spec.containers[0].securityContext.capabilities",
    ),
    ({"spec": {"containers": [{"name": "x", "ports": [{"hostPort": 80}]}]}}, "t.spec.containers[0].ports[0].hostPort"),
    ({"spec": {"containers": [{"name": "vllm", "args": ["--x"]}]}}, "t.spec.containers[0].args"),
    ({"spec": {"containers": [{"name": "vllm", "command": ["x"]}]}}, "t.spec.containers[0].command"),
    ({"spec": {"containers": [{"name": "vllm", "startupProbe": {}}]}}, "t.spec.containers[0].startupProbe"),
    ({"spec": {"containers": [{"image": "x"}]}}, "t.spec.containers[0].name"),
    ({"spec": {"containers": [{"name": "vllm", "securityContext": None}]}}, "t.spec.containers[0].securityContext"),
    ({"metadata": {"labels": {"moaa.dev/run": "other"}}}, "t.metadata.labels[moaa.dev/run]"),
    (
        {"metadata": {"annotations": {"container.apparmor.security.beta.kubernetes.io/vllm": "unconfined"}}},
        "t.metadata.annotations[container.apparmor.security.beta.kubernetes.io/vllm]",
    ),
    ({"metadata": {"name": "x"}}, "t.metadata.name"),
    ({"nodeSelector": {}}, "t.nodeSelector"),
]


@pytest.mark.parametrize(("template", "path"), REFUSED, ids=[path for _, path in REFUSED])
def test_what_reaches_beyond_the_run_is_refused_by_its_path(template: dict[str, Any], path: str) -> None:
    with pytest.raises(ResourceError) as raised:
        merge(ours(), template, "t", own=OWN)
    assert [problem.path for problem in raised.value.problems] == [path]


def test_everything_wrong_is_said_at_once() -> None:
    with pytest.raises(ResourceError) as raised:
        merge(ours(), {"spec": {"hostNetwork": True, "serviceAccountName": "x"}}, "t", own=OWN)
    assert len(raised.value.problems) == 2


def test_a_servers_template_reaches_its_pod() -> None:
    template = {"spec": {"nodeSelector": {"pool": "h100"}, "containers": [{"name": "vllm", "image": "mine:2"}]}}
    resource = changed("spec.models.0.serving.template", template)
    model = server_of("big", resource, results(resource))
    assert model is not None
    pod = find(bound(resource).servers([model]), "Deployment")["spec"]["template"]
    assert pod["spec"]["nodeSelector"] == {"pool": "h100"}
    assert pod["spec"]["containers"][0]["image"] == "mine:2"
    assert restricted(pod) == []


def test_a_refusal_names_the_field_of_the_resource() -> None:
    resource = changed("spec.models.0.serving.template", {"spec": {"hostPID": True}})
    model = server_of("big", resource, results(resource))
    assert model is not None
    with pytest.raises(ResourceError, match=r"spec\.models\[0\]\.serving\.template\.spec\.hostPID"):
        bound(resource).servers([model])
