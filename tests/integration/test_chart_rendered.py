"""The chart through a real Helm: what comes out for which values. An API server takes it in test_chart_apiserver."""

import re
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from moaa.api.crd.definition import crd
from moaa_operator.settings import LogFormat, NodeRole, Peers, Settings
from tests.chart import (
    ALL,
    CHART,
    DIGEST,
    KUBERNETES,
    MATRIX,
    READ,
    RULES,
    TERRAFORM,
    HelmRefused,
    Object,
    helm,
    only,
    render,
)

CLUSTER_SCOPED = {
    "CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding", "Namespace", "PriorityClass",
    "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding",
}  # fmt: skip


def names(objects: list[Object], kind: str) -> set[str]:
    return {one["metadata"]["name"] for one in objects if one["kind"] == kind}


def rights(role: Object) -> dict[tuple[str, str], list[str]]:
    """Verbs by group and resource. Rules with names are left out."""
    found: dict[tuple[str, str], list[str]] = {}
    for rule in role["rules"]:
        assert rule.keys() == {"apiGroups", "resources", "verbs"}
        for key in [(group, kind) for group in rule["apiGroups"] for kind in rule["resources"]]:
            assert key not in found
            found[key] = rule["verbs"]
    return found


def pod_of(objects: list[Object]) -> Object:
    """The operator's."""
    (found,) = [one for one in objects if one["kind"] == "Deployment" and component(one) == "operator"]
    spec: Object = found["spec"]["template"]["spec"]
    return spec


def component(made: Object) -> str:
    return str(made["metadata"]["labels"]["app.kubernetes.io/component"])


def settings_of(objects: list[Object], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """What the operator makes of its environment."""
    (container,) = pod_of(objects)["containers"]
    for variable in container["env"]:
        monkeypatch.setenv(variable["name"], variable.get("value", "from-the-pod"))
    return Settings()


def test_lint_finds_nothing() -> None:
    assert "0 chart(s) failed" in helm("lint", str(CHART), "--strict", "--kube-version", KUBERNETES, values=ALL)


@pytest.mark.parametrize("case", MATRIX)
def test_every_object_has_a_name_of_its_own_a_place_and_our_labels(case: str) -> None:
    objects = render(MATRIX[case])
    meta = [(one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]) for one in objects]
    assert len(set(meta)) == len(meta) >= 1
    assert [key for key in meta if (key[1] is None) != (key[0] in CLUSTER_SCOPED)] == []
    assert {one["metadata"]["labels"]["app.kubernetes.io/managed-by"] for one in objects} == {"Helm"}
    assert "Secret" not in {kind for kind, _, _ in meta}


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"clusterWide": False}, "runNamespaces: empty, but clusterWide is false"),
        ({"operator": {"replicas": 2, "leaderElection": False}}, "operator.replicas: 2 need operator.leaderElection"),
        ({"priorityClasses": {"jobs": {"create": True}}}, "priorityClasses.jobs.name: empty, but create is true"),
        (
            {"metrics": {"service": False, "serviceMonitor": {"enabled": True}}},
            "metrics.serviceMonitor.enabled: needs metrics.service: true",
        ),
        (
            {"views": [{"namespace": "runs", "storageUri": f"s3://{name}"} for name in "ab"]},
            "views: two would be called runs/moaa-view; give each of namespace runs a name of its own",
        ),
        ({"operator": {"image": "moaa"}}, "additional properties 'image' not allowed"),
    ],
)
def test_helm_refuses(values: dict[str, Any], why: str) -> None:
    with pytest.raises(HelmRefused, match=re.escape(why)):
        render(values)


def test_the_definition_is_that_of_the_classes_and_is_kept() -> None:
    definition = only(render(), "CustomResourceDefinition")
    metadata = definition.pop("metadata")
    expected = crd()
    expected.pop("metadata")
    assert definition == expected
    assert metadata["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert "annotations" not in only(render({"crds": {"keep": False}}), "CustomResourceDefinition")["metadata"]


def test_rights_in_the_whole_cluster() -> None:
    objects = render()
    role = only(objects, "ClusterRole", "moaa")
    assert rights(role) == RULES
    binding = only(objects, "ClusterRoleBinding")
    assert binding["roleRef"]["name"] == "moaa"
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "moaa", "namespace": "moaa-system"}]
    assert names(objects, "Role") == {"moaa-lease"}


