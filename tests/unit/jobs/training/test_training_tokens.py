"""Tokens and loss masks on the families of chat templates there are, and what is refused."""

from datetime import UTC, datetime
from typing import Any

import pytest

from moaa.errors import DataError
from moaa_jobs.training.rows.chat import Chat, learn
from moaa_jobs.training.rows.tokens import (
    EMPTY_ANSWER,
    NO_ANSWER,
    STOP_IN_ANSWER,
    TEMPLATE_REFUSES,
    TOO_LONG,
    Encoded,
    EncodedPair,
    Failed,
    encode_conversation,
    encode_pair,
)
from tests.training_world import build_tokenizer

GENERATION = "{% if add_generation_prompt %}<|assistant|>{% endif %}"
TEMPLATES = {
    # Each ends a turn with <|end|>, as <|im_end|>, <|eot_id|> or </s> do.
    "break-after-turn": "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>\n{% endfor %}" + GENERATION,
    "nothing-after-turn": "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}" + GENERATION,
    "bos-and-header": (
        "<unk>{% for m in messages %}<|{{ m.role }}|>\n\n{{ m.content | trim }}<|end|>{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>\n\n{% endif %}"
    ),
    "prompt-needs-no-marker": (
        "{% for m in messages %}{% if m.role == 'assistant' %} {{ m.content }}<|end|>"
        "{% else %}<|user|>{{ m.content }}<|user|>{% endif %}{% endfor %}"
        "{% if add_generation_prompt %} {% endif %}"
    ),
    "date-added": (  # as Llama 3.2's
        "{%- if not date_string is defined %}{%- if strftime_now is defined %}"
        "{%- set date_string = strftime_now('%d %b %Y') %}{%- else %}{%- set date_string = '26 Jul 2024' %}"
        "{%- endif %}{%- endif %}<|system|>today {{ date_string | lower }}<|end|>\n"
        "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>\n{% endfor %}" + GENERATION
    ),
    "system-prompt-added": (
        "{% if messages[0].role != 'system' %}<|system|>be kind<|end|>\n{% endif %}"
        "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>\n{% endfor %}" + GENERATION
    ),
}
GEMMA = (  # Gemma 2's, but for the names of roles and marks
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "<|{{ m['role'] }}|>{{ m['content'] | trim }}<|end|>\n{% endfor %}" + GENERATION
)
TURNS = [("user", "hi"), ("assistant", "abc"), ("user", "more?"), ("assistant", "de f")]


def conversation(*turns: tuple[str, str], id: str = "r1") -> Any:
    return {
        "id": id,
        "messages": [{"role": r, "content": c} for r, c in turns],
        "proposals": [],
        "missing": 0,
        "absent": [],
        "shortened": 0,
        "wrote": [],
    }


def pair(*turns: tuple[str, str]) -> Any:
    return {
        "id": "p1",
        "messages": [{"role": r, "content": c} for r, c in turns],
        "chosen": "yes",
        "rejected": "no",
        "chosen_points": 1.0,
        "rejected_points": 0.0,
    }


def chat(tokenizer: Any) -> Chat:
    return learn(tokenizer, args={}, stops=frozenset({tokenizer.eos_token_id}), thinking=None, name="student")


def encode(tokenizer: Any, row: Any, max_length: int = 200) -> Encoded | Failed:
    """The one sequence of a row."""
    found = encode_conversation(chat(tokenizer), row, max_length=max_length)
    if isinstance(found, Failed):
        return found
    (one,) = found
    return one


def encode_one_pair(tokenizer: Any, row: Any, max_length: int = 50) -> EncodedPair | Failed:
    found = encode_pair(chat(tokenizer), row, max_length=max_length)
    return found if isinstance(found, Failed) else found[0]


def texts(tokenizer: Any, encoded: Encoded) -> list[str]:
    return [tokenizer.decode(encoded.ids[start:end]) for start, end in encoded.spans]


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES.keys())
def test_every_assistant_turn_is_trained_with_its_end_and_nothing_else(template: str) -> None:
    tokenizer = build_tokenizer(template)
    encoded = encode(tokenizer, conversation(*TURNS))
    assert isinstance(encoded, Encoded)
    assert texts(tokenizer, encoded) == ["abc<|end|>", "de f<|end|>"]
    assert encoded.spans[-1][1] == len(encoded.ids)


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES.keys())
def test_the_context_of_an_answer_is_what_is_served(template: str) -> None:
    tokenizer = build_tokenizer(template)
    row = conversation(*TURNS)
    encoded = encode(tokenizer, row)
    assert isinstance(encoded, Encoded)
    for k, (start, _) in zip((1, 3), encoded.spans, strict=True):
        served = tokenizer.apply_chat_template(
            row["messages"][:k], add_generation_prompt=True, return_dict=False, date_string="26 jul 2024"
        )
        assert encoded.ids[:start] == served


