"""What all tests share: examples that hypothesis draws are the same in every run.

A search that finds something new belongs into a soak or a developer's hands (`HYPOTHESIS_PROFILE=search`), not between
a change and its landing.
"""

import gc
import os

import pytest
from hypothesis import settings

settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("search", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--operator-kills", type=int, default=5, help="how often the operator is killed in a test of it")
    parser.addoption("--operator-storms", type=int, default=1, help="how many storms of each kind the operator sees")


def pytest_collection_finish() -> None:
    """Modules stay until the end. A collector that walks them again and again takes a tenth of the tests' time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)
