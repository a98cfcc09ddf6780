"""Servers over several machines in the decision about a run: up when leaders answer, whole or given back, never tried
without end."""

from typing import Any

import pytest

from moaa.contract.job import StageJob
from moaa_operator.kube.kueue import COUNT_ANNOTATION
from moaa_operator.kube.objects import uid_of
from moaa_operator.kube.owner import GANG_ANNOTATION, TEMPLATE_ANNOTATION
from moaa_operator.render import bind
from tests.operator_helpers import SETTINGS, SHORT, Cluster, Object, unplaced
from tests.queue_helpers import FULL, Queue

NO_GPU = "0/4 nodes are available: 4 Insufficient nvidia.com/gpu."
WIDE: dict[str, Any] = {"spec__models__0__serving": {"gpus": 16, "nodes": 2}}


def waiting(**more: Any) -> tuple[Cluster, Object]:
    """A run whose first stage with servers waits for the one over two machines; the others answer."""
    cluster = Cluster(render=bind, **SHORT, **WIDE, **more)
    for _ in range(20):
        cluster.settle()
        if found := cluster.of("LeaderWorkerSet"):
            for item in cluster.of("Deployment"):
                item["status"] = {"observedGeneration": 1, "readyReplicas": 1}
            return cluster, found[0]
        cluster.work_all()
    raise AssertionError("no server came")


def generating(cluster: Cluster) -> list[Object]:
    return cluster.of("Job", role="stage", stage="i1-generate")


def test_a_stage_starts_when_the_leader_answers() -> None:
    cluster, item = waiting()
    cluster.settle()
    assert generating(cluster) == []
    cluster.group(item)  # both pods run, and the leader gave no token yet
    cluster.settle()
    assert generating(cluster) == []
    cluster.group(item, leader=True)
    cluster.settle()
    job = cluster.job_of(generating(cluster)[0])
    assert isinstance(job, StageJob)
    assert job.endpoints["a"] == [f"http://{item['metadata']['name']}.team.svc:8000/v1"]


def test_a_group_of_an_older_version_does_not_count() -> None:
    cluster, item = waiting()
    leader, _ = cluster.group(item, leader=True)
    leader["metadata"]["annotations"][TEMPLATE_ANNOTATION] = "of before the edit"
    cluster.settle()
    assert generating(cluster) == []


def test_a_whole_run_leaves_no_group() -> None:
    cluster, _ = waiting()
    cluster.run()
    assert cluster.phase == "Succeeded"
    assert cluster.of("LeaderWorkerSet") == []


def test_a_group_with_a_part_of_its_machines_gives_them_back() -> None:
    cluster, item = waiting()
    _, worker = cluster.group(item)
    worker["status"] = unplaced(cluster, NO_GPU)
    desired = cluster.settle()
    ready = cluster.condition("ServersReady")
    assert ready is not None
    assert (ready["reason"], NO_GPU in ready["message"]) == ("GPUsUnavailable", True)
    assert desired.requeue_after_s is not None
    cluster.wait(59 * 60)
    cluster.settle()
    assert len(cluster.of("LeaderWorkerSet")) == 1
    cluster.wait(60)
    cluster.settle()
    assert cluster.of("LeaderWorkerSet") == cluster.of("Deployment") == []
    assert (cluster.entry("i1-generate")["releases"], cluster.entry("i1-generate")["failures"]) == (1, 0)


def test_a_group_that_is_made_anew_again_and_again_is_given_up() -> None:
    """LeaderWorkerSet makes new pods when one restarts: none has restarted twice, and each was placed a moment ago."""
    cluster, item = waiting()
    minutes = 0
    while cluster.of("LeaderWorkerSet") and minutes < 300:
        cluster.group(item)
        cluster.wait(10 * 60)
        cluster.settle()
        minutes += 10
    assert minutes == 100, "60 minutes for machines, 30 for its start, one of grace"
    entry = cluster.entry("i1-generate")
    assert (entry["failures"], entry["reason"]) == (1, "StartupTimeout")
    assert len(cluster.of("Deployment")) == 2, "those that answer stay for the next attempt"