def test_a_system_turn_is_folded_where_the_template_has_none() -> None:
    tokenizer = build_tokenizer(GEMMA)
    encoded = encode(tokenizer, conversation(("system", "be kind"), *TURNS))
    assert isinstance(encoded, Encoded)
    assert encoded == encode(tokenizer, conversation(("user", "be kind\n\nhi"), *TURNS[1:]))
    assert texts(tokenizer, encoded) == ["abc<|end|>", "de f<|end|>"]


def test_a_system_turn_stays_where_the_template_has_one() -> None:
    tokenizer = build_tokenizer()
    encoded = encode(tokenizer, conversation(("system", "be kind"), *TURNS[:2]))
    assert isinstance(encoded, Encoded)
    assert tokenizer.decode(encoded.ids).startswith("<|system|>be kind<|end|>")


def test_the_prompt_of_a_pair_is_folded_alike() -> None:
    tokenizer = build_tokenizer(GEMMA)
    encoded = encode_one_pair(tokenizer, pair(("system", "be kind"), ("user", "hi")))
    assert isinstance(encoded, EncodedPair)
    assert tokenizer.decode(encoded.prompt) == "<|user|>be kind\n\nhi<|end|>\n<|assistant|>"
    assert tokenizer.decode(encoded.chosen) == "yes<|end|>"


