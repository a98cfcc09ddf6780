"""README, CONTRIBUTING and docs name only what there is: paths, modules, commands, targets, numbers."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from examples.tiny import world
from moaa.api.reading.load import load
from moaa.cli.main import COMMANDS

ROOT = Path(__file__).parents[2]
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "SECURITY.md", *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md")))
DECISIONS = tuple(f"docs/decisions/{path.name}" for path in (ROOT / "docs/decisions").glob("*.md"))
SOURCES = {"moaa": ROOT, "moaa_jobs": ROOT / "jobs", "moaa_operator": ROOT / "operator"}
TOP = "moaa|jobs|operator|tests|docs|charts|terraform|examples|images|benchmarks"
COMMENT = re.compile(r"#.*$", re.MULTILINE)


def code(text: str) -> list[str]:
    """What a document sets as code: between backticks, and lines of shell blocks without their comments."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    lines = [line.strip() for block in blocks for line in COMMENT.sub("", block).splitlines()]
    rest = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return [*re.findall(r"`([^`\n]+)`", rest), *lines]


def no_paths(text: str) -> list[str]:
    """Paths of the repository that are set as code, or linked to from its root, and are not there."""
    named = [found for span in code(text) for found in re.findall(rf"^(?:{TOP})/[\w./*-]+$", span)]
    return [name for name in named if not list(ROOT.glob(name.rstrip("/")))]


def no_links(document: str, text: str) -> list[str]:
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]
    return [target for target in targets if target and not ((ROOT / document).parent / target).exists()]


def no_modules(text: str) -> list[str]:
    """Dotted names of our packages that are neither a module nor a name that stands in one."""
    named = [
        found
        for span in code(text)
        for found in re.findall(r"(?:^|-m )((?:moaa|moaa_jobs|moaa_operator|tests|benchmarks)(?:\.\w+)+)(?=$|\s)", span)
        if not found.endswith((".dev", ".md", ".yaml"))
    ]
    return [name for name in named if not _is_there(name.split("."))]


def _is_there(parts: list[str]) -> bool:
    base = SOURCES.get(parts[0], ROOT)
    for length in range(len(parts), 0, -1):
        folder = base.joinpath(*parts[:length])
        file = folder.with_suffix(".py") if folder.with_suffix(".py").exists() else folder / "__init__.py"
        if file.exists():
            return all(re.search(rf"\b{name}\b", file.read_text()) for name in parts[length:])
    return False


def no_targets(text: str) -> list[str]:
    known = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = [found for span in code(text) for found in re.findall(r"(?:^|&& )make ([a-z0-9-]+)", span)]
    return [name for name in named if name not in known]


def no_commands(text: str) -> list[str]:
    named = [found for span in code(text) for found in re.findall(r"^moaa ([a-z]+)\b", span)]
    return [name for name in named if name not in COMMANDS]


CHECKS: Mapping[str, Callable[[str], list[str]]] = {
    "paths": no_paths,
    "modules": no_modules,
    "targets": no_targets,
    "commands": no_commands,
}


@pytest.mark.parametrize("document", [*DOCUMENTS, *DECISIONS])
def test_what_a_document_names_is_there(document: str) -> None:
    text = (ROOT / document).read_text()
    missing = {name: found for name, check in CHECKS.items() if (found := check(text))}
    assert missing == {}
    assert no_links(document, text) == []


def test_numbers_are_those_of_the_code() -> None:
    tiny = load(ROOT / "examples/tiny/moaa.yaml").spec
    words = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    recipes = len(list((ROOT / "tests/recipes").glob("*.patch")))
    assert tiny.mixture is not None
    said = {
        "README.md": [
            f"{words[len(tiny.models)]} language models",
            f"{words[len(world.OPERATIONS)]} string operations",
            f"{words[sum(len(layer.proposers) for layer in tiny.mixture.layers)]} proposers".capitalize(),
            f"{words[tiny.iterations]} iterations",
        ],
        "CONTRIBUTING.md": [f"the {words[recipes]} recipes"],
    }
    for document, phrases in said.items():
        text = " ".join((ROOT / document).read_text().split())
        assert [phrase for phrase in phrases if phrase not in text] == []
    assert len(re.findall(r"^### ", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)) == recipes


def test_every_decision_is_linked_from_the_map() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    assert [name for name in DECISIONS if name.removeprefix("docs/") not in text] == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("`moaa/api` and `moaa/nowhere.py`", {"paths": ["moaa/nowhere.py"]}),
        ("`moaa.api.load_not`, `moaa.judge.methods.method_of`", {"modules": ["moaa.api.load_not"]}),
        ("`python -m moaa_jobs.nothing --job F`", {"modules": ["moaa_jobs.nothing"]}),
        ("```sh\nmake demo\nmake coffee  # make tea\n```", {"targets": ["coffee"]}),
        ("`moaa plan x` `moaa ponder x`", {"commands": ["ponder"]}),
    ],
)
def test_what_is_not_there_is_found(text: str, found: dict[str, list[str]]) -> None:
    assert {name: missing for name, check in CHECKS.items() if (missing := check(text))} == found
    assert no_links("README.md", "[a](docs/none.md) [b](docs/install.md) [c](https://x.y/z)") == ["docs/none.md"]
