"""Kueue's Workloads are asked for, of what waits and of nothing else, in the version that the cluster serves."""

from collections.abc import Iterator, Mapping

import pytest

from moaa_operator.observe.lookups import ASK_QUEUE_EVERY_S, Workloads
from moaa_operator.observe.read import observe
from tests.operator_api_server import ApiServer, Fault
from tests.operator_helpers import OWNER, Object
from tests.queue_helpers import Queue


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as server:
        yield server


def waiting(uid: str, **changes: object) -> Object:
    meta = {"name": f"job-{uid}", "namespace": "team", "uid": uid}
    return {"kind": "Job", "metadata": meta, "spec": {"suspend": True}, "status": {}, **changes}


def put(server: ApiServer, name: str, uid: str = "") -> None:
    labels = {"kueue.x-k8s.io/job-uid": uid} if uid else {}
    about = {"name": name, "namespace": "team", "labels": labels}
    server.put({"kind": "Workload", "metadata": about, "status": {}})


def names(found: list[Object]) -> list[str]:
    return [item["metadata"]["name"] for item in found]


@pytest.mark.parametrize("version", ["v1beta2", "v1beta1"])
def test_a_job_that_waits_is_asked_about_once_in_a_while(server: ApiServer, version: str) -> None:
    put(server, "mine", "u1")
    put(server, "theirs", "u2")
    with server.changed:
        server.faults = [Fault(lambda r: f"/{version}/" not in r.path, 404, reason="NotFound")] * 9
    now = [0.0]
    workloads = Workloads(server.api(), clock=lambda: now[0])
    going = [waiting("u1"), waiting("u3", spec={}), waiting("u4", status=ended())]
    assert names(workloads.about({"Job": going})) == ["mine"]
    asked = len(server.requests)
    assert names(workloads.about({"Job": going})) == ["mine"]
    assert len(server.requests) == asked
    now[0] += ASK_QUEUE_EVERY_S
    workloads.about({"Job": going})
    assert len(server.requests) > asked


def ended() -> Object:
    return {"conditions": [{"type": "Failed", "status": "True"}]}


def test_a_group_of_servers_is_asked_about_by_its_name(server: ApiServer) -> None:
    objects = gated()
    put(server, "gang")
    assert names(Workloads(server.api()).about(objects)) == ["gang"]
    assert sum("workloads/gang" in request.path for request in server.requests) == 1


def gated(**condition: str) -> Mapping[str, list[Object]]:
    waits = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}
    since = {"lastTransitionTime": "2026-01-01T00:00:00Z"}
    about = {"name": "s", "namespace": "team", "uid": "d", "annotations": {"moaa.dev/gang": "gang"}}
    pod = {
        "kind": "Pod", "metadata": {"name": "p", "namespace": "team", "labels": {"s": "1"}},
        "status": {"conditions": [{**waits, **since, **condition}]},
    }  # fmt: skip
    return {
        "Deployment": [{"kind": "Deployment", "metadata": about, "spec": {"selector": {"matchLabels": {"s": "1"}}}}],
        "Pod": [pod],
    }


def test_servers_that_have_machines_are_not_asked_about(server: ApiServer) -> None:
    assert Workloads(server.api()).about(gated(status="True")) == []
    assert server.requests == []


@pytest.mark.parametrize("code", [403, 404, 503])
def test_a_cluster_that_gives_no_workloads_is_no_error(server: ApiServer, code: int) -> None:
    with server.changed:
        server.faults = [Fault(lambda _: True, code, reason="NotFound" if code == 404 else "Forbidden")] * 9
    assert Workloads(server.api()).about({"Job": [waiting("u1")]}) == []


def test_a_workload_that_only_says_it_is_the_jobs_does_not_count() -> None:
    cluster = Queue()
    cluster.settle()
    (name,) = [place for kind, place in cluster.objects if kind == "Workload"]
    cluster.evict(name)
    kinds: dict[str, list[Object]] = {}
    for (kind, _), item in cluster.objects.items():
        kinds.setdefault(kind, []).append(item)
    assert [child.is_evicted for child in observe(cluster.document, kinds).children if child.is_work] == [True]
    cluster.objects["Workload", name]["metadata"]["ownerReferences"] = [{"uid": OWNER.uid}]
    assert [child.is_evicted for child in observe(cluster.document, kinds).children if child.is_work] == [False]
