"""What a real API server refuses to make, in its own words, until somebody mends it."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from moaa_operator.kube.kinds import EVENT, Kind
from tests.integration.operator_world import World, tiny

Object = dict[str, Any]
QUOTA = Kind("v1", "ResourceQuota", "resourcequotas")


def no_jobs(world: World) -> Callable[[], object]:
    """A quota as the controller that counts would leave it."""
    limit = {"hard": {"count/jobs.batch": "0"}}
    made = world.api.create(
        QUOTA,
        world.namespace,
        {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": limit},
    )
    world.api.replace_status(QUOTA, world.namespace, {**made, "status": {**limit, "used": {"count/jobs.batch": "0"}}})
    return lambda: world.api.delete(QUOTA, world.namespace, "none")


def stalled(world: World) -> Object:
    return world.condition("tiny", "Stalled")


def told(world: World, reason: str) -> list[Object]:
    items, _ = world.api.list(EVENT, world.namespace)
    return [item for item in items if item["reason"] == reason]


def test_a_quota_is_told_with_its_remedy_and_the_run_goes_on_when_it_is_gone(world: World) -> None:
    lift = no_jobs(world)
    world.apply(tiny("tiny"))
    world.operator()
    world.until(lambda: stalled(world).get("reason") == "QuotaExceeded")
    assert "exceeded quota: none" in stalled(world)["message"]
    assert "kubectl describe resourcequota" in stalled(world)["message"]
    world.until(lambda: told(world, "QuotaExceeded"))
    # It is tried again, and the status stays as it is.
    version = world.status("tiny")
    tries = itertools.count()
    world.until(lambda: next(tries) > 20)
    assert world.status("tiny") == version
    assert len(told(world, "QuotaExceeded")) == 1
    lift()
    world.until(lambda: "i0-stage-data" in world.done("tiny"))
    assert stalled(world)["status"] == "False"


@pytest.mark.parametrize(
    ("template", "reason", "words"),
    [
        pytest.param({"spec": {"nodeSelector": {"a": "not a label!"}}}, "Invalid", "nodeSelector", id="a field"),
        pytest.param({"spec": {"priorityClassName": 7}}, "Invalid", "priorityClassName", id="a type"),
    ],
)
def test_a_template_that_no_server_takes_is_told_with_the_field(
    world: World, template: Object, reason: str, words: str
) -> None:
    document = world.apply(tiny("tiny"))
    models = document["spec"]["models"]

    def change(spec: Object) -> None:
        spec["models"] = [{**m, "serving": {**m.get("serving", {}), "template": template}} for m in models]

    world.edit("tiny", change)
    world.operator()
    world.until(lambda: stalled(world).get("status") == "True")
    assert words in stalled(world)["message"]
    assert stalled(world)["reason"] == reason
    assert "i0-stage-data" in world.done("tiny")
    world.edit("tiny", lambda spec: spec.update(models=models))
    world.until(lambda: "i0-evaluate" in world.done("tiny"))
    assert stalled(world)["status"] == "False"
