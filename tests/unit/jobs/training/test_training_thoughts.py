"""What training takes for a thought is what a model's answer loses on its way: both read `moaa.thoughts`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moaa.thoughts import PAIRS, holds_thought, split_thought
from moaa_jobs.training.rows.thoughts import (
    closing_of,
    continued,
    ends_closed,
    is_empty_thought,
    unclosed,
    without_thought,
)


@pytest.mark.parametrize(("opening", "closing"), PAIRS, ids=[opening for opening, _ in PAIRS])
def test_every_pair_of_tags_is_known_to_training_and_to_the_client(opening: str, closing: str) -> None:
    answer = f"{opening}\nso\n{closing}\n\nfour"
    assert split_thought(answer) == ("so", "four")
    assert holds_thought(answer)
    assert without_thought(answer) == "four"
    assert unclosed(f"assistant: {opening}\n") == f"{opening}\n"
    assert closing_of(f"{opening}\n") == closing
    assert continued(answer, f"{opening}\n") == f"so\n{closing}\n\nfour"
    assert ends_closed(f"assistant: {opening}\n\n{closing}\n\n")
    assert is_empty_thought(f"{opening}\n\n{closing}\n")


@pytest.mark.parametrize(
    "answer",
    [
        'It ends with "</think>", always.',
        "Write it so:\n```xml\n<think>\nhm\n</think>\n```\nThen answer.",
        "The <think> tag opens and the </think> tag closes.",
        "four ",
    ],
)
def test_an_answer_about_thoughts_is_trained_as_it_is(answer: str) -> None:
    assert not holds_thought(answer)
    assert without_thought(answer) == answer
    assert continued(answer, "<think>\n") is None


@pytest.mark.parametrize(
    ("answer", "rest"),
    [
        ("<think>\ntwo\n</think>\n\nfour", "two\n</think>\n\nfour"),
        ("<think>two</think>four", "two</think>four"),
        ("two\n</think>\n\nfour", "two\n</think>\n\nfour"),
        ("<think>two", None),
        ("four", None),
        ("[THINK]two[/THINK]four", None),
        ("two[/THINK]four", None),
        ("four\n<think>sure?</think>yes", None),
    ],
)
def test_only_a_thought_that_ends_as_the_prompt_s_goes_on_with_it(answer: str, rest: str | None) -> None:
    assert continued(answer, "<think>\n") == rest


@pytest.mark.parametrize("answer", ["four\n<think>sure?</think>\nyes", "<think>two", "two</think>four"])
def test_a_thought_counts_wherever_it_stands(answer: str) -> None:
    assert holds_thought(answer)


PIECES = st.sampled_from(["<think>", "</think>", "\n", "four", " ", "`", "```\n", "◁think▷", "[/THINK]", "hm"])


@given(st.lists(PIECES, max_size=12).map("".join))
def test_what_is_left_is_what_the_client_would_have_passed_on(text: str) -> None:
    assert without_thought(text).strip() == split_thought(text).answer
    assert holds_thought(text) or split_thought(text).thought == ""
