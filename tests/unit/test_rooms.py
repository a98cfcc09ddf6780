"""The layout stays one that a stranger can walk through: small rooms, and no circle of modules."""

from pathlib import Path

import grimp
import pytest

ROOTS = {"moaa": Path("moaa"), "moaa_jobs": Path("jobs/moaa_jobs"), "moaa_operator": Path("operator/moaa_operator")}
MOST = 14
MOST_IN = {"operator/moaa_operator/render": 14}
REPOSITORY = Path(__file__).parents[2]


@pytest.mark.parametrize("root", ROOTS)
def test_no_room_is_crowded(root: str) -> None:
    crowded = {}
    for room in sorted({file.parent for file in (REPOSITORY / ROOTS[root]).rglob("*.py")}):
        name = room.relative_to(REPOSITORY).as_posix()
        modules = [file.stem for file in room.glob("*.py") if file.stem != "__init__"]
        if len(modules) > MOST_IN.get(name, MOST):
            crowded[name] = len(modules)
    assert crowded == {}


def test_modules_import_each_other_in_no_circle() -> None:
    graph = grimp.build_graph(*ROOTS, exclude_type_checking_imports=True)
    waiting = {module: set(graph.find_modules_directly_imported_by(module)) for module in graph.modules}
    while leaves := {module for module, imported in waiting.items() if not imported & waiting.keys()}:
        waiting = {module: imported for module, imported in waiting.items() if module not in leaves}
    assert sorted(waiting) == []
