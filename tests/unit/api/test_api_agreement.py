"""`moaa validate` and the API server break the same rules on the same resources (docs/decisions/rules-twice.md)."""

from typing import Any

import pytest
import yaml
from hypothesis import given, settings

from tests.bad_resources import BAD
from tests.mutations import mutated
from tests.plan_helpers import tree
from tests.rule_pairs import PAIRS, Verdict, serve, validate
from tests.unit.api.test_api_crd_admission import EXAMPLES, GOOD, MORE_BAD, NOT_IN_THE_CRD, SCHEMA_ALONE

DOCUMENTS: dict[str, dict[str, Any]] = {
    **{f"bad: {name}": tree(**changes) for name, (changes, _, _) in BAD.items() if name not in NOT_IN_THE_CRD},
    **{f"bad: {name}": tree(**changes) for name, (changes, _) in MORE_BAD.items()},
    **{f"bad: {name}": tree(**changes) for name, (changes, _) in SCHEMA_ALONE.items()},
    **{f"good: {name}": tree(**changes) for name, changes in GOOD.items()},
    **{f"example: {path.stem}": yaml.safe_load(path.read_text()) for path in EXAMPLES},
}
BASES = [document for name, document in DOCUMENTS.items() if name.startswith(("good", "example"))]


def assert_agree(document: dict[str, Any]) -> Verdict:
    ours, theirs = validate(document), serve(document)
    assert ours.wrong == theirs.wrong
    assert set(ours.broken) == set(theirs.broken)
    for name, paths in theirs.broken.items():
        for path in paths:
            assert any(near(path, other) for other in ours.broken[name]), (name, path, ours.broken[name])
    return ours


def near(path: str, other: str) -> bool:
    """`.` is the resource itself."""
    return path == "." or path.startswith(other) or other.startswith(path)


@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS.keys())
def test_both_sides_break_the_same_rules(document: dict[str, Any]) -> None:
    assert_agree(document)


def test_every_pair_is_broken_by_a_bad_resource() -> None:
    broken = {name for document in DOCUMENTS.values() for name in validate(document).broken}
    assert set(PAIRS) - broken == set()


@given(mutated(BASES))
@settings(max_examples=150)
def test_both_sides_break_the_same_rules_of_what_nobody_thought_of(document: dict[str, Any]) -> None:
    assert_agree(document)
