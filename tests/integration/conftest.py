"""What several integration tests share."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.apiserver import ApiServer, install_crds, run_api_server
from tests.integration.fault_proxy import FaultProxy
from tests.integration.operator_world import World


@pytest.fixture(scope="session")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """One for all tests, each in namespaces of its own; who kills it starts it again."""
    with run_api_server(tmp_path_factory.mktemp("apiserver") / "server") as server:
        install_crds(server)
        yield server


@pytest.fixture
def proxy(api_server: ApiServer) -> Iterator[FaultProxy]:
    with FaultProxy(api_server) as proxy:
        yield proxy


@pytest.fixture
def world(api_server: ApiServer, proxy: FaultProxy, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """A namespace named after the test."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).removeprefix("test-")[:60].strip("-")
    world = World(api_server, proxy, name, tmp_path)
    yield world
    world.close()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "storm" in metafunc.fixturenames:
        metafunc.parametrize("storm", range(1, metafunc.config.getoption("--operator-storms") + 1))


@pytest.fixture
def kills(request: pytest.FixtureRequest) -> int:
    count: int = request.config.getoption("--operator-kills")
    return count
