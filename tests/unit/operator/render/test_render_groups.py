"""A model server over several machines: a LeaderWorkerSet whose leader answers, and how vLLM starts on each machine."""

from collections.abc import Mapping
from typing import Any

import pytest

from moaa.api import MoAA
from moaa.errors import Problem
from moaa.weights.served import server_of
from moaa_operator.kube.kinds import LEADER, RANK_LABEL
from moaa_operator.kube.owner import HASH_ANNOTATION, RUN_LABEL, TEMPLATE_ANNOTATION
from moaa_operator.render import bind
from moaa_operator.settings import Peers, Settings
from tests.render_world import MOAA, OWNER, bound, changed, container, environment, find, restricted, results, servers

Object = dict[str, Any]
WIDE: Object = {"gpus": 16, "nodes": 2, "replicas": 3, "args": ["--quantization", "fp8"]}
RESOURCE = changed("spec.models.0.serving", WIDE)
TEMPLATES = ("leaderTemplate", "workerTemplate")


def groups(resource: MoAA = RESOURCE) -> Object:
    return find(servers(resource, "big"), "LeaderWorkerSet")


def template(which: str, resource: MoAA = RESOURCE) -> Object:
    made: Object = groups(resource)["spec"]["leaderWorkerTemplate"][which]
    return made


def command(which: str, resource: MoAA = RESOURCE) -> list[str]:
    told: list[str] = container(template(which, resource), "vllm")["command"]
    return told


def option(told: list[str], flag: str) -> str:
    return told[told.index(flag) + 1]


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    others = [labels.get(term["key"]) not in term["values"] for term in selector.get("matchExpressions", ())]
    return selector["matchLabels"].items() <= labels.items() and all(others)


def test_each_replica_is_a_group_of_one_pod_a_machine_that_starts_anew_as_a_whole() -> None:
    spec = groups()["spec"]
    assert spec["replicas"] == 3
    assert spec["leaderWorkerTemplate"]["size"] == 2
    assert spec["leaderWorkerTemplate"]["restartPolicy"] == "RecreateGroupOnPodRestart"
    assert spec["startupPolicy"] == "LeaderCreated", "the leader waits for its workers"
    assert spec["rolloutStrategy"]["rollingUpdateConfiguration"]["maxUnavailable"] == "100%", "no spare GPUs are needed"


@pytest.mark.parametrize("which", TEMPLATES)
def test_every_machine_has_an_equal_part_and_is_a_stage_of_the_pipeline(which: str) -> None:
    one = container(template(which), "vllm")
    assert one["resources"]["limits"] == {"nvidia.com/gpu": "8", "memory": "192Gi"}
    assert one["resources"]["requests"]["cpu"] == "32"
    told = one["command"]
    assert (option(told, "--tensor-parallel-size"), option(told, "--pipeline-parallel-size")) == ("8", "2")
    assert (option(told, "--nnodes"), option(told, "--master-addr")) == ("2", "$(LWS_LEADER_ADDRESS)")
    assert told[-2:] == ["--quantization", "fp8"]
    assert environment(one)["VLLM_HOST_IP"] == {"fieldRef": {"fieldPath": "status.podIP"}}
    assert container(template(which), "weights"), "each machine brings the weights that it reads"
    assert restricted(template(which)) == []


def test_the_leader_answers_and_is_proved_and_workers_only_work() -> None:
    leader, worker = (container(template(which), "vllm") for which in TEMPLATES)
    assert option(leader["command"], "--node-rank") == "0"
    assert "--headless" not in leader["command"]
    assert {"startupProbe", "readinessProbe", "livenessProbe", "ports"} <= leader.keys()
    assert worker["command"][1:5] == ["-m", "vllm.entrypoints.cli.main", "serve", "/model/weights"]
    assert option(worker["command"], "--node-rank") == "$(LWS_WORKER_INDEX)"
    assert "--headless" in worker["command"]
    assert not {"startupProbe", "readinessProbe", "livenessProbe", "ports"} & worker.keys()
    same = ("--max-model-len", "--served-model-name", "--max-num-seqs", "--master-port", "--config")
    assert [option(leader["command"], flag) for flag in same] == [option(worker["command"], flag) for flag in same]


def test_its_service_finds_leaders_only() -> None:
    service = find(servers(RESOURCE, "big"), "Service")
    selector = service["spec"]["selector"]
    leader = {**template("leaderTemplate")["metadata"]["labels"], RANK_LABEL: LEADER}
    worker = {**template("workerTemplate")["metadata"]["labels"], RANK_LABEL: "1"}
    assert selector.items() <= leader.items()
    assert not selector.items() <= worker.items()
    served = server_of("big", RESOURCE, results(RESOURCE))
    assert served is not None
    assert bound(RESOURCE).server_url(served) == f"http://{service['metadata']['name']}.team.svc:8000/v1"


