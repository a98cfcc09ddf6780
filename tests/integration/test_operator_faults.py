"""Harm of every kind between the operator and a real API server: a run ends as if nothing had happened."""

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from moaa.api.reading.load import load_document
from moaa.plan.graph import build
from moaa_operator.kube.kinds import DEPLOYMENT, EVENT, LEASE, MOAA, RAYJOB
from moaa_operator.main import EXIT_LEASE_LOST
from tests.integration.apiserver import CRD, install_kuberay
from tests.integration.fault_proxy import Asked, Fault
from tests.integration.kubelet import DONE, HELD, run_of
from tests.integration.operator_world import Operator, World, short, tiny

Object = dict[str, Any]


def assert_undisturbed(world: World, *names: str) -> None:
    """Every stage was done, and by one attempt; no object was made twice."""
    for name in names:
        assert world.phase(name) == "Succeeded"
        resource = load_document(world.api.get(MOAA, world.namespace, name), name=name)
        assert sorted(world.done(name)) == sorted(build(resource).stages)
    assert {name: n for name, n in world.proxy.made().items() if n > 1} == {}
    works = Counter(end for end in world.kubelet.ended if end[0] in ("stage", "finalise"))
    assert set(works.values()) == {len(names)}, works
    assert {code for _, _, code in works} == {0}


def test_killed_anywhere_it_goes_on_where_it_was(world: World, kills: int) -> None:
    dice = random.Random(kills)
    names: list[str] = []
    operators: list[Operator] = []
    until_next = dice.randint(1, 25)
    points: list[str] = []

    def harm(asked: Asked) -> Fault | None:
        nonlocal until_next
        if not asked.is_write or asked.is_about_lease or len(points) >= kills:
            return None
        until_next -= 1
        if until_next:
            return None
        operators[-1].process.kill()
        until_next = dice.randint(1, 25)
        is_done = dice.random() < 0.5  # the server does it, and nobody hears of it
        points.append(f"{asked.method} {asked.plural} {'after' if is_done else 'before'}")
        return None if is_done else Fault()

    world.proxy.harm = harm

    def goes_on(name: str) -> bool:
        if not operators or operators[-1].has_ended:
            operators.append(world.operator(leader_election="false"))
        return world.phase(name) == "Succeeded"

    while len(points) < kills:
        names.append(f"run-{len(names)}")
        world.apply(tiny(names[-1], iterations=1, seed=len(names)))  # alike, they would take what the first has made
        world.until(lambda: goes_on(names[-1]), timeout_s=300)
    assert len(operators) == kills + 1, points
    for name in names:
        assert world.phase(name) == "Succeeded"
    assert_undisturbed(world, *names)


def test_one_of_two_replicas_works_and_the_other_follows_when_it_is_killed(world: World) -> None:
    world.apply(tiny("tiny", iterations=1))
    replicas: list[Operator] = []

    def reaches(condition: Callable[[], bool]) -> bool:
        """Two replicas at any time, as a Deployment would see to it."""
        replicas[:] = [replica for replica in replicas if not replica.has_ended]
        while len(replicas) < 2:
            replicas.append(world.operator(lease_duration_s=12, lease_renew_s=8))
        return condition()

    for stage in ("i0-evaluate", "i1-sft"):
        world.until(lambda stage=stage: reaches(lambda: stage in world.done("tiny")))
        [lease] = world.kubelet.all(LEASE)
        holder = lease["spec"]["holderIdentity"].rpartition("-")[2]
        [leader] = [replica for replica in replicas if str(replica.process.pid) == holder]
        leader.kill()
    world.until(lambda: reaches(lambda: world.phase("tiny") == "Succeeded"))
    assert_undisturbed(world, "tiny")
    assert [replica.stop() for replica in replicas] == [0, 0]


def test_a_leader_that_lost_its_lease_ends(world: World) -> None:
    world.kubelet.fate = lambda item: HELD if item["kind"] == "RayJob" else DONE
    world.apply(tiny("tiny", iterations=1))
    operator = world.operator(lease_duration_s=12, lease_renew_s=8)
    world.until(lambda: world.kubelet.all(RAYJOB))
    world.proxy.harm = lambda asked: Fault(500) if asked.is_about_lease else None
    world.until(lambda: operator.has_ended)
    assert operator.process.returncode == EXIT_LEASE_LOST
    world.proxy.harm = lambda _: None
    world.kubelet.fate = lambda _: DONE
    world.operator(lease_duration_s=12, lease_renew_s=8)
    world.until(lambda: world.phase("tiny") == "Succeeded")
    assert_undisturbed(world, "tiny")


def test_the_api_server_is_killed_and_comes_back(world: World) -> None:
    world.apply(tiny("tiny", iterations=1))
    operator = world.operator()
    for stage in ("i0-evaluate", "i1-sft"):
        world.until(lambda stage=stage: stage in world.done("tiny"))
        world.server.kill()
        world.server.start()
    world.until(lambda: world.phase("tiny") == "Succeeded")
    assert not operator.has_ended
    assert_undisturbed(world, "tiny")


def test_watches_that_are_cut_all_the_time(world: World) -> None:
    world.apply(tiny("tiny", iterations=1))
    world.operator()

    def is_done() -> bool:
        world.proxy.cut_watches()
        return world.phase("tiny") == "Succeeded"

    world.until(is_done)
    assert_undisturbed(world, "tiny")


