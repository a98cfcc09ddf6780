"""Families of models are read from their addresses, and from `model_type` where an address says nothing."""

import pytest

from moaa.api.reading.families import families, kin
from moaa.api.reading.node import Node
from tests.plan_helpers import tree


@pytest.mark.parametrize(
    ("address", "model_type", "found"),
    [
        ("hf://Qwen/Qwen2-72B-Instruct", None, {"qwen"}),
        ("file:///models/qwen2.5-7b/", None, {"qwen"}),
        ("gpt-4o", None, {"gpt"}),
        ("hf://meta-llama/Llama-3.1-8B-Instruct", "llama", {"llama"}),
        ("hf://HuggingFaceTB/SmolLM2-135M-Instruct", "llama", {"smollm"}),
        ("hf://alpindale/WizardLM-2-8x22B", "mixtral", {"mistral"}),
        ("hf://deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", "qwen2", {"deepseek", "qwen"}),
        ("hf://org/ours-7b", "qwen2", {"qwen"}),
        ("hf://org/ours-7b", "mamba", {"mamba"}),
        ("hf://org/ours-7b-instruct", "llama", {"ours"}),
        ("hf://org/ours-v2-70b", None, {"ours"}),
        ("file:///models/8b", None, {"8b"}),
        ("hf://org/dolphin-9b", None, {"dolphin"}),
    ],
)
def test_a_family_is_read(address: str, model_type: str | None, found: set[str]) -> None:
    assert families(address, model_type) == found


def said(types: dict[str, str] | None = None, **changes: object) -> list[str]:
    return [found.sentence for found in kin(Node(tree(**changes)).at("spec"), types)]


def test_what_weights_are_like_shows_when_they_are_resolved() -> None:
    assert said() == []
    assert said({"eva": "qwen2", "a": "qwen2"}) == [
        "judge 'eva' is of the family (qwen) of proposer 'a'; models favour answers of their own kind"
    ]
    assert said({"eva": "llama", "a": "llama", "base": "llama"}) == [], "that architecture is everybody's"


def test_the_student_is_nearer_than_its_teachers() -> None:
    qwen = {"eva": "qwen2", "a": "qwen2", "base": "qwen2"}
    assert said(qwen) == ["judge 'eva' is of the family (qwen) of the student; models favour answers of their own kind"]


def test_training_judges_may_be_of_any_family_and_no_twin() -> None:
    assert said({"agg": "qwen2", "base": "qwen2"}) == [], "it compares the student's answers with one another"
    assert said(spec__models__0__source="hf://org/student-8b") == [
        "judge 'a' has the weights of the student; models favour answers of their own kind"
    ]