def test_a_template_of_the_resource_holds_for_every_pod() -> None:
    place = {"spec": {"nodeSelector": {"pool": "h100"}, "tolerations": [{"key": "own", "operator": "Exists"}]}}
    resource = changed("spec.models.0.serving", {**WIDE, "template": place})
    for which in TEMPLATES:
        spec = template(which, resource)["spec"]
        assert spec["nodeSelector"]["pool"] == "h100"
        assert {"key": "own", "operator": "Exists"} in spec["tolerations"]


def test_more_replicas_restart_no_group_and_anything_else_is_told_by_its_pods() -> None:
    def told(serving: Object) -> tuple[str, str, Object]:
        made = groups(changed("spec.models.0.serving", serving))
        notes, spec = made["metadata"]["annotations"], made["spec"]["leaderWorkerTemplate"]
        for which in TEMPLATES:
            assert spec[which]["metadata"]["annotations"][TEMPLATE_ANNOTATION] == notes[TEMPLATE_ANNOTATION]
        return notes[HASH_ANNOTATION], notes[TEMPLATE_ANNOTATION], spec

    before, more, other = told(WIDE), told({**WIDE, "replicas": 4}), told({**WIDE, "args": []})
    assert before[0] != more[0]
    assert before[1:] == more[1:]
    assert len({before[1], other[1]}) == 2


def test_a_queue_is_told_on_the_set_and_not_on_its_pods() -> None:
    assert groups()["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
    for which in TEMPLATES:
        assert not [label for label in template(which)["metadata"]["labels"] if "kueue" in label]


def test_one_machine_or_several_are_different_servers_by_name() -> None:
    names = {groups(changed("spec.models.0.serving", {**WIDE, "nodes": n}))["metadata"]["name"] for n in (2, 4)}
    assert len(names | {find(servers(MOAA, "big"), "Deployment")["metadata"]["name"]}) == 3


def test_pods_of_one_models_groups_reach_each_other_and_no_other_server() -> None:
    peers = Peers(operator=(), kuberay=())
    policies = bind(RESOURCE, OWNER, Settings(network_peers=peers)).policies()
    rank = template("workerTemplate")["metadata"]["labels"]
    small = find(servers(RESOURCE, "small"), "Deployment")["spec"]["template"]["metadata"]["labels"]

    def everywhere(target: Mapping[str, str], peer: Mapping[str, str]) -> bool:
        """Whether a pod takes another one on every port."""
        return any(
            "ports" not in rule and one["podSelector"]["matchLabels"].items() <= peer.items()
            for policy in (p["spec"] for p in policies)
            if selects(policy["podSelector"], target)
            for rule in policy["ingress"]
            for one in rule["from"]
        )

    assert everywhere(rank, rank)
    assert not everywhere(rank, small)
    assert not everywhere(rank, {**rank, RUN_LABEL: "another"})
    assert len(bind(MOAA, OWNER, Settings(network_peers=peers)).policies()) == len(policies) - 1


@pytest.mark.parametrize(
    ("serving", "words"),
    [
        ({"gpus": 16}, "is more than a machine of this installation has (8, settings.machineGpus); spread it over "
         "machines (nodes: 2), serve it in fewer bits"),
        ({"gpus": 36, "nodes": 2}, "is more than 2 machines of this installation have (8 each, settings.machineGpus); "
         "spread it over machines (nodes: 6), serve it"),
        ({"gpus": 17}, "(8, settings.machineGpus); serve it in fewer bits"),
        ({"gpus": 16, "nodes": 2}, None),
    ],
)  # fmt: skip
def test_more_gpus_than_machines_have_are_refused_with_what_would_do(serving: Object, words: str | None) -> None:
    resource = changed("spec.models.0.serving", serving)
    found = bind(resource, OWNER, Settings(machine_gpus=8)).refusals()
    assert [problem.path for problem in found] == (["spec.models[0].serving.gpus"] if words else [])
    assert all(words in problem.remedy for problem in found if words)


def test_a_cluster_without_leaderworkerset_is_told_what_to_install() -> None:
    (problem,) = bound(RESOURCE).refusals({"LeaderWorkerSet", "RayJob"})
    assert isinstance(problem, Problem)
    assert (problem.path, problem.found) == ("spec.models[0].serving.nodes", "2")
    assert "leaderworkersets.leaderworkerset.x-k8s.io; install LeaderWorkerSet 0.8" in problem.remedy
    assert bound(RESOURCE).refusals() == bound(MOAA).refusals({"LeaderWorkerSet"}) == []