def test_a_group_that_comes_late_has_its_minutes_from_then_on() -> None:
    cluster, item = waiting()
    for pod in cluster.group(item):
        pod["status"] = unplaced(cluster, NO_GPU)
    cluster.settle()
    cluster.wait(50 * 60)
    cluster.group(item)
    cluster.settle()
    cluster.wait(29 * 60)
    cluster.group(item, leader=True)
    cluster.settle()
    assert len(generating(cluster)) == 1


def test_a_cluster_that_knows_no_groups_is_told_before_anything_is_made() -> None:
    cluster = Cluster(render=bind, missing={"LeaderWorkerSet"}, **SHORT, **WIDE)
    desired = cluster.settle()
    assert cluster.objects == {}
    told = [c["message"] for c in cluster.status["conditions"] if "install LeaderWorkerSet 0.8" in c["message"]]
    assert any("spec.models[0].serving.nodes" in message for message in told)
    assert desired.requeue_after_s == SETTINGS.resync_active_s, "nobody tells when it is there"
    cluster.missing = frozenset()
    cluster.run()
    assert cluster.phase == "Succeeded"


def test_a_cluster_that_knows_no_groups_serves_everything_else() -> None:
    cluster = Cluster(render=bind, missing={"LeaderWorkerSet"}, **SHORT)
    cluster.run()
    assert cluster.phase == "Succeeded"


@pytest.mark.parametrize("serving", [{"gpus": 16, "nodes": 4}, {"gpus": 8}])
def test_other_machines_are_another_server(serving: Object) -> None:
    cluster, item = waiting()
    cluster.edit(**SHORT, spec__models__0__serving=serving)
    cluster.settle()
    assert uid_of(item) not in {uid_of(one) for one in cluster.of("LeaderWorkerSet")}
    assert len([*cluster.of("LeaderWorkerSet"), *cluster.of("Deployment")]) == 3
    assert len(cluster.of("Service")) == 3


# In a queue, where each group is a Workload of its own


def queued() -> tuple[Queue, Object, str]:
    """A run whose Job has quota and whose servers wait for some: the one over two machines, and the others' group."""
    cluster = Queue(**SHORT, **WIDE)
    for _ in range(20):
        cluster.settle()
        if found := cluster.of("LeaderWorkerSet"):
            (gang,) = cluster.gangs()
            return cluster, found[0], gang
        cluster.admit_all()
        cluster.work_all()
    raise AssertionError("no server came")


def test_a_group_is_no_member_of_the_others_pod_group_and_waits_for_its_turn_without_a_limit() -> None:
    cluster, item, gang = queued()
    members = [one["spec"]["template"]["metadata"] for one in cluster.of("Deployment")]
    assert {member["annotations"][COUNT_ANNOTATION] for member in members} == {"2"} == {str(len(members))}
    assert GANG_ANNOTATION not in item["metadata"]["annotations"]
    cluster.wait(5 * 60 * 60)
    cluster.settle()
    ready = cluster.condition("ServersReady")
    assert ready is not None
    assert ready["reason"] == "Queued"
    (wide,) = [server for server in cluster.observed().servers if server.ref.kind == item["kind"]]
    assert wide.problem is not None
    assert f"LeaderWorkerSet {item['metadata']['name']} waits in its queue: {FULL}" in wide.problem.message
    cluster.admit(gang)
    cluster.admit(f"group-{item['metadata']['name']}")
    cluster.settle()
    assert cluster.entry("i1-generate")["releases"] == 0
    cluster.servers_answer()
    cluster.settle()
    assert cluster.entry("i1-generate")["step"] == "Work"


def test_a_group_that_has_quota_while_the_others_have_none_gives_it_back() -> None:
    cluster, item, _ = queued()
    cluster.admit(f"group-{item['metadata']['name']}")
    cluster.servers_answer()
    cluster.settle()
    cluster.wait(61 * 60)
    cluster.settle()
    assert cluster.of("LeaderWorkerSet") == cluster.of("Deployment") == []
    assert cluster.entry("i1-generate")["releases"] == 1


def test_a_group_whose_quota_is_taken_stops_its_stage_and_counts_as_no_failure() -> None:
    cluster, item, gang = queued()
    cluster.admit(gang)
    cluster.admit(f"group-{item['metadata']['name']}")
    cluster.servers_answer()
    cluster.settle()
    cluster.evict(f"group-{item['metadata']['name']}")
    cluster.settle()
    entry = cluster.entry("i1-generate")
    assert (entry["failures"], entry["reason"]) == (0, "Preempted")