def test_rights_in_some_namespaces() -> None:
    objects = render(MATRIX["namespaced"])
    assert names(objects, "ClusterRole") == {"moaa-edit", "moaa-view"}
    assert names(objects, "ClusterRoleBinding") == set()
    roles = [one for one in objects if one["kind"] == "Role" and one["metadata"]["name"] == "moaa"]
    bindings = [one for one in objects if one["kind"] == "RoleBinding" and one["metadata"]["name"] == "moaa"]
    for found in (roles, bindings):
        assert [one["metadata"]["namespace"] for one in found] == ["runs", "more"]
    assert [rights(role) for role in roles] == [RULES, RULES]
    assert {(b["roleRef"]["kind"], b["roleRef"]["name"]) for b in bindings} == {("Role", "moaa")}


def test_the_lease_is_one_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    objects = render(release="two")
    role = only(objects, "Role")
    assert role["metadata"]["namespace"] == "moaa-system"
    lease = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"]}
    assert role["rules"] == [
        {**lease, "verbs": ["create"]},
        {**lease, "verbs": ["get", "update"], "resourceNames": ["two-moaa"]},
    ]
    assert settings_of(objects, monkeypatch).lease_name == "two-moaa"
    assert names(render(MATRIX["alone"]), "Role") == set()


def test_people_get_moaas_with_their_roles() -> None:
    objects = render()
    labels = {name: only(objects, "ClusterRole", name)["metadata"]["labels"] for name in ("moaa-edit", "moaa-view")}
    aggregated = {name: {k for k in found if "aggregate" in k} for name, found in labels.items()}
    prefix = "rbac.authorization.k8s.io/aggregate-to"
    assert aggregated == {"moaa-edit": {f"{prefix}-admin", f"{prefix}-edit"}, "moaa-view": {f"{prefix}-view"}}
    view = only(objects, "ClusterRole", "moaa-view")
    assert rights(view) == {("moaa.dev", "moaas"): READ, ("moaa.dev", "moaas/status"): READ}


@pytest.mark.parametrize("case", MATRIX)
def test_the_operator_is_restricted(case: str) -> None:
    pod = pod_of(render(MATRIX[case]))
    assert not pod.keys() & {"hostNetwork", "hostPID", "hostIPC", "initContainers"}
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["enableServiceLinks"] is False
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert [volume.keys() for volume in pod["volumes"]] == [{"name", "emptyDir"}]
    assert all("secretKeyRef" not in str(variable) for variable in container["env"])
    assert set(container["resources"]) == {"requests", "limits"}
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"metrics": 8080, "health": 8081}
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "health"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "health"}


def test_one_replica_has_no_budget_and_two_are_spread() -> None:
    alone, two = render(), render(MATRIX["two-replicas"])
    assert names(alone, "PodDisruptionBudget") == set()
    assert "topologySpreadConstraints" not in pod_of(alone)
    selector = only(two, "Deployment")["spec"]["selector"]
    budget = only(two, "PodDisruptionBudget")["spec"]
    assert (budget["maxUnavailable"], budget["selector"]) == (1, selector)
    (spread,) = pod_of(two)["topologySpreadConstraints"]
    assert spread["labelSelector"] == selector
    assert selector["matchLabels"].items() <= only(two, "Deployment")["spec"]["template"]["metadata"]["labels"].items()


def peers(release: str) -> dict[str, Any]:
    """Who reaches pods of runs besides their own."""
    operator = {"app.kubernetes.io/component": "operator", "app.kubernetes.io/instance": release,
                "app.kubernetes.io/name": "moaa"}  # fmt: skip
    return {
        "operator": [_peer("moaa-system", operator)],
        "kuberay": [_peer("kuberay", {"app.kubernetes.io/component": "kuberay-operator"})],
    }


