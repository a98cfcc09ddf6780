import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moaa.thoughts import holds_thought, split_thought

FENCED = "Write it so:\n```xml\n<think>\nhm\n</think>\n```\nThen answer."
SPOKEN = "The <think> tag opens and the </think> tag closes."


@pytest.mark.parametrize(
    ("text", "thought", "answer"),
    [
        ("four", "", "four"),
        ("", "", ""),
        ("<think>2+2</think>four", "2+2", "four"),
        ("\n <think>\n2+2\n</think>\n\nfour\n", "2+2", "four"),
        ("<think></think>four", "", "four"),
        ("2+2</think>four", "2+2", "four"),
        ("2+2\n</think>\n\nfour", "2+2", "four"),
        ("</think>four", "", "four"),
        ("<think>2+2", "2+2", ""),
        ("<think>", "", ""),
        ("<think>2+2</think>", "2+2", ""),
        ("2+2</think>", "2+2", ""),
        ("<think>a</think> <think>b</think> four", "a\n\nb", "four"),
        ("<think>a</think>\nfour\n<think>sure?</think>\nyes", "a\n\nsure?", "four\n\nyes"),
        ("four\n<think>but what if", "but what if", "four"),
        ("<think>a</think>b</think>four", "a\n\nb", "four"),
        ("<think>a\n<think>\nb</think>four", "a\n\nb", "four"),
        ("<think>it says `</think>` there</think>four", "it says `</think>` there", "four"),
        ("<THINK>a</THINK>four", "a", "four"),
        ("<thinking>a</thinking>four", "a", "four"),
        ("<seed:think>a</seed:think>four", "a", "four"),
        ("[THINK]a[/THINK]four", "a", "four"),
        ("◁think▷a◁/think▷four", "a", "four"),
        ("<mm:think>a</mm:think>four", "a", "four"),
        ("<|START_THINKING|>a<|END_THINKING|>four", "a", "four"),
        ("<|channel>thought\na<channel|>four", "a", "four"),
        # An answer about the tags is an answer.
        (FENCED, "", FENCED),
        (SPOKEN, "", SPOKEN),
        ('It ends with "</think>", always.', "", 'It ends with "</think>", always.'),
        ("Use `<think>`.", "", "Use `<think>`."),
        ("a <think> b", "", "a <think> b"),
        ("I think </thin", "", "I think </thin"),
        # A code block in a thought that was cut is no answer.
        ("<think>try\n```py\nx = 1", "try\n```py\nx = 1", ""),
        ("try\n```py\nx = 1\n```\n</think>\nfour", "try\n```py\nx = 1\n```", "four"),
    ],
)
def test_thought_and_answer_are_told_apart(text: str, thought: str, answer: str) -> None:
    assert split_thought(text) == (thought, answer)


ANALYSIS = "<|channel|>analysis<|message|>2+2<|end|>"
FINAL = "<|start|>assistant<|channel|>final<|message|>four"
CHANNELS = {
    "whole": (ANALYSIS + FINAL + "<|return|>", "2+2", "four"),
    "no end": (ANALYSIS + FINAL, "2+2", "four"),
    "an answer alone": ("<|channel|>final<|message|>four<|end|>", "", "four"),
    "with the prompt's end": ("<|start|>assistant" + ANALYSIS + FINAL, "2+2", "four"),
    "a control token lost": ("analysis<|message|>2+2<|end|>" + FINAL, "2+2", "four"),
    "the prompt's word left": ("assistant" + ANALYSIS + FINAL, "2+2", "four"),
    "cut in its thought": ("<|channel|>analysis<|message|>2+", "2+", ""),
    "a form for the answer": (ANALYSIS + FINAL.replace("<|message|>", "<|constrain|>json<|message|>"), "2+2", "four"),
    "a call of a tool": (
        ANALYSIS + "<|start|>assistant<|channel|>commentary to=functions.add <|constrain|>json<|message|>{}<|call|>",
        "2+2\n\n{}",
        "",
    ),
    "said before a call": ("<|channel|>commentary<|message|>I add.<|end|>" + FINAL, "I add.", "four"),
    "two thoughts": (ANALYSIS + "<|start|>assistant" + ANALYSIS + FINAL, "2+2\n\n2+2", "four"),
    "without control tokens": ("analysis2+2.assistantfinalfour", "2+2.", "four"),
    "an answer about them": (
        FINAL + ": `<|channel|>analysis<|message|>` opens it",
        "",
        "four: `<|channel|>analysis<|message|>` opens it",
    ),
    "text about them": ("Write <|channel|>final<|message|>x.", "", "Write <|channel|>final<|message|>x."),
    "an answer on analysis": ("analysis of the final assistant", "", "analysis of the final assistant"),
}


@pytest.mark.parametrize(("text", "thought", "answer"), CHANNELS.values(), ids=CHANNELS.keys())
def test_channels_are_told_apart(text: str, thought: str, answer: str) -> None:
    assert split_thought(text) == (thought, answer)
    assert holds_thought(text) == (answer != text)


PIECES = st.sampled_from(["<think>", "</think>", "\n", "four", " ", "`", "```\n", "[THINK]", "[/THINK]", "<", "hm"])


@settings(deadline=None, max_examples=300)
@given(st.lists(PIECES, max_size=12).map("".join))
def test_nothing_is_lost_and_nothing_is_invented(text: str) -> None:
    thought, answer = split_thought(text)
    words = [w for w in ("four", "hm") for _ in range(text.count(w))]
    assert sorted(w for w in ("four", "hm") for _ in range((thought + "\n" + answer).count(w))) == sorted(words)
    assert answer == answer.strip()
    if "think" not in text.lower():
        assert (thought, answer) == ("", text.strip())


@settings(deadline=None, max_examples=300)
@given(st.text(alphabet="ab \n`", max_size=30), st.text(alphabet="ab \n", max_size=30))
def test_a_whole_block_is_always_a_thought(thought: str, answer: str) -> None:
    found = split_thought(f"<think>{thought}\n</think>\n{answer}")
    if "```" not in thought and not thought.rstrip("\n").endswith("`"):
        assert found == (thought.strip(), answer.strip())
