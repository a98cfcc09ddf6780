"""The committed tiny models have the skills their README states, and the build script teaches a model those skills."""

from collections.abc import Mapping
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from examples.tiny.build import build  # noqa: E402 - after the skip where torch is not installed
from examples.tiny.lessons import CAST, PROPOSERS  # noqa: E402
from examples.tiny.measure import Chatter, accuracy, majority, measure  # noqa: E402
from examples.tiny.world import OPERATIONS, distinct_questions  # noqa: E402

MODELS = Path(__file__).parents[2] / "examples" / "tiny" / "models"
QUESTIONS = distinct_questions("selection", 198, seed=0)


@pytest.fixture(scope="module")
def answers() -> Mapping[str, list[str]]:
    torch.set_num_threads(1)
    return measure(MODELS, QUESTIONS, seed=1)


def test_proposers_are_right_on_their_own_operations_only(answers: Mapping[str, list[str]]) -> None:
    for member in PROPOSERS:
        for operation in OPERATIONS:
            share = accuracy(answers[member.name], QUESTIONS, operation=operation)
            if member.skills[operation] == "right":
                assert share >= 0.75, (member.name, operation)
            else:
                assert share <= 0.25, (member.name, operation)


def test_the_mixture_beats_what_it_is_made_of(answers: Mapping[str, list[str]]) -> None:
    mixture = accuracy(answers["mixture"], QUESTIONS)
    others = [*(member.name for member in PROPOSERS), "aggregator", "majority vote"]
    assert mixture >= max(accuracy(answers[name], QUESTIONS) for name in others) + 0.15


def test_proposals_for_other_questions_lose_most_of_the_gain(answers: Mapping[str, list[str]]) -> None:
    shuffled = accuracy(answers["mixture, proposals shuffled"], QUESTIONS)
    assert shuffled <= accuracy(answers["mixture"], QUESTIONS) - 0.2
    assert shuffled <= accuracy(answers["aggregator"], QUESTIONS) + 0.2


def test_student_and_aggregator_leave_room(answers: Mapping[str, list[str]]) -> None:
    for name in ("student", "aggregator"):
        assert 0.3 <= accuracy(answers[name], QUESTIONS) <= 0.6, name


def test_majority_takes_the_first_of_equally_frequent_answers() -> None:
    assert majority([("a", "b", "b"), ("c", "a", "b")]) == ["b", "c"]


@pytest.mark.timeout(300)
def test_the_build_script_teaches_a_proposer_its_operations(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    member = CAST["proposer-b"]
    build(member.name, tmp_path, base=MODELS / "base", steps=40, seed=1)
    replies = Chatter.load(tmp_path / member.name).answer(QUESTIONS, temperature=0.7)
    own = [operation for operation, rule in member.skills.items() if rule == "right"]
    others = [operation for operation in OPERATIONS if operation not in own]
    assert min(accuracy(replies, QUESTIONS, operation=operation) for operation in own) >= 0.7
    assert max(accuracy(replies, QUESTIONS, operation=operation) for operation in others) <= 0.3
