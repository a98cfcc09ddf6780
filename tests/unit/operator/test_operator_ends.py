"""A Job's end counts only with its pods' ends, which the copies may not show yet."""

from collections.abc import Iterator
from typing import Any

import pytest

from moaa_operator.observe.lookups import JOB_LABEL, with_ends
from tests.operator_api_server import ApiServer

Object = dict[str, Any]
JOB: Object = {
    "kind": "Job",
    "metadata": {"name": "j", "namespace": "team", "uid": "job"},
    "status": {"succeeded": 1, "conditions": [{"type": "Complete", "status": "True"}]},
}


def pod(phase: str) -> Object:
    about = {"name": "p", "namespace": "team", "uid": "pod", "labels": {JOB_LABEL: "j"}}
    return {
        "kind": "Pod",
        "metadata": {**about, "ownerReferences": [{"uid": "job"}]},
        "status": {"phase": phase},
    }


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as server:
        server.put(pod("Succeeded"))
        yield server


def phases(server: ApiServer, **objects: list[Object]) -> list[str]:
    return [found["status"]["phase"] for found in with_ends(server.api(), "team", objects)]


@pytest.mark.parametrize("known", [[], [pod("Running")]], ids=["unknown", "as it was"])
def test_pods_of_an_ended_job_are_asked_for(server: ApiServer, known: list[Object]) -> None:
    assert phases(server, Job=[JOB], Pod=known) == ["Succeeded"]


@pytest.mark.parametrize(
    ("job", "known"),
    [(JOB, [pod("Succeeded")]), ({**JOB, "status": {"active": 1}}, [pod("Running")])],
    ids=["all known", "goes on"],
)
def test_nobody_is_asked_for_what_is_known(server: ApiServer, job: Object, known: list[Object]) -> None:
    assert phases(server, Job=[job], Pod=known) == [known[0]["status"]["phase"]]
    assert server.requests == []
