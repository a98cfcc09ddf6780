"""Making children over real HTTP: twice is once, and what is somebody else's stays."""

from collections.abc import Iterator
from typing import Any

import pytest

from moaa_operator.kube import apply
from moaa_operator.kube.errors import Busy
from moaa_operator.kube.kinds import CONFIG_MAP, JOB
from moaa_operator.kube.objects import Ref
from moaa_operator.kube.owner import Owner
from tests.operator_api_server import ApiServer, Fault

Object = dict[str, Any]
OWNER = Owner("small", "team", "uid-1")


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as server:
        yield server


def child(kind: str, owner: Owner = OWNER, attempt: int = 1) -> Object:
    meta = {
        "name": "small-x", "namespace": owner.namespace, "ownerReferences": [dict(owner.reference)],
        "annotations": {"moaa.dev/attempt": str(attempt), "moaa.dev/fingerprint": "f" * 64},
    }  # fmt: skip
    return {"apiVersion": "v1" if kind == "ConfigMap" else "batch/v1", "kind": kind, "metadata": meta}


def test_what_is_there_already_is_a_success_and_the_file_comes_before_what_mounts_it(server: ApiServer) -> None:
    api = server.api()
    for _ in range(2):
        apply.create(api, OWNER, [child("Job"), child("ConfigMap")])
    made = [r.path.rpartition("/")[2] for r in server.requests if r.method == "POST"]
    assert made == ["configmaps", "jobs", "configmaps", "jobs"]
    assert len(server.find("jobs", "team")) == 1


@pytest.mark.parametrize(
    ("other", "words"),
    [
        pytest.param(child("Job", Owner("small", "team", "uid-0")), "belongs to somebody else", id="another run"),
        pytest.param(child("Job", attempt=2), "belongs to somebody else", id="another attempt"),
        pytest.param(
            {**child("Job"), "metadata": {**child("Job")["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}},
            "on its way out",
            id="being deleted",
        ),
    ],
)
def test_a_name_that_somebody_else_holds_is_told(server: ApiServer, other: Object, words: str) -> None:
    server.put(other)
    refusals = apply.create(server.api(), OWNER, [child("Job")])
    assert set(refusals) == {("Job", "small-x")}
    assert refusals["Job", "small-x"].reason == "NameTaken"
    assert refusals["Job", "small-x"].message.startswith("Job team/small-x ")
    assert words in refusals["Job", "small-x"].message


def test_what_is_refused_is_told_and_keeps_nothing_else_from_being_made(server: ApiServer) -> None:
    words = 'jobs.batch "small-x" is forbidden: exceeded quota: jobs, used: count/jobs.batch=9'
    with server.changed:
        server.faults = [Fault(lambda r: r.path.endswith("/jobs"), 403, reason="Forbidden", message=words)]
    refusals = apply.create(server.api(), OWNER, [child("Job"), child("ConfigMap")])
    assert [problem.reason for problem in refusals.values()] == ["QuotaExceeded"]
    assert len(server.find("configmaps", "team")) == 1
    assert apply.create(server.api(), OWNER, [child("Job")]) == {}


def test_a_field_of_the_wrong_type_is_refused_though_the_server_calls_it_its_own_error(server: ApiServer) -> None:
    words = "failed to create typed patch object (team/x; apps/v1, Kind=Deployment): .spec.x: field not declared"
    with server.changed:
        server.faults = [Fault(lambda r: r.method == "PATCH", 500, message=words)]
    service = {**child("Job"), "kind": "Deployment"}
    assert [
        problem.reason for problem in apply.apply(server.api(), OWNER, [service], lately=apply.Lately()).values()
    ] == ["Invalid"]


def test_a_busy_server_is_an_error(server: ApiServer) -> None:
    with server.changed:
        server.faults = [Fault(lambda r: r.method == "POST", 503)]
    with pytest.raises(Busy):
        apply.create(server.api(), OWNER, [child("Job")])


def test_only_the_very_object_is_deleted_and_what_is_gone_is_no_error(server: ApiServer) -> None:
    api = server.api()
    made = server.put(child("Job"))
    apply.delete(api, OWNER, [Ref("Job", "small-x", "another uid"), Ref("ConfigMap", "small-x", "gone")])
    assert api.get(JOB, "team", "small-x")["metadata"]["uid"] == made["metadata"]["uid"]
    apply.delete(api, OWNER, [Ref("Job", "small-x", made["metadata"]["uid"])])
    assert server.find("jobs", "team") == []
    assert server.find(CONFIG_MAP.plural, "team") == []


def policy(owner: Owner = OWNER, port: int = 8000) -> Object:
    meta = {"name": "small-servers", "namespace": owner.namespace, "ownerReferences": [dict(owner.reference)]}
    spec = {"podSelector": {}, "ingress": [{"ports": [{"port": port}]}]}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": meta, "spec": spec}


def test_a_policy_that_was_applied_lately_is_not_applied_again(server: ApiServer) -> None:
    now = [1000.0]
    lately = apply.Lately(clock=lambda: now[0])

    def patches(*wanted: Object, owner: Owner = OWNER) -> int:
        before = len(server.requests)
        assert apply.apply(server.api(), owner, wanted, lately=lately) == {}
        return len([r for r in server.requests[before:] if r.method == "PATCH"])

    assert patches(policy()) == 1
    now[0] += apply.LATELY_S - 1
    assert patches(policy()) == 0
    assert patches(policy(port=8265)) == 1, "it says something else now"
    again = Owner("small", "team", "uid-2")
    assert patches(policy(again, port=8265), owner=again) == 1, "it went with the MoAA of that name before"
    now[0] += apply.LATELY_S
    assert patches(policy(port=8265)) == 1, "somebody may have deleted it"


def test_a_policy_that_was_refused_is_tried_again_at_once(server: ApiServer) -> None:
    lately = apply.Lately()
    server.faults = [Fault(lambda r: r.method == "PATCH", 403, reason="Forbidden")]
    assert apply.apply(server.api(), OWNER, [policy()], lately=lately)
    assert apply.apply(server.api(), OWNER, [policy()], lately=lately) == {}
    assert len([r for r in server.requests if r.method == "PATCH"]) == 2


def test_a_server_is_applied_whenever_it_is_wanted(server: ApiServer) -> None:
    lately = apply.Lately()
    service = {**child("Service"), "apiVersion": "v1", "kind": "Service"}
    for _ in range(2):
        assert apply.apply(server.api(), OWNER, [service], lately=lately) == {}
    assert len([r for r in server.requests if r.method == "PATCH"]) == 2
