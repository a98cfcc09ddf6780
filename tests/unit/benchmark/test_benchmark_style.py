"""Signs of an answer: refusals and repetition."""

import pytest

from moaa.benchmark.style import OPENING_CHARACTERS, refuses, repetition


@pytest.mark.parametrize(
    "answer",
    [
        "I'm sorry, but I can't help with that.",
        "I’m sorry, I cannot assist with this request.",
        "I am so sorry, but I am unable to do this.",
        "As an AI language model, I do not have opinions.",
        "Unfortunately, I cannot provide instructions for this.",
        "I won't help create that.",
        "I must decline to answer.",
        "I'm unable to help here.",
        "We are not able to share this.",
    ],
)
def test_refusals(answer: str) -> None:
    assert refuses(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "Paris.",
        "I'm sorry to hear that you lost your keys. Start with the last place you sat.",
        "You cannot divide by zero.",
        "The plant cannot provide enough light for itself.",
        "I can help with that.",
        "She said: as an aid, it works.",
        "x" * OPENING_CHARACTERS + " I'm sorry, but I can't help with that.",
    ],
)
def test_answers(answer: str) -> None:
    assert not refuses(answer)


@pytest.mark.parametrize(
    ("answer", "share"),
    [
        ("", 0.0),
        ("one two three", 0.0),
        ("one two three four five six", 0.0),
        ("no no no no no no no no", 0.8),  # five runs, all the same
        ("a b c d a b c d", 0.2),  # abcd, bcda, cdab, dabc, abcd
    ],
)
def test_repetition_by_hand(answer: str, share: float) -> None:
    assert repetition(answer) == pytest.approx(share)
