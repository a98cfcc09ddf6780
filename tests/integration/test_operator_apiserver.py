"""The operator as a process of its own, with the chart's rights only, against a real API server: the life of a run."""

from typing import Any

from moaa_operator.kube.kinds import DEPLOYMENT, EVENT, JOB, MOAA, POD, RAYJOB
from tests.integration.kubelet import CRASH, DONE, HELD, Fate, has_ended, permanent, role_of, stage_of
from tests.integration.operator_world import World, short, tiny

Object = dict[str, Any]
CHILDREN = (DEPLOYMENT, JOB, RAYJOB, POD)


def reasons(world: World) -> set[str]:
    return {event["reason"] for event in world.kubelet.all(EVENT)}


def machines(world: World) -> list[str]:
    """Children that hold some."""
    found = [*world.kubelet.all(DEPLOYMENT), *world.kubelet.all(RAYJOB), *world.kubelet.all(JOB)]
    return [item["metadata"]["name"] for item in found if not has_ended(item)]


def test_a_whole_run_in_a_cluster_of_many_namespaces(world: World) -> None:
    world.apply(tiny("tiny"))
    operator = world.operator(cluster_wide=True)
    world.until(lambda: world.phase("tiny") == "Succeeded")
    assert world.status("tiny")["iteration"] == "2/2"
    assert world.status("tiny")["promoted"]["uri"].endswith("/model")
    world.until(lambda: world.kubelet.all(DEPLOYMENT) == [])
    assert set(world.proxy.made().values()) == {1}
    expected = {"StorageReady", "ServersStarting", "StageStarted", "StageDone", "Succeeded"}
    world.until(lambda: expected <= reasons(world))
    assert operator.stop() == 0
    denied = [(asked.method, asked.path) for asked, code in world.proxy.requests() if code == 403]
    assert denied == []


def test_every_kind_of_child_fails_once_and_is_tried_again(world: World) -> None:
    failed: set[tuple[str, str]] = set()

    def fate(item: Object) -> Fate:
        about = item["kind"], role_of(item)
        if item["kind"] == "Deployment" or about in failed:
            return DONE
        failed.add(about)
        return CRASH

    world.kubelet.fate = fate
    world.apply(short("tiny"))
    world.operator()
    world.until(lambda: world.phase("tiny") == "Succeeded")
    stages = [("Job", "stage"), ("RayJob", "stage"), ("Job", "finalise")]
    assert failed == {("Job", "preflight"), ("Job", "inspect"), *stages}
    ended: dict[tuple[str, str], list[int]] = {}
    for role, stage, code in world.kubelet.ended:
        ended.setdefault((role, stage), []).append(code)
    assert ended["stage", "i0-resolve"] == ended["stage", "i1-sft"] == ended["preflight", "preflight"] == [1, 0]
    assert [codes for (role, _), codes in ended.items() if role == "finalise"] in ([[1, 0], [0]], [[1], [0, 0]])
    assert set(world.proxy.made().values()) == {1}


def test_a_server_that_crashes_is_told_of_and_tried_again(world: World) -> None:
    is_broken = True
    world.kubelet.fate = lambda item: CRASH if item["kind"] == "Deployment" and is_broken else DONE
    world.apply(tiny("tiny", iterations=1))
    world.operator(retry_s=2)
    world.until(lambda: world.condition("tiny", "ServersReady").get("status") == "False")
    world.until(lambda: "AttemptFailed" in reasons(world))
    [told] = [event["message"] for event in world.kubelet.all(EVENT) if event["reason"] == "AttemptFailed"]
    assert "no such weights" in told
    is_broken = False
    world.until(lambda: world.phase("tiny") == "Succeeded")


def test_a_permanent_failure_waits_for_an_edit(world: World) -> None:
    bad = permanent("row 3 has no prompt; correct it")
    world.kubelet.fate = lambda item: bad if stage_of(item) == "i1-sft" and role_of(item) != "inspect" else DONE
    world.apply(tiny("tiny", iterations=1))
    world.operator()
    world.until(lambda: world.phase("tiny") == "Failed")
    assert "row 3 has no prompt; correct it" in world.condition("tiny", "Stalled")["message"]
    assert [code for _, stage, code in world.kubelet.ended if stage == "i1-sft"] == [64]
    world.until(lambda: machines(world) == [])
    world.kubelet.fate = lambda _: DONE
    world.edit("tiny", lambda spec: spec["failures"].update(retries=4))
    world.until(lambda: world.phase("tiny") == "Succeeded")