def _peer(namespace: str, labels: dict[str, str]) -> dict[str, Any]:
    return {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "podSelector": {"matchLabels": labels},
    }


def test_the_operator_reads_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = Settings(
        jobs_image="moaa-jobs:0.1.0",
        train_image="moaa-train:0.1.0",
        namespace="from-the-pod",
        lease_name="moaa",
        log_format=LogFormat.JSON,
        network_peers=Peers.model_validate(peers("moaa")),
    )
    assert settings_of(render(), monkeypatch) == expected


def test_the_operator_reads_all_values(monkeypatch: pytest.MonkeyPatch) -> None:
    objects = render(MATRIX["all-namespaced"], release="rel")
    settings = settings_of(objects, monkeypatch)
    said = settings.model_dump(exclude_defaults=True, mode="json")
    assert said == {
        "namespace": "from-the-pod",
        "lease_name": "rel-moaa",
        "jobs_image": "registry.example/moaa/jobs:1.2",
        "train_image": "moaa-train:0.1.0",
        "image_pull_secrets": ["registry", "other"],
        "job_priority_class": "moaa-jobs",
        "training_priority_class": "there-already",
        "server_service_accounts": {"runs/moaa-run": "moaa-serve"},
        "scheduling": {"system": {"node_selector": {"moaa.dev/role": "system"}, "tolerations": [{"key": "system"}]}},
        "watch_namespaces": ["runs", "made", "one"],
        "log_level": "DEBUG",
        "job_cpu": "500m",
        "workers": 8,
        "lease_duration_s": 20.5,
        "training_deadline_hours": 10_000_000,
        "network_peers": peers("rel"),
        "allowed": {"service_accounts": ["*/moaa-run"], "images": [], "vllm_code_args": ["--trust-remote-code"]},
    }
    pod = pod_of(objects)
    assert pod["containers"][0]["image"] == f"registry.example/moaa/operator@{DIGEST}"
    assert pod["serviceAccountName"] == "op"
    assert pod["imagePullSecrets"] == [{"name": "registry"}, {"name": "other"}]
    assert pod["nodeSelector"] == {"disk": "ssd", "moaa.dev/role": "system"}
    assert pod["tolerations"] == [{"key": "own", "operator": "Exists"}, {"key": "system"}]
    assert names(objects, "PriorityClass") == {"moaa-jobs"}


def test_what_terraform_says_reaches_the_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    objects = render(TERRAFORM)
    settings = settings_of(objects, monkeypatch)
    assert settings.server_account("research", "moaa-run") == "moaa-serve"
    assert settings.training_workers_per_pod == 8
    assert names(objects, "Namespace") == {"alignment"}
    for role in NodeRole:
        place = settings.place("alignment", "some", role)
        assert place.node_selector == TERRAFORM["scheduling"][role]["nodeSelector"]
        assert list(place.tolerations) == TERRAFORM["scheduling"][role]["tolerations"]
    own = settings.place("alignment", "llama-8b", NodeRole.INFERENCE)
    assert own.node_selector == {"moaa.dev/only": "alignment.llama-8b", "moaa.dev/role": "inference"}
    assert settings.place("research", "llama-8b", NodeRole.INFERENCE).node_selector == {"moaa.dev/role": "inference"}
    assert settings.jobs_image == "111122223333.dkr.ecr.eu-west-1.amazonaws.com/mocked:0.1.0"
    assert pod_of(objects)["nodeSelector"] == {"moaa.dev/role": "system"}
    accounts = {
        (one["metadata"]["namespace"], one["metadata"]["name"]) for one in objects if one["kind"] == "ServiceAccount"
    }
    of_runs = {(ns, name) for ns in ("alignment", "research") for name in ("moaa-run", "moaa-serve")}
    assert accounts == {*of_runs, ("moaa-system", "moaa")}