def test_work_whose_pods_are_not_watched_is_not_taken_for_lost(world: World) -> None:
    world.proxy.harm = lambda asked: Fault() if asked.is_watch and asked.path.endswith("/pods") else None
    world.apply(tiny("tiny", iterations=1))
    world.operator()
    world.until(lambda: world.phase("tiny") == "Succeeded")
    assert_undisturbed(world, "tiny")


STORMS: dict[str, tuple[float, list[Fault]]] = {
    "conflicts": (0.25, [Fault(409)]),
    "expired versions": (0.25, [Fault(410)]),
    "too many requests": (0.05, [Fault(429, retry_after_s=1)]),
    "errors": (0.1, [Fault(500), Fault(503)]),
    "cut connections": (0.1, [Fault(), Fault(is_done=True)]),
    "answers that lie": (0.1, [Fault(500, is_done=True), Fault(429, is_done=True)]),
}
"""The part of requests that fails, and how."""


@pytest.mark.parametrize(("part", "faults"), STORMS.values(), ids=STORMS.keys())
def test_a_storm_of(world: World, part: float, faults: list[Fault], storm: int) -> None:
    dice = random.Random(storm)
    sent: list[Fault] = []

    def harm(asked: Asked) -> Fault | None:
        # Only a replacement conflicts, only a watch or a page is too old.
        is_meant = {409: asked.method in ("PUT", "PATCH"), 410: not asked.is_write}.get(faults[0].code, True)
        if asked.is_about_lease or not is_meant or dice.random() >= part:
            return None
        sent.append(dice.choice(faults))
        return sent[-1]

    world.proxy.harm = harm
    world.apply(tiny("tiny", iterations=1))
    world.operator()
    world.until(lambda: world.phase("tiny") == "Succeeded")
    assert sent
    assert_undisturbed(world, "tiny")


def test_a_run_that_waits_or_is_over_writes_nothing(world: World) -> None:
    world.kubelet.fate = lambda item: HELD if item["kind"] == "RayJob" else DONE
    world.apply(tiny("tiny", iterations=1))
    world.operator(resync_active_s=0.5, resync_idle_s=0.5)

    def looks() -> int:
        return sum(asked.path.endswith("/moaas/tiny") for asked, _ in world.proxy.requests())

    def writes_while_it_looks() -> list[str]:
        """What is written during five looks, once there was one without."""
        before = -1
        while before != len(world.proxy.writes()):
            before, seen = len(world.proxy.writes()), looks()
            world.until(lambda seen=seen: looks() >= seen + 2)
        seen = looks()
        world.until(lambda: looks() >= seen + 5)
        return [f"{asked.method} {asked.path}" for asked in world.proxy.writes()[before:]]

    world.until(lambda: world.kubelet.all(RAYJOB))
    assert writes_while_it_looks() == []
    world.kubelet.fate = lambda _: DONE
    world.until(lambda: world.phase("tiny") == "Succeeded")
    assert writes_while_it_looks() == []


def test_without_kuberay_training_waits_and_says_what_to_install(world: World) -> None:
    name = "rayjobs.ray.io"
    world.api.delete(CRD, "", name)
    world.until(lambda: name not in [item["metadata"]["name"] for item in world.api.list(CRD, None)[0]])
    try:
        world.apply(tiny("tiny", iterations=1))
        operator = world.operator()
        world.until(lambda: world.condition("tiny", "Stalled").get("reason") == "KubeRayMissing")
        assert "install KubeRay" in world.condition("tiny", "Stalled")["message"]
    finally:
        install_kuberay(world.server)
    assert operator.stop() == 0  # it would ask again by itself a minute later; in order, so that the lease is free
    world.operator()
    world.until(lambda: world.phase("tiny") == "Succeeded")
    assert_undisturbed(world, "tiny")


def test_two_runs_that_each_need_every_gpu_both_finish(world: World) -> None:
    world.kubelet.gpus = 4
    for seed, name in enumerate(("one", "two")):  # alike, one would take what the other has made
        world.apply(on_four_gpus(name, seed=seed))

    def is_placed(item: Object) -> bool:
        """Each run's first two servers, and none before all are there."""
        names = sorted(d["metadata"]["name"] for d in world.kubelet.all(DEPLOYMENT) if run_of(d) == run_of(item))
        return len(world.kubelet.all(DEPLOYMENT)) == 8 and item["metadata"]["name"] in names[:2]

    world.kubelet.fate = lambda item: HELD if item["kind"] == "Deployment" and not is_placed(item) else DONE
    world.operator()
    world.until(lambda: any(e["reason"] == "Released" for e in world.kubelet.all(EVENT)), timeout_s=200)
    world.kubelet.fate = lambda _: DONE
    world.until(lambda: {world.phase("one"), world.phase("two")} == {"Succeeded"}, timeout_s=300)
    assert_undisturbed(world, "one", "two")


def on_four_gpus(name: str, **changes: object) -> Object:
    """Four models on a GPU each teach one that trains on as many; scheduling gives up after a minute."""
    document = short(name, serving={"scheduleMinutes": 1}, **changes)
    spec = document["spec"]
    spec["training"]["resources"] = {"workers": 4, "gpusPerWorker": 1}
    spec["training"]["sft"]["microBatchSize"] = 8
    for model in spec["models"]:
        model["serving"] = {**model["serving"], "gpus": 1}
    return document
