"""Servers over several machines, by a real API server with LeaderWorkerSet's CRD; the test plays its controllers."""

from typing import Any

from moaa_operator.kube.kinds import DEPLOYMENT, JOB, LEADER_WORKER_SET, POD, RANK_LABEL, SERVICE
from tests.integration.apiserver import CRD, install_lws
from tests.integration.kubelet import CRASH, DONE, HELD, stage_of
from tests.integration.operator_world import World, short

Object = dict[str, Any]


def wide(name: str) -> Object:
    """One of its proposers takes 16 GPUs of two machines."""
    document = short(name)
    document["spec"]["models"][0]["serving"] = {"gpus": 16, "nodes": 2}
    return document


def test_a_server_over_two_machines_from_its_first_token_to_its_end(world: World) -> None:
    world.kubelet.fate = lambda item: HELD if stage_of(item) == "i1-generate" else DONE
    world.apply(wide("tiny"))
    operator = world.operator()
    world.until(lambda: any(stage_of(item) == "i1-generate" for item in world.kubelet.all(JOB)))
    (groups,) = world.kubelet.all(LEADER_WORKER_SET)
    path = LEADER_WORKER_SET.path(world.namespace)
    about = {key: groups["metadata"][key] for key in ("labels", "annotations", "ownerReferences")}
    again = {**groups, "metadata": {**about, "name": "again", "namespace": world.namespace}}
    code, said = world.server.request("POST", path, again, query={"dryRun": "All", "fieldValidation": "Strict"})
    assert code == 201, said
    pods = [pod for pod in world.kubelet.all(POD) if RANK_LABEL in pod["metadata"]["labels"]]
    assert len(pods) == 2, "Pod Security took both templates"
    selector = {item["metadata"]["name"]: item["spec"]["selector"] for item in world.kubelet.all(SERVICE)}
    answering = selector[groups["metadata"]["name"]].items()
    (leader,) = [pod for pod in pods if answering <= pod["metadata"]["labels"].items()]
    assert leader["metadata"]["labels"][RANK_LABEL] == "0"
    # Somebody deletes it: it comes back, and its pods with it.
    world.api.delete(LEADER_WORKER_SET, world.namespace, groups["metadata"]["name"])
    old = groups["metadata"]["uid"]
    world.until(lambda: any(item["metadata"]["uid"] != old for item in world.kubelet.all(LEADER_WORKER_SET)))
    world.kubelet.fate = lambda _: DONE
    world.until(lambda: world.phase("tiny") == "Succeeded")
    world.until(lambda: world.kubelet.all(LEADER_WORKER_SET) == world.kubelet.all(DEPLOYMENT) == [])
    assert operator.stop() == 0
    assert [asked.path for asked, code in world.proxy.requests() if code == 403] == []


def test_a_group_that_fails_holds_its_stage_up_until_it_answers(world: World) -> None:
    is_broken = True
    world.kubelet.fate = lambda item: CRASH if item["kind"] == "LeaderWorkerSet" and is_broken else DONE
    world.apply(wide("tiny"))
    world.operator()
    world.until(lambda: world.kubelet.all(LEADER_WORKER_SET))
    world.until(lambda: "3 of 4 servers answer" in world.condition("tiny", "ServersReady").get("message", ""))
    assert not any(stage_of(item) == "i1-generate" for item in world.kubelet.all(JOB))
    is_broken = False
    world.until(lambda: world.phase("tiny") == "Succeeded")


def test_without_leaderworkerset_nothing_is_made_and_it_is_said_what_to_install(world: World) -> None:
    name = f"{LEADER_WORKER_SET.plural}.leaderworkerset.x-k8s.io"
    world.api.delete(CRD, "", name)
    world.until(lambda: name not in [item["metadata"]["name"] for item in world.api.list(CRD, None)[0]])
    try:
        world.apply(wide("tiny"))
        operator = world.operator()
        world.until(lambda: "install LeaderWorkerSet 0.8" in str(world.status("tiny").get("conditions")))
        assert [item for kind in (DEPLOYMENT, JOB, POD) for item in world.kubelet.all(kind)] == []
    finally:
        install_lws(world.server)
    assert operator.stop() == 0  # it would ask again by itself a minute later; in order, so that the lease is free
    world.operator()
    world.until(lambda: world.phase("tiny") == "Succeeded")