def test_suspend_frees_everything_and_resume_goes_on(world: World) -> None:
    world.kubelet.fate = lambda item: HELD if stage_of(item) == "i1-generate" else DONE
    world.apply(tiny("tiny", iterations=1))
    world.operator()
    world.until(lambda: any(stage_of(item) == "i1-generate" for item in world.kubelet.all(JOB)))
    world.until(lambda: {"i0-evaluate", "i0-anchors"} <= set(world.done("tiny")))  # they run beside it
    assert len(machines(world)) > 1, "its servers are up"
    done = world.done("tiny")
    world.edit("tiny", lambda spec: spec.update(suspend=True))
    world.until(lambda: world.phase("tiny") == "Suspended" and machines(world) == [])
    assert world.done("tiny") == done
    world.kubelet.fate = lambda _: DONE
    world.edit("tiny", lambda spec: spec.update(suspend=False))
    world.until(lambda: world.phase("tiny") == "Succeeded")
    assert len(world.done("tiny")) == len(set(world.done("tiny")))


def test_a_deleted_run_leaves_nothing_and_comes_back_to_what_it_had_done(world: World) -> None:
    world.kubelet.fate = lambda item: HELD if stage_of(item) == "i1-generate" else DONE
    world.apply(tiny("tiny", iterations=1))
    world.operator()
    world.until(lambda: "i0-evaluate" in world.done("tiny"))
    world.until(lambda: any(stage_of(item) == "i1-generate" for item in world.kubelet.all(JOB)))
    world.delete("tiny")
    world.until(lambda: [item for kind in CHILDREN for item in world.kubelet.all(kind)] == [])
    assert world.kubelet.all(MOAA) == []
    # Of another UID, and so with nothing in its status; the store has what was done.
    world.kubelet.fate = lambda _: DONE
    before = len(world.kubelet.ended)
    world.apply(tiny("tiny", iterations=1))
    world.until(lambda: world.phase("tiny") == "Succeeded")
    again = [stage for role, stage, _ in world.kubelet.ended[before:] if role == "stage"]
    assert "i0-evaluate" not in again, "the store was asked first"
    assert "i1-generate" in again


def test_an_edit_in_the_middle_stops_what_it_changes_and_repeats_nothing_else(world: World) -> None:
    world.kubelet.fate = lambda item: HELD if stage_of(item) == "i1-generate" else DONE
    world.apply(tiny("tiny", iterations=1))
    world.operator()
    world.until(lambda: any(stage_of(item) == "i1-generate" for item in world.kubelet.all(JOB)))
    [running] = [item["metadata"]["uid"] for item in world.kubelet.all(JOB) if stage_of(item) == "i1-generate"]
    world.edit("tiny", lambda spec: spec["mixture"]["aggregator"].update(temperature="0.1"))

    def others() -> list[str]:
        found = [item["metadata"]["uid"] for item in world.kubelet.all(JOB) if stage_of(item) == "i1-generate"]
        return [uid for uid in found if uid != running] if running not in found else []

    world.until(others)
    world.kubelet.fate = lambda _: DONE
    world.until(lambda: world.phase("tiny") == "Succeeded")
    ended = [stage for role, stage, _ in world.kubelet.ended if role == "stage"]
    assert ended.count("i0-stage-data") == ended.count("i1-generate") == 1


def test_an_edit_that_means_nothing_disturbs_nothing(world: World) -> None:
    world.kubelet.fate = lambda item: HELD if stage_of(item) == "i1-sft" else DONE
    world.apply(tiny("tiny", iterations=1))
    world.operator()
    world.until(lambda: world.kubelet.all(RAYJOB))
    [before] = world.kubelet.all(RAYJOB)
    world.edit("tiny", lambda spec: spec["failures"].update(retries=5))
    world.until(lambda: world.status("tiny")["observedGeneration"] == 2)
    [after] = world.kubelet.all(RAYJOB)
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    world.kubelet.fate = lambda _: DONE
    world.until(lambda: world.phase("tiny") == "Succeeded")


def test_a_job_that_may_not_make_its_pods_is_told_of(world: World) -> None:
    words = (
        'Error creating: pods "x" is forbidden: exceeded quota: full, requested: pods=1, used: pods=0, limited: pods=0'
    )
    world.kubelet.fate = lambda item: Fate(refusal=words) if stage_of(item) == "i0-stage-data" else DONE
    world.apply(short("tiny"))
    world.operator()
    world.until(lambda: world.condition("tiny", "Stalled").get("reason") == "QuotaExceeded")
    assert "exceeded quota: full, requested: pods=1" in world.condition("tiny", "Stalled")["message"]
    world.kubelet.fate = lambda _: DONE
    world.until(lambda: world.phase("tiny") == "Succeeded")
