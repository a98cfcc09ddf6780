"""How the packages are cut: rooms of a size that one takes in at a glance, and no circle of modules."""

from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {"moaa": "moaa", "moaa_jobs": "jobs/moaa_jobs", "moaa_operator": "operator/moaa_operator"}
MOST = 14
"""Modules of a room."""


@pytest.mark.parametrize("package", PACKAGES)
def test_no_modules_import_each_other_in_a_circle(package: str) -> None:
    graph = grimp.build_graph(package, exclude_type_checking_imports=True, cache_dir=None)
    needs = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    TopologicalSorter(needs).prepare()  # raises CycleError, which names the modules


@pytest.mark.parametrize("package", PACKAGES)
def test_no_room_holds_more_than_one_takes_in(package: str) -> None:
    rooms: dict[str, list[str]] = {}
    for file in (ROOT / PACKAGES[package]).rglob("*.py"):
        if file.name != "__init__.py":
            rooms.setdefault(str(file.parent.relative_to(ROOT)), []).append(file.stem)
    assert {room: sorted(modules) for room, modules in rooms.items() if len(modules) > MOST} == {}
