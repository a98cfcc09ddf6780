"""How the code is laid out: rooms of a size one can keep in mind, no circles, short functions, honest docstrings.

The order of the rooms is import-linter's to check (`make lint`).
"""

import ast
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import grimp
import pytest

from moaa import errors

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "moaa": ROOT / "moaa",
    "moaa_jobs": ROOT / "jobs/moaa_jobs",
    "moaa_operator": ROOT / "operator/moaa_operator",
}
MOST_MODULES = 14
"""Of one room, its docstring's `__init__` not counted."""
MOST_LINES = {"median": 8, "p95": 27}
"""Of a function, signature and docstring included."""
MOST_PARAMETERS = 8
MOST_WIDE = 0.01
"""Part of the functions that may take more parameters."""
NAMED = {name for name, value in vars(errors).items() if isinstance(value, type)} | {"ValueError"}
"""Errors that a docstring has to name where a public function raises them itself."""

AnyFunction = ast.FunctionDef | ast.AsyncFunctionDef


class Function(NamedTuple):
    where: str
    node: AnyFunction
    is_public: bool
    """Neither it nor a class around it begins with `_`, and it is no function of a function."""


def sources() -> list[Path]:
    return [file for folder in PACKAGES.values() for file in sorted(folder.rglob("*.py"))]


def functions(file: Path, text: str) -> Iterator[Function]:
    """Every function of a module, those inside others too."""

    def below(node: ast.AST, *, is_public: bool) -> Iterator[Function]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, AnyFunction):
                shown = is_public and not child.name.startswith("_")
                yield Function(f"{file}:{child.lineno} {child.name}", child, shown)
                yield from below(child, is_public=False)
            elif isinstance(child, ast.ClassDef):
                yield from below(child, is_public=is_public and not child.name.startswith("_"))
            else:
                yield from below(child, is_public=is_public)

    yield from below(ast.parse(text), is_public=True)


@cache
def every_function() -> list[Function]:
    return [found for file in sources() for found in functions(file.relative_to(ROOT), file.read_text())]


def own_nodes(node: AnyFunction) -> Iterator[ast.AST]:
    """What a function does itself: functions and classes defined inside it are left out."""
    waiting: list[ast.AST] = [*node.body]
    while waiting:
        now = waiting.pop()
        yield now
        if not isinstance(now, AnyFunction | ast.ClassDef | ast.Lambda):
            waiting += ast.iter_child_nodes(now)


def raised(node: AnyFunction) -> set[str]:
    """Names of the errors in `NAMED` that a function raises itself."""
    thrown = [one.exc for one in own_nodes(node) if isinstance(one, ast.Raise) and one.exc is not None]
    called = [one.func if isinstance(one, ast.Call) else one for one in thrown]
    names = {
        one.id if isinstance(one, ast.Name) else one.attr for one in called if isinstance(one, ast.Name | ast.Attribute)
    }
    return names & NAMED


def untold(found: Function) -> set[str]:
    """Errors that a public function raises itself and its docstring does not name."""
    told = ast.get_docstring(found.node) or ""
    return {name for name in raised(found.node) if name not in told} if found.is_public else set()


def width(node: AnyFunction) -> int:
    """Parameters, `self` and `cls` not counted."""
    given = node.args
    names = [one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg) if one]
    return len([name for name in names if name not in ("self", "cls")])


def circles(arrows: Mapping[str, set[str]]) -> list[set[str]]:
    """Sets of modules each of which reaches every other one of its set."""
    reached: dict[str, set[str]] = {}
    for start in arrows:
        waiting, seen = [start], set[str]()
        while waiting:
            for target in arrows.get(waiting.pop(), set()) - seen:
                seen.add(target)
                waiting.append(target)
        reached[start] = seen
    together = {frozenset({other for other in found if one in reached[other]}) for one, found in reached.items()}
    return [set(circle) for circle in together if circle]


@pytest.mark.parametrize("package", PACKAGES)
def test_a_room_holds_fourteen_modules_at_most(package: str) -> None:
    rooms = Counter(
        file.parent.relative_to(ROOT).as_posix()
        for file in PACKAGES[package].rglob("*.py")
        if file.name != "__init__.py"
    )
    assert rooms, f"{package} has no modules"
    large = {room: count for room, count in rooms.items() if count > MOST_MODULES}
    assert not large, f"split by idea: {large}"


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Imports inside functions count, and so do those for the type checker."""
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    assert len(graph.modules) > 200
    assert not circles({module: graph.find_modules_directly_imported_by(module) for module in graph.modules})


def test_functions_stay_short() -> None:
    lines = [found.node.end_lineno - found.node.lineno + 1 for found in every_function() if found.node.end_lineno]
    assert statistics.median(lines) <= MOST_LINES["median"]
    assert statistics.quantiles(lines, n=20)[-1] <= MOST_LINES["p95"]


def test_hardly_a_function_takes_more_than_eight_parameters() -> None:
    every = every_function()
    wide = [found.where for found in every if width(found.node) > MOST_PARAMETERS]
    assert len(wide) <= MOST_WIDE * len(every), f"{len(wide)} of {len(every)}: {wide}"


def test_public_docstrings_name_what_their_function_raises() -> None:
    missing = {found.where: sorted(names) for found in every_function() if (names := untold(found))}
    assert not missing, "\n".join(f"{where}: {', '.join(names)}" for where, names in missing.items())


TELLS = '''
class Reader:
    def tells(self):
        """Raises DataError: always."""
        raise DataError("x")

    def hides(self, a, *b, c, **d):
        """Reads."""
        if a:
            raise errors.StoreError("x") from None
        def inside():
            raise UsageError("not its own")

class _Private:
    def hides(self):
        raise DataError("x")
'''


def test_what_these_tests_look_at() -> None:
    tells, hides, inside, private = functions(Path("a.py"), TELLS)
    assert [untold(one) for one in (tells, hides, inside, private)] == [set(), {"StoreError"}, set(), set()]
    assert raised(inside.node) == {"UsageError"}
    assert (width(tells.node), width(hides.node)) == (0, 4)
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [{"b", "c"}]
    assert circles({"a": {"a"}}) == [{"a"}]
