"""The operator as a process of its own, with its own rights only, against a real API server."""

from typing import Any

from moaa_operator.api import DEPLOYMENT
from tests.integration.operator_world import World

Object = dict[str, Any]


def test_a_whole_run_in_a_cluster_of_many_namespaces(world: World) -> None:
    world.apply("tiny")
    operator = world.operator(cluster_wide=True)
    world.until(lambda: world.phase("tiny") == "Succeeded")
    assert world.status("tiny")["iteration"] == "2/2"
    world.until(lambda: world.kubelet.all(DEPLOYMENT) == [])
    assert set(world.proxy.made().values()) == {1}
    assert operator.stop() == 0
