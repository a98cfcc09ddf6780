"""Dotted names between backticks, in docstrings, comments and documents, name what there is.

Sources are parsed, never imported: torch and Ray need not be installed.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOMES = {"moaa": ROOT, "moaa_jobs": ROOT / "jobs", "moaa_operator": ROOT / "operator"}
DOTTED = re.compile(r"`((?:moaa|moaa_jobs|moaa_operator)(?:\.\w+)+)(?:\(\))?`")
NO_MODULES = re.compile(r"\.(?:dev|md|yaml|json|io)$|^moaa\.dev\b")
"""The resource's group and files of that name."""


def prose(source: str) -> Iterator[str]:
    """Docstrings, those of attributes included, and comments."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Expr(value=ast.Constant(value=str() as text)):
                yield text
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.string


def dotted(text: str) -> list[str]:
    return [name for name in DOTTED.findall(text) if not NO_MODULES.search(name)]


def is_there(name: str) -> bool:
    """Whether a dotted name is a module, a name of one, or a member of a class in one."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        folder = HOMES[parts[0]].joinpath(*parts[:length])
        file = next((file for file in (folder.with_suffix(".py"), folder / "__init__.py") if file.exists()), None)
        if file is not None:
            return _holds(_tree(file).body, parts[length:])
    return False


@cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


def _holds(body: list[ast.stmt], names: list[str]) -> bool:
    if not names:
        return True
    first, rest = names[0], names[1:]
    for node in body:
        match node:
            case ast.ClassDef(name=found) if found == first:
                return _holds(node.body, rest)
            case ast.FunctionDef(name=found) | ast.AsyncFunctionDef(name=found) if found == first:
                return not rest
            case ast.AnnAssign(target=ast.Name(id=found)) if found == first:
                return not rest
            case ast.Assign(targets=targets) if any(isinstance(t, ast.Name) and t.id == first for t in targets):
                return not rest
    return False


SOURCES = ("moaa", "jobs/moaa_jobs", "operator/moaa_operator", "tests", "examples", "benchmarks", "images")
FILES = [
    *(file for folder in SOURCES for file in (ROOT / folder).rglob("*.py")),
    *ROOT.glob("*.md"),
    *(ROOT / "docs").rglob("*.md"),
]


def missing(texts: Iterator[str]) -> list[str]:
    return [name for text in texts for name in dotted(text) if not is_there(name)]


def test_every_dotted_name_is_there() -> None:
    named = {file: text for file in FILES if dotted(text := file.read_text())}
    assert len(named) > 50
    gone = {
        str(file.relative_to(ROOT)): names
        for file, text in named.items()
        if (names := missing(prose(text) if file.suffix == ".py" else iter([text])))
    }
    assert not gone


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("as `moaa.asking.asker.Asker.ask` does", []),
        ("of `moaa.judge` and `moaa.judge.methods`", []),
        ("`moaa.judge.methods.method_for`", ["moaa.judge.methods.method_for"]),
        ("`moaa.judge.gone.method_of`", ["moaa.judge.gone.method_of"]),
        ("`moaa.asking.asker.Asker.gone`", ["moaa.asking.asker.Asker.gone"]),
        ("`moaa_operator.gone`", ["moaa_operator.gone"]),
        ("`moaa.dev` and `moaa.dev/uid`", []),
    ],
)
def test_a_name_that_is_gone_is_found(text: str, found: list[str]) -> None:
    assert missing(iter([text])) == found
