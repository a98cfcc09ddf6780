"""Who reaches the pods of a run: its own, the operator and KubeRay, each where it has to, and nobody else."""

from collections.abc import Mapping
from typing import Any

import pytest

from moaa.contract import progress
from moaa.weights.served import server_of
from moaa_operator.kube.owner import ROLE_LABEL, RUN_LABEL
from moaa_operator.render.pod import DASHBOARD_PORT, SERVER_PORT
from moaa_operator.settings import Peers, Settings
from tests.render_world import MOAA, bound, find, job_of, pod_templates, results

Object = dict[str, Any]


def pods_of(namespace: str, app: str) -> Object:
    labels = {"matchLabels": {"app": app}}
    return {"namespaceSelector": {"matchLabels": {"name": namespace}}, "podSelector": labels}


OPERATOR, KUBERAY = pods_of("moaa-system", "moaa"), pods_of("kuberay", "kuberay")
SETTINGS = Settings(network_peers=Peers(operator=(OPERATOR,), kuberay=(KUBERAY,)))


def selects(selector: Mapping[str, Any], found: Mapping[str, str]) -> bool:
    others = [found.get(term["key"]) not in term["values"] for term in selector.get("matchExpressions", ())]
    return selector["matchLabels"].items() <= found.items() and all(others)


def admitted(target: Mapping[str, str], peer: Mapping[str, str], *, namespace: str = "") -> list[int | None]:
    """Ports (None: all) on which pods labelled so take a peer; `namespace` empty: of their own."""
    mine = [p["spec"] for p in bound(MOAA, SETTINGS).policies() if selects(p["spec"]["podSelector"], target)]
    assert mine, "a pod that no policy selects takes everybody"
    ports: list[int | None] = []
    for rule in (rule for spec in mine for rule in spec["ingress"]):
        for one in rule["from"]:
            at = one.get("namespaceSelector", {"matchLabels": {"name": ""}})
            if selects(at, {"name": namespace}) and selects(one["podSelector"], peer):
                ports += [port["port"] for port in rule["ports"]] if "ports" in rule else [None]
    return ports


def labels(manifests: list[Object], kind: str) -> list[dict[str, str]]:
    return [template["metadata"]["labels"] for template in pod_templates(find(manifests, kind))]


def test_who_reaches_which_port() -> None:
    model = server_of("big", MOAA, results(MOAA))
    assert model is not None
    render = bound(MOAA, SETTINGS)
    (server,) = labels(render.servers([model]), "Deployment")
    stages = labels(render.stage(job_of("i1-sft", MOAA), attempt=1, shards=None), "RayJob")
    assert len(stages) == 3
    for stage in stages:
        assert admitted(server, stage) == [SERVER_PORT]
        assert admitted(stage, stages[0]) == [None]
        assert admitted(stage, {"app": "moaa"}, namespace="moaa-system") == [progress.PORT]
        assert admitted(stage, {"app": "kuberay"}, namespace="kuberay") == [DASHBOARD_PORT]
        # Labels of the operator's and of KubeRay's in a stranger's namespace, and another run of the same one.
        assert admitted(stage, {"app": "kuberay"}, namespace="stranger") == []
        assert admitted(stage, {"app": "moaa"}) == []
        assert admitted(stage, stage, namespace="stranger") == []
        another = {**stage, RUN_LABEL: "another"}
        assert admitted(stage, another) == admitted(server, another) == []
    assert admitted(server, {"app": "kuberay"}, namespace="kuberay") == []


def test_policies_go_with_their_run_and_are_nobodys_stage() -> None:
    for policy in bound(MOAA, SETTINGS).policies():
        assert policy["metadata"]["ownerReferences"][0]["kind"] == "MoAA"
        assert ROLE_LABEL not in policy["metadata"]["labels"]
    assert bound(MOAA, Settings()).policies() == []


@pytest.mark.parametrize("peers", [Peers(), Peers(operator=(OPERATOR,))])
def test_a_peer_that_is_not_named_lets_nobody_in(peers: Peers) -> None:
    for policy in bound(MOAA, Settings(network_peers=peers)).policies():
        assert all(rule["from"] for rule in policy["spec"]["ingress"])


def test_rays_api_asks_for_a_token() -> None:
    manifest = find(bound(MOAA, SETTINGS).stage(job_of("i1-sft", MOAA), attempt=1, shards=None), "RayJob")
    assert manifest["spec"]["rayClusterSpec"]["authOptions"] == {"mode": "token"}
