"""The chart on a real API server: Helm installs, upgrades and removes it, and the rights are those the server grants.

The server checks every object against its own schemas, unknown fields included, which no offline validator does better.
"""

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from moaa.api.crd.definition import crd
from moaa_operator.kube.api import connect
from moaa_operator.kube.errors import ApiError, NotFound
from moaa_operator.kube.kinds import DEPLOYMENT, LEASE, MOAA, POD, Kind
from tests.chart import ALL, CHART, MATRIX, RULES, HelmRefused, helm, only, render
from tests.integration.apiserver import (
    CRD,
    NAMESPACE,
    SERVICE_ACCOUNT,
    ApiServer,
    make_namespace,
    run_api_server,
)
from tests.plan_helpers import tree
from tests.tools import PROMETHEUS_OPERATOR, module_folder, tool

SYSTEM = "moaa-system"
PATIENCE_S = 60.0
RULES_REVIEW = Kind("authorization.k8s.io/v1", "SelfSubjectRulesReview", "selfsubjectrulesreviews")
NAME = "moaas.moaa.dev"
Rights = dict[tuple[str, str], set[str]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """Without our CRD, which the chart brings; with the Prometheus operator's, and Pod Security `restricted`."""
    with run_api_server(tmp_path_factory.mktemp("chart") / "server") as one:
        folder = module_folder(PROMETHEUS_OPERATOR) / "example" / "prometheus-operator-crd"
        for kind in ("servicemonitors", "prometheusrules"):
            text = (folder / f"monitoring.coreos.com_{kind}.yaml").read_text()
            one.admin.create(CRD, "", yaml.load(text, Loader=yaml.CSafeLoader))
            wait_until_served(one, f"{kind}.monitoring.coreos.com")
        for name in (SYSTEM, "elsewhere", "alignment", "research", "made", "one", "more"):
            make_namespace(one.admin, name)
        yield one


def wait_until_served(server: ApiServer, name: str) -> None:
    """Helm does not wait for definitions among templates."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        found = (server.admin.get(CRD, "", name).get("status") or {}).get("conditions") or []
        if any(one["type"] == "Established" and one["status"] == "True" for one in found):
            return
        assert time.monotonic() < deadline, f"{name} is not served: {found}"
        time.sleep(0.1)


def cluster(server: ApiServer, *arguments: str, values: dict[str, Any] | None = None) -> str:
    return helm(*arguments, "-n", SYSTEM, "--kubeconfig", str(server.admin_kubeconfig), values=values)


@pytest.fixture(scope="module")
def installed(server: ApiServer) -> str:
    """The release `moaa`, with everything; what Helm said."""
    made = [entry for entry in ALL["runNamespaces"] if entry["name"] != "one"]
    return cluster(server, "install", "moaa", str(CHART), values={**ALL, "runNamespaces": made})


@pytest.mark.parametrize("case", MATRIX)
def test_the_server_takes_every_object(server: ApiServer, case: str) -> None:
    objects = render(MATRIX[case])
    # An apply that writes nothing makes no namespaces either.
    unmade = {"runs"} - {o["metadata"]["name"] for o in server.admin.list(NAMESPACE, None)[0]}
    objects = [one for one in objects if one["metadata"].get("namespace") not in unmade]
    options = ["--server-side", "--dry-run=server", "--validate=strict", "--force-conflicts", "-f", "-"]
    done = subprocess.run(
        [tool("kubectl"), "--kubeconfig", str(server.admin_kubeconfig), "apply", *options],
        input=yaml.safe_dump_all(objects),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == len(objects)


def test_helm_says_what_to_do_next(installed: str) -> None:
    notes = installed.partition("NOTES:")[2]
    assert f"kubectl -n {SYSTEM} rollout status deployment/moaa" in notes
    assert "kubectl -n runs get moaa -w" in notes


def test_the_server_serves_the_resource(server: ApiServer, installed: str) -> None:
    wait_until_served(server, NAME)
    assert server.admin.list(MOAA, None)[0] == []


def test_pod_security_admits_the_operator(server: ApiServer, installed: str) -> None:
    template = server.admin.get(DEPLOYMENT, SYSTEM, "moaa")["spec"]["template"]
    pod = {"apiVersion": "v1", "kind": "Pod", **template, "metadata": {**template["metadata"], "name": "operator"}}
    code, answer = server.request("POST", POD.path(SYSTEM), pod, query={"dryRun": "All"})
    assert code == 201, answer["message"]
    pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    code, answer = server.request("POST", POD.path(SYSTEM), pod, query={"dryRun": "All"})
    assert code == 403, "the namespace enforces nothing"
    assert "violates PodSecurity" in answer["message"]


def test_pod_security_admits_views(server: ApiServer, installed: str) -> None:
    for made in [one for one in render(MATRIX["views"]) if one["metadata"]["name"].startswith("moaa-view")]:
        if made["kind"] == "Deployment":
            template = made["spec"]["template"]
            template["spec"].pop("serviceAccountName")
            pod = {"apiVersion": "v1", "kind": "Pod", **template, "metadata": {**template["metadata"], "name": "view"}}
            code, answer = server.request("POST", POD.path(SYSTEM), pod, query={"dryRun": "All"})
            assert code == 201, answer["message"]


def test_accounts_of_runs_may_do_nothing(server: ApiServer, installed: str) -> None:
    found = {one["metadata"]["name"] for one in server.admin.list(SERVICE_ACCOUNT, "runs")[0]}
    assert found == {"moaa-run", "moaa-serve"}
    for account in found:
        assert rights(server, ("runs", account), "runs") == {}


def rights(server: ApiServer, account: tuple[str, str], namespace: str) -> Rights:
    """All that the server lets an account do in a namespace, beyond what it lets every account do."""
    return {
        key: verbs - nobodys
        for key, verbs in _told(server, account, namespace).items()
        if verbs - (nobodys := _told(server, ("elsewhere", "default"), namespace).get(key, set()))
    }


def _told(server: ApiServer, account: tuple[str, str], namespace: str) -> Rights:
    file = server.kubeconfig(f"{account[0]}-{account[1]}", server.token(*account))
    api = connect(timeout_s=30.0, kubeconfig=str(file))
    try:
        review = {"apiVersion": RULES_REVIEW.api_version, "kind": RULES_REVIEW.kind, "spec": {"namespace": namespace}}
        status = api.create(RULES_REVIEW, "", review)["status"]
    finally:
        api.close()
    assert not status["incomplete"]
    found: Rights = {}
    for rule in status["resourceRules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for name in rule.get("resourceNames", [""]):
                    found.setdefault((group, f"{resource}/{name}" if name else resource), set()).update(rule["verbs"])
    for rule in status["nonResourceRules"]:
        for url in rule["nonResourceURLs"]:
            found.setdefault(("", url), set()).update(rule["verbs"])
    return found


EXACTLY: Rights = {key: set(verbs) for key, verbs in RULES.items()}
LEASES: Rights = {
    ("coordination.k8s.io", "leases"): {"create"},
    ("coordination.k8s.io", "leases/moaa"): {"get", "update"},
}


def test_the_operator_may_do_what_it_does_and_nothing_else(server: ApiServer, installed: str) -> None:
    operator = (SYSTEM, "op")
    assert rights(server, operator, "runs") == EXACTLY
    assert rights(server, operator, "elsewhere") == EXACTLY
    assert rights(server, operator, SYSTEM) == {**EXACTLY, **LEASES}


def test_in_some_namespaces_it_may_do_nothing_elsewhere(server: ApiServer, installed: str) -> None:
    values = {
        "clusterWide": False,
        "crds": {"install": False},
        "runNamespaces": [{"name": "more", "createServiceAccounts": False}],
    }
    cluster(server, "install", "narrow", str(CHART), values=values)
    operator = (SYSTEM, "narrow-moaa")
    assert rights(server, operator, "more") == EXACTLY
    assert rights(server, operator, "runs") == {}
    file = server.kubeconfig("narrow", server.token(*operator))
    api = connect(timeout_s=30.0, kubeconfig=str(file))
    assert api.list(MOAA, "more")[0] == []
    for place in ("runs", None):
        with pytest.raises(ApiError, match="forbidden"):
            api.list(MOAA, place)
    with pytest.raises(NotFound):  # no one has it yet, and it may ask
        api.get(LEASE, SYSTEM, "narrow-moaa")
    with pytest.raises(ApiError, match="forbidden"):
        api.get(LEASE, SYSTEM, "moaa")
    api.close()
    cluster(server, "uninstall", "narrow")


def test_an_upgrade_brings_new_fields_and_a_removal_leaves_every_run(server: ApiServer, tmp_path: Path) -> None:
    admin = server.admin
    if "moaa" in cluster(server, "list", "-q").split():
        cluster(server, "uninstall", "moaa")
    older = tmp_path / "moaa"
    shutil.copytree(CHART, older)
    file = older / "files" / f"{NAME}.yaml"
    text = file.read_text()
    column = next(line for line in text.splitlines(keepends=True) if "{name: Score" in line)
    file.write_text(text.replace(column, ""))
    values = {"runNamespaces": [{"name": "alignment", "createServiceAccounts": False}]}
    cluster(server, "install", "moaa", str(older), values=values)
    wait_until_served(server, NAME)
    run = admin.create(MOAA, "alignment", tree(namespace="alignment"))

    cluster(server, "upgrade", "moaa", str(CHART), values=values)
    columns = admin.get(CRD, "", NAME)["spec"]["versions"][0]["additionalPrinterColumns"]
    assert "Score" in {one["name"] for one in columns}
    cluster(server, "uninstall", "moaa")
    with pytest.raises(NotFound):
        admin.get(DEPLOYMENT, SYSTEM, "moaa")
    assert admin.get(MOAA, "alignment", run["metadata"]["name"])["metadata"]["uid"] == run["metadata"]["uid"]
    cluster(server, "install", "moaa", str(CHART), values=values)  # the definition that is there is taken over
    assert only(render(values), "Deployment")["metadata"]["name"] == "moaa"
    assert admin.get(DEPLOYMENT, SYSTEM, "moaa")["spec"]["replicas"] == 1


def test_a_definition_that_came_another_way_is_taken_over(server: ApiServer) -> None:
    release = ("beside", str(CHART), "--set", "rbac.aggregate=false")
    if not any(one["metadata"]["name"] == NAME for one in server.admin.list(CRD, None)[0]):
        server.admin.create(CRD, "", crd())
    with pytest.raises(HelmRefused, match="cannot be imported into the current release"):
        cluster(server, "install", *release)
    cluster(server, "install", *release, "--take-ownership")
    cluster(server, "uninstall", "beside")
    wait_until_served(server, NAME)