def test_namespaces_of_runs() -> None:
    objects = render(ALL)
    namespace = only(objects, "Namespace")
    assert namespace["metadata"]["name"] == "runs"
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert namespace["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    accounts = [one for one in objects if one["kind"] == "ServiceAccount" and one["metadata"]["name"] != "op"]
    made = {
        (one["metadata"]["namespace"], one["metadata"]["name"]): one["metadata"].get("annotations") for one in accounts
    }
    assert made == {("runs", "moaa-run"): {"cloud": "identity"}, ("runs", "moaa-serve"): None, ("one", "same"): None}
    assert {one["automountServiceAccountToken"] for one in accounts} == {False}


def selects(selector: Mapping[str, Any], found: Mapping[str, str]) -> bool:
    wanted: Mapping[str, str] = selector["matchLabels"]
    return wanted.items() <= found.items()


def test_the_operator_learns_who_may_reach_pods_of_runs() -> None:
    objects = render({})
    (container,) = only(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
    (told,) = [one["value"] for one in container["env"] if one["name"] == "MOAA_OPERATOR_NETWORK_PEERS"]
    peers = Peers.model_validate_json(told)
    (operator,), (kuberay,) = peers.operator, peers.kuberay
    by_name = "kubernetes.io/metadata.name"
    assert operator["namespaceSelector"]["matchLabels"] == {by_name: "moaa-system"}
    assert operator["podSelector"] == only(objects, "Deployment")["spec"]["selector"]
    assert kuberay["namespaceSelector"]["matchLabels"] == {by_name: "kuberay"}
    assert kuberay["podSelector"]["matchLabels"] == {"app.kubernetes.io/component": "kuberay-operator"}


def test_egress_is_limited_only_when_asked_for() -> None:
    def limited(values: dict[str, Any]) -> set[str]:
        policies = [one for one in render(values) if one["kind"] == "NetworkPolicy"]
        return {p["metadata"]["name"] for p in policies if "Egress" in p["spec"]["policyTypes"]}

    namespaces = {"runNamespaces": [{"name": "runs"}]}
    assert limited(namespaces) == set()
    assert limited({**namespaces, "networkPolicies": {"egress": {"enabled": True}}}) == {"moaa", "moaa-egress"}


def test_the_policy_is_about_the_operators_namespaces_and_goes_with_its_switch() -> None:
    everywhere, some = (only(render(values), "ValidatingAdmissionPolicy") for values in ({}, MATRIX["namespaced"]))
    assert "namespaceSelector" not in everywhere["spec"]["matchConstraints"]
    (where,) = some["spec"]["matchConstraints"]["namespaceSelector"]["matchExpressions"]
    assert where == {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["runs", "more"]}
    names_of = [names(render(namespace=place), "ValidatingAdmissionPolicy") for place in ("one", "two")]
    assert names_of == [{"one.moaa"}, {"two.moaa"}]
    assert names(render(MATRIX["bare"]), "ValidatingAdmissionPolicy") == set()
    warned = only(render({"admissionPolicy": {"actions": ["Warn", "Audit"]}}), "ValidatingAdmissionPolicyBinding")
    assert warned["spec"]["validationActions"] == ["Warn", "Audit"]


def test_metrics_are_found_by_what_scrapes_them() -> None:
    objects = render(ALL)
    service = only(objects, "Service")
    monitor = only(objects, "ServiceMonitor")
    assert selects(monitor["spec"]["selector"], service["metadata"]["labels"])
    assert monitor["spec"]["namespaceSelector"] == {"matchNames": ["moaa-system"]}
    assert service["spec"]["selector"] == only(objects, "Deployment")["spec"]["selector"]["matchLabels"]
    assert [port["name"] for port in service["spec"]["ports"]] == [monitor["spec"]["endpoints"][0]["port"]]
    assert only(objects, "PrometheusRule")["spec"] == yaml.safe_load((CHART / "files" / "rules.yaml").read_text())
    dashboard = only(objects, "ConfigMap")
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert yaml.safe_load(dashboard["data"]["moaa.json"]) == yaml.safe_load(
        (CHART / "files" / "dashboard.json").read_text()
    )
