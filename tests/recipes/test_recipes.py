"""Each recipe of CONTRIBUTING.md: a whole extension as a patch, the files it touches, and what notices a forgotten one.

When a patch does not fit any more, apply what is left of it by hand and write it again: `git diff -U1`.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.recipes import tree

PATCHES = Path(__file__).parent
CONTRIBUTING = tree.ROOT / "CONTRIBUTING.md"


@dataclass(frozen=True)
class Recipe:
    patch: str
    title: str
    """Of its section in CONTRIBUTING.md."""
    most: int
    """Source files it may touch."""
    tests: tuple[str, ...]
    """Run in the copy; they pass with the whole of it."""
    forgettable: tuple[str, ...]
    """Files in which it is registered: the type check or `tests` fail without any one of them."""

    @property
    def file(self) -> Path:
        return PATCHES / f"{self.patch}.patch"


RECIPES = (
    Recipe(
        "judge_method",
        "A judge method",
        5,
        ("tests/unit/judge/test_judge_unanimous.py", "tests/unit/test_registered.py"),
        ("moaa/api/mixture.py", "moaa/judge/methods.py"),
    ),
    Recipe(
        "answer_method",
        "An answer method",
        6,
        ("tests/unit/client/test_calls_vote.py", "tests/unit/test_registered.py"),
        (
            "moaa/api/mixture.py",
            "moaa/mixture/methods.py",
            "moaa/report/provenance.py",
            "moaa/run/students.py",
            "jobs/moaa_jobs/stages/readers.py",
        ),
    ),
    Recipe(
        "benchmark",
        "A benchmark",
        6,
        ("tests/unit/benchmark/test_benchmark_contains.py", "tests/unit/test_registered.py"),
        (
            "moaa/api/evaluation.py",
            "moaa/benchmark/measures.py",
            "moaa/data/further/completions.py",
            "moaa/scoring/figures.py",
            "moaa/anchors/judges.py",
        ),
    ),
    Recipe(
        "loss",
        "A loss on pairs",
        4,
        ("tests/integration/test_training_pairs.py", "-k", "formula and Hinge"),
        ("moaa/api/training.py", "jobs/moaa_jobs/training/worker/losses.py"),
    ),
    Recipe(
        "stage_kind",
        "A kind of stage",
        7,
        ("tests/unit/jobs/test_jobs_leaks.py", "tests/unit/test_registered.py"),
        ("moaa/plan/stage.py", "moaa/plan/kinds/table.py", "moaa/plan/graph.py", "jobs/moaa_jobs/stages/leaks.py"),
    ),
)


def section(title: str) -> str:
    """A section of CONTRIBUTING.md, its heading left out."""
    found = re.search(rf"^### {re.escape(title)}\n(.*?)(?=^##|\Z)", CONTRIBUTING.read_text(), re.MULTILINE | re.DOTALL)
    assert found, f"CONTRIBUTING.md has no section {title!r}"
    return found[1]


def named(title: str) -> list[re.Pattern[str]]:
    """Files that a section names in backticks; `<method>` and the like stand for a name of one's own."""
    paths = re.findall(r"`([\w./<>-]+\.py)`", section(title))
    return [re.compile(re.sub(r"<\w+>", r"\\w+", path.replace(".", r"\."))) for path in paths]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.patch)
def test_it_touches_only_files_that_contributing_names(recipe: Recipe) -> None:
    files = tree.touched(recipe.file)
    assert 0 < len(files) <= recipe.most, files
    allowed = named(recipe.title)
    assert [file for file in files if not any(path.fullmatch(file) for path in allowed)] == []
    assert set(recipe.forgettable) <= set(files)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.patch)
def test_it_works_as_a_whole_and_nothing_is_forgotten_silently(recipe: Recipe, tmp_path: Path) -> None:
    whole = tree.copy_tree(tmp_path / "whole")
    tree.apply(recipe.file, whole)
    tree.generate(whole)
    for done in (tree.type_check(whole), tree.tests(whole, recipe.tests)):
        assert done.code == 0, done.text
    for name in recipe.forgettable:
        with tree.forgotten(name, whole):
            noticed = tree.type_check(whole).code != 0 or tree.tests(whole, recipe.tests).code != 0
        assert noticed, f"without {name} neither the type check nor {' '.join(recipe.tests)} fails"
