"""Every family of chat templates × every kind of conversation: trained exactly as served, or refused with a reason."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jinja2 import TemplateError

from moaa.api.training import Thinking
from moaa.conversation import fold_system
from moaa.errors import DataError
from moaa_jobs.training.rows import tokens
from moaa_jobs.training.rows.chat import Chat, learn
from moaa_jobs.training.rows.template import TODAY
from moaa_jobs.training.rows.thoughts import without_thought
from moaa_jobs.training.rows.tokens import Encoded, EncodedPair, Failed, encode_conversation, encode_pair
from tests.chat_families import CONVERSATIONS, FAMILIES, THINK, WORKED, Family, Turns

GOLDEN = json.loads(Path(__file__).with_name("golden_tokens.json").read_text())
"""Digest of ids and spans by family and conversation, as they were trained before thinking was a choice."""
TRAINED = {name: family for name, family in FAMILIES.items() if family.refused is None}
REFUSED = {name: family for name, family in FAMILIES.items() if family.refused is not None}
REASONS = {
    "control-in-answer": tokens.CONTROL_IN_ANSWER,
    "end-in-answer": tokens.STOP_IN_ANSWER,
    "answer-first": tokens.NO_QUESTION,
    "empty-answer": tokens.EMPTY_ANSWER,
    "blank-answer": tokens.EMPTY_ANSWER,
    "no-answer": tokens.NO_ANSWER,
    "two-users": tokens.TEMPLATE_REFUSES,
}
"""Why a conversation may fail whatever the family."""
THOUGHTS = ("thought", "thought-several", "empty-thought", "lone-close")
PLAIN = (
    "single",
    "several",
    "system",
    "system-several",
    "code",
    "unicode",
    "long",
    "leading-breaks",
    "trailing-spaces",
)
"""Conversations that every family trains, if it does not have to think."""


def chat_of(family: Family, *, spaces: bool = False) -> Chat:
    tokenizer = family.tokenizer(spaces=spaces)
    thinking = Thinking(family.thinking) if family.thinking else None
    return learn(
        tokenizer, args=family.args, stops=family.stop_ids(tokenizer), thinking=thinking, name="spec.models student"
    )


CHATS = {name: chat_of(family) for name, family in TRAINED.items()}


def row(turns: Turns, **more: object) -> Any:
    return {"id": "r1", "messages": turns, **more}


def served(chat: Chat, turns: Turns) -> list[int]:
    """As vLLM 0.32 asks transformers for it, and the client folds what the template refuses."""

    def ask(messages: Any) -> list[int]:
        return list(
            chat.template.tokenizer.apply_chat_template(
                messages,
                add_generation_prompt=True,
                return_dict=False,
                strftime_now=TODAY.strftime,
                **chat.template.args,
            )
        )

    asked = [
        {**turn, "content": without_thought(turn["content"])} if turn["role"] == "assistant" else turn for turn in turns
    ]
    try:
        return ask(asked)
    except TemplateError:
        return ask(fold_system(asked))  # type: ignore[arg-type]


def expected_reasons(family: str, name: str) -> set[str]:
    reasons = {REASONS[name]} if name in REASONS else set()
    if TRAINED[family].thinking != "AsGiven" and name in THOUGHTS:
        reasons.add(tokens.THOUGHT_IN_ANSWER)
    if CHATS[family].opened and name not in THOUGHTS:
        reasons.add(tokens.NO_THOUGHT)
    return reasons


def test_there_are_enough_of_them() -> None:
    assert len(FAMILIES) >= 25
    assert len(CONVERSATIONS) >= 12


@pytest.mark.parametrize("family", TRAINED)
def test_trained_as_served_or_one_failed_row(family: str) -> None:
    for name, turns in CONVERSATIONS.items():
        found = encode_conversation(CHATS[family], row(turns), max_length=4000)
        if isinstance(found, Failed):
            assert found.reason in expected_reasons(family, name), (name, found)
        else:
            check_served(CHATS[family], turns, found, name)


def check_served(
    chat: Chat, turns: Turns, found: list[Encoded], name: str, *, plain: Callable[[str], object] = str.strip
) -> None:
    """`plain` is what of a text has to be the same."""
    answers = [k for k, turn in enumerate(turns) if turn["role"] == "assistant"]
    trained = [(sequence, span) for sequence in found for span in sequence.spans]
    for k, (sequence, (start, end)) in zip(answers, trained, strict=True):
        assert sequence.ids[:start] == served(chat, turns[:k]), name
        assert sequence.ids[end - 1] == chat.ending.id, name
        assert not (chat.stops | chat.control) & set(sequence.ids[start : end - 1]), name
        said, written = chat.template.decode(sequence.ids[start : end - 1]), turns[k]["content"]
        assert plain(said) in (plain(written), plain(written.removeprefix(chat.opened))), name
    assert all(sequence.spans[-1][1] == len(sequence.ids) for sequence in found), name


@pytest.mark.parametrize("family", TRAINED)
def test_tokenizers_that_begin_texts_with_a_space_train_the_same_texts(family: str) -> None:
    chat = chat_of(TRAINED[family], spaces=True)
    for name, turns in CONVERSATIONS.items():
        found = encode_conversation(chat, row(turns), max_length=4000)
        if isinstance(found, Failed):
            assert found.reason in {*expected_reasons(family, name), tokens.INSEPARABLE}, (name, found)
        else:  # a space stands behind every added token there
            check_served(chat, turns, found, name, plain=str.split)
    single = encode_conversation(chat, row(CONVERSATIONS["single"]), max_length=4000)
    in_space = "prompt-differs", "prompt-ends-in-space"
    assert isinstance(single, list) or CHATS[family].opened or family in in_space


@pytest.mark.parametrize("family", [name for name in TRAINED if not CHATS[name].opened])
def test_what_is_plain_is_trained(family: str) -> None:
    for name in PLAIN:
        assert not isinstance(encode_conversation(CHATS[family], row(CONVERSATIONS[name]), max_length=4000), Failed), (
            name
        )


@pytest.mark.parametrize("family", REFUSED)
def test_a_template_that_cannot_be_trained_as_served_is_refused(family: str) -> None:
    with pytest.raises(DataError, match=rf"(?s)^spec\.models student: .*{REFUSED[family].refused}"):
        chat_of(REFUSED[family])


@pytest.mark.parametrize("family", WORKED)
def test_what_worked_is_trained_token_for_token_alike(family: str) -> None:
    """A difference here trains other tokens from the same rows."""
    compared = 0
    for name, turns in CONVERSATIONS.items():
        found = encode_conversation(CHATS[family], row(turns), max_length=4000)
        if f"{family}/{name}" not in GOLDEN:
            continue
        if isinstance(found, Failed):
            assert found.reason in expected_reasons(family, name)
            continue
        (one,) = found
        assert hashlib.sha256(repr((one.ids, one.spans)).encode()).hexdigest()[:12] == GOLDEN[f"{family}/{name}"], name
        compared += 1
    assert compared >= 10


@pytest.mark.parametrize("family", [name for name in TRAINED if not CHATS[name].opened])
def test_no_thought_is_trained_that_was_not_there(family: str) -> None:
    found = encode_conversation(CHATS[family], row(CONVERSATIONS["several"]), max_length=4000)
    assert not isinstance(found, Failed)
    for sequence in found:
        for start, end in sequence.spans:
            assert not any(mark in CHATS[family].template.decode(sequence.ids[start:end]) for mark in THINK)


@pytest.mark.parametrize("family", ["chatml", "role-lines", "seed", "both-ends", "hybrid-answers", "next-role"])
def test_an_answer_that_begins_with_a_line_break_keeps_it(family: str) -> None:
    """Its first token is one the model can write after the prompt: tokenised together, the two would be one token."""
    chat = CHATS[family]
    found = encode_conversation(chat, row(CONVERSATIONS["leading-breaks"]), max_length=4000)
    assert isinstance(found, list)
    (start, end) = found[0].spans[0]
    assert chat.template.decode(found[0].ids[start : end - 1]) == "\n\nsat on the mat"
    pair = row(CONVERSATIONS["leading-breaks"][:1], chosen="\n\nsat", rejected="ran")
    encoded = encode_pair(chat, pair, max_length=4000)
    assert isinstance(encoded, list)
    assert chat.template.decode(encoded[0].chosen[:-1]) == "\n\nsat"


def test_a_thought_is_trained_as_it_is_given() -> None:
    chat = CHATS["hybrid-thoughts"]
    first, second = encode_conversation(chat, row(CONVERSATIONS["thought-several"]), max_length=4000)  # type: ignore[misc]
    assert isinstance(first, Encoded)
    assert isinstance(second, Encoded)
    assert (first.id, second.id) == ("r1", "r1#2")
    text = chat.template.decode(second.ids)
    assert "two and two" not in text, "of earlier turns only answers are served"
    assert text.endswith("<think>\nthree and three\n</think>\n\nsix<|im_end|>")


def test_a_thought_that_the_prompt_opens_is_continued() -> None:
    chat = CHATS["opens-thoughts"]
    (one,) = encode_conversation(chat, row(CONVERSATIONS["thought"]), max_length=4000)  # type: ignore[misc]
    assert isinstance(one, Encoded)
    assert chat.template.decode(one.ids).endswith("<|Assistant|><think>\ntwo and two\n</think>\n\nfour<eos>")


def test_thoughts_behind_a_thought_that_is_over_are_refused() -> None:
    tokenizer = FAMILIES["hybrid-off"].tokenizer()
    with pytest.raises(DataError, match="thought already"):
        learn(
            tokenizer,
            args={"enable_thinking": False},
            stops=frozenset({tokenizer.eos_token_id}),
            thinking=Thinking.AS_GIVEN,
            name="m",
        )


def test_an_argument_that_the_template_does_not_read_is_named() -> None:
    tokenizer = FAMILIES["hybrid-off"].tokenizer()
    with pytest.raises(
        DataError, match=r"chatTemplateArgs\.enable_thinkin: .* it reads add_generation_prompt, enable_thinking"
    ):
        learn(
            tokenizer,
            args={"enable_thinkin": False},
            stops=frozenset({tokenizer.eos_token_id}),
            thinking=None,
            name="m",
        )


@pytest.mark.parametrize("side", ["chosen", "rejected"])
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("<|im_start|>user", tokens.CONTROL_IN_ANSWER),
        ("so<|im_end|>", tokens.STOP_IN_ANSWER),
        ("<think>\nso\n</think>\nyes", tokens.THOUGHT_IN_ANSWER),
        (
            "<|channel|>analysis<|message|>so<|end|><|start|>assistant<|channel|>final<|message|>yes",
            tokens.THOUGHT_IN_ANSWER,
        ),
        ("", tokens.EMPTY_ANSWER),
    ],
)
def test_a_pair_fails_for_either_answer(side: str, answer: str, reason: str) -> None:
    answers = {"chosen": "yes", "rejected": "no", side: answer}
    found = encode_pair(CHATS["chatml"], row(CONVERSATIONS["single"][:1], **answers), max_length=100)
    assert isinstance(found, Failed)
    assert found.reason == reason


def test_the_prompt_of_a_pair_is_as_served() -> None:
    for family, chat in CHATS.items():
        for name in ("single", "system", "several", "control-in-question"):
            turns = CONVERSATIONS[name][:-1]
            answer = "<think>\nso\n</think>\nyes" if chat.opened else "yes"
            found = encode_pair(chat, row(turns, chosen=answer, rejected=answer), max_length=4000)
            assert isinstance(found, list), (family, name, found)
            assert isinstance(found[0], EncodedPair)
            assert found[0].prompt == served(chat, turns), (family, name)