@pytest.mark.parametrize(
    ("turns", "roles"),
    [
        ([("user", "a"), ("user", "b"), ("assistant", "c")], "user, user"),
        (
            [("system", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")],
            "system",
        ),
    ],
    ids=["two-users", "answer-first"],
)
def test_a_conversation_the_template_refuses_is_named(turns: list[tuple[str, str]], roles: str) -> None:
    found = encode(build_tokenizer(GEMMA), conversation(*turns, id="r7"))
    assert isinstance(found, Failed)
    assert (found.id, found.reason) == ("r7", TEMPLATE_REFUSES)
    assert f"turns {roles}" in found.details
    assert "alternate" in found.details


def test_the_day_changes_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.utils import chat_template_utils

    class Clock:
        day = 23

        def now(self) -> datetime:
            return datetime(2026, 11, self.day, tzinfo=UTC)

    clock = Clock()
    monkeypatch.setattr(chat_template_utils, "datetime", clock)
    tokenizer = build_tokenizer(TEMPLATES["date-added"])
    before = encode(tokenizer, conversation(*TURNS))
    clock.day += 1
    assert encode(tokenizer, conversation(*TURNS)) == before
    assert isinstance(before, Encoded)
    assert tokenizer.decode(before.ids).startswith("<|system|>today 26 jul 2024<|end|>")


def test_a_pair_shares_its_prompt_and_ends_both_answers() -> None:
    tokenizer = build_tokenizer()
    row = pair(("user", "hi"))
    encoded = encode_one_pair(tokenizer, row)
    assert isinstance(encoded, EncodedPair)
    assert tokenizer.decode(encoded.prompt) == "<|user|>hi<|end|>\n<|assistant|>"
    assert (tokenizer.decode(encoded.chosen), tokenizer.decode(encoded.rejected)) == ("yes<|end|>", "no<|end|>")
    longest = len(encoded.prompt) + len(encoded.chosen)
    assert isinstance(encode_one_pair(tokenizer, row, longest), EncodedPair)
    failed = encode_one_pair(tokenizer, row, longest - 1)
    assert failed == Failed("p1", TOO_LONG, f"{longest} tokens, and maxLength is {longest - 1}")


def test_a_longer_row_is_a_failure_and_never_cut() -> None:
    tokenizer = build_tokenizer()
    row = conversation(*TURNS)
    whole = encode(tokenizer, row)
    assert isinstance(whole, Encoded)
    assert encode(tokenizer, row, max_length=len(whole.ids)) == whole
    length = len(whole.ids)
    failed = encode(tokenizer, row, max_length=length - 1)
    assert failed == Failed("r1", TOO_LONG, f"{length} tokens, and maxLength is {length - 1}")


LONG = "a" * 150 + "b" * 150


def cut(row: Any, max_length: int) -> list[Encoded] | Failed:
    return encode_conversation(chat(build_tokenizer()), row, max_length=max_length, cuts=True)


def test_cutting_leaves_rows_that_fit_as_they_are() -> None:
    row = conversation(*TURNS)
    whole = encode(build_tokenizer(), row)
    assert isinstance(whole, Encoded)
    assert cut(row, len(whole.ids)) == [whole]
    assert not whole.is_cut


def test_the_middle_of_a_long_question_goes_and_the_answer_stays() -> None:
    tokenizer = build_tokenizer()
    row = conversation(("system", "be kind"), ("user", LONG), ("assistant", "yes"))
    found = cut(row, 120)
    assert isinstance(found, list)
    (one,) = found
    assert (len(one.ids), one.is_cut) == (120, True), "as little goes as will do"
    (start, end) = one.spans[0]
    assert (tokenizer.decode(one.ids[start:end]), end) == ("yes<|end|>", 120)
    said = tokenizer.decode(one.ids[:start])
    assert said.startswith("<|system|>be kind<|end|>\n<|user|>aaa")
    assert said.endswith("bbb<|end|>\n<|assistant|>")
    assert abs(said.count("a" * 3) - said.count("b" * 3)) <= 1
    assert "\n[" not in LONG
    assert "<unk>" in said, "the mark, which this tokenizer has no tokens for"


def test_the_oldest_turns_go_first_and_every_answer_is_trained_once() -> None:
    tokenizer = build_tokenizer()
    turns = [turn for i in range(6) for turn in (("user", f"question {i}"), ("assistant", f"answer {i}"))]
    row = conversation(("system", "be kind"), *turns)
    found = cut(row, 120)
    assert isinstance(found, list)
    assert [one.id for one in found] == ["r1", *(f"r1#{n}" for n in range(2, len(found) + 1))]
    assert [one.is_cut for one in found] == [False] + [True] * (len(found) - 1)
    assert all(len(one.ids) <= 120 for one in found)
    trained = [tokenizer.decode(one.ids[start:end]) for one in found for start, end in one.spans]
    assert trained == [f"answer {i}<|end|>" for i in range(6)]
    for one in found:
        text = tokenizer.decode(one.ids)
        assert text.startswith("<|system|>be kind<|end|>\n<|user|>question ")
    last = tokenizer.decode(found[-1].ids)
    assert "question 0" not in last
    assert "answer 4<|end|>\n<|user|>question 5" in last


def test_an_answer_that_leaves_no_room_is_a_failure_however_prompts_are_cut() -> None:
    found = cut(conversation(("user", LONG), ("assistant", "x" * 60)), 100)
    assert found == Failed("r1", TOO_LONG, "an answer of 61 tokens, which is never cut, and maxLength is 100")


def test_both_answers_of_a_pair_stand_behind_the_same_cut_prompt() -> None:
    tokenizer = build_tokenizer()
    row = pair(("user", "old"), ("assistant", "older"), ("user", LONG)) | {"chosen": "y" * 9, "rejected": "n" * 20}
    found = encode_pair(chat(tokenizer), row, max_length=120, cuts=True)
    assert isinstance(found, list)
    (one,) = found
    assert (len(one.prompt) + len(one.rejected), one.is_cut) == (120, True)
    assert "old" not in tokenizer.decode(one.prompt)
    assert (tokenizer.decode(one.chosen), tokenizer.decode(one.rejected)) == ("y" * 9 + "<|end|>", "n" * 20 + "<|end|>")


def test_an_answer_that_spells_the_end_of_a_turn_is_a_failure() -> None:
    row = conversation(("user", "hi"), ("assistant", "a<|end|>b"))
    assert encode(build_tokenizer(), row) == Failed("r1", STOP_IN_ANSWER, "it spells <|end|>")


def test_a_question_may_spell_the_end_of_a_turn() -> None:
    encoded = encode(build_tokenizer(), conversation(("user", "a<|end|>b"), ("assistant", "c")))
    assert isinstance(encoded, Encoded)


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ([("user", "hi"), ("assistant", "")], EMPTY_ANSWER),
        ([("user", "hi"), ("assistant", " \n")], EMPTY_ANSWER),
        ([("user", "hi")], NO_ANSWER),
    ],
)
def test_a_row_without_an_answer_is_a_failure(turns: list[tuple[str, str]], reason: str) -> None:
    found = encode(build_tokenizer(), conversation(*turns, id="r7"))
    assert isinstance(found, Failed)
    assert (found.id, found.reason) == ("r7", reason)


def test_a_template_that_ends_no_turn_is_an_error() -> None:
    template = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}\n{% endfor %}" + GENERATION
    with pytest.raises(DataError, match=r"student: .*'<\|user\|>', which is not among the tokens.*eos_token_id"):
        encode(build_tokenizer(template), conversation(*TURNS))
