"""What several integration tests share."""

from collections.abc import Iterator

import pytest

from tests.integration.apiserver import ApiServer, install_crds, run_api_server


@pytest.fixture(scope="session")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """One for all tests, each in namespaces of its own; who kills it starts it again."""
    with run_api_server(tmp_path_factory.mktemp("apiserver") / "server") as server:
        install_crds(server)
        yield server
