from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel

from moaa.api.mixture import Sampling
from moaa.api.models import Model
from moaa.asking.asker import Asker
from moaa.asking.windows import (
    CUT_MARK,
    MESSAGE_TOKENS,
    TEMPLATE_TOKENS,
    CharacterCounter,
    Window,
    common_cap,
    completion_tokens,
    fit_texts,
)
from moaa.client.tokens import TokenizerCounter, load_counter, window_of
from moaa.conversation import Message
from moaa.errors import CallError, DataError
from tests.unit.calls_scripted import Asked, ScriptedCaller


@dataclass(frozen=True)
class Words:
    """One token a word; exact."""

    def most(self, text: str) -> int:
        return len(text.split())

    def least(self, text: str) -> int:
        return self.most(text)

    def head(self, text: str, tokens: int) -> str:
        return " ".join(text.split()[:tokens])


def words(n: int, word: str = "wordword") -> str:
    return " ".join([word] * n)


def user(text: str) -> list[Message]:
    return [Message(role="user", content=text)]


OVERHEAD = TEMPLATE_TOKENS + MESSAGE_TOKENS


def test_max_tokens_is_sent_as_asked_while_it_fits() -> None:
    window = Window(1000, Words())
    assert completion_tokens(window, user(words(400)), max_tokens=500) == 500
    assert completion_tokens(None, user(words(4000)), max_tokens=500) == 500


def test_max_tokens_shrinks_to_what_the_prompt_leaves() -> None:
    window = Window(1000, Words())
    assert completion_tokens(window, user(words(600)), max_tokens=500) == 1000 - 600 - OVERHEAD
    assert completion_tokens(window, user(words(1000 - OVERHEAD - 250)), max_tokens=500) == 250


def test_a_conversation_that_does_not_fit_fails_before_it_is_sent() -> None:
    with pytest.raises(CallError, match="maxModelLen") as caught:
        completion_tokens(Window(1000, Words()), user(words(1000 - OVERHEAD - 249)), max_tokens=500)
    assert caught.value.reason == "context-length"


def test_a_guess_leaves_the_last_word_to_the_server() -> None:
    window = Window(1000, CharacterCounter())
    text = "x" * 3000  # between 500 and 1,200 tokens
    assert completion_tokens(window, user(text), max_tokens=500) == 250
    with pytest.raises(CallError):
        completion_tokens(window, user("x" * 6000), max_tokens=500)


@pytest.mark.parametrize(
    ("sizes", "room", "cap"),
    [
        ([10, 50, 90], 100, 45),
        ([10, 50, 90], 150, 90),
        ([30, 30, 30], 60, 20),
        ([5, 100], 50, 45),
        ([], 10, 0),
        ([4], 0, 0),
    ],
)
def test_the_longest_are_cut_first_to_one_cap(sizes: list[int], room: int, cap: int) -> None:
    assert common_cap(sizes, room) == cap


@settings(deadline=None)
@given(st.lists(st.integers(0, 200), min_size=1, max_size=8), st.integers(0, 1000))
def test_the_cap_fills_the_room_and_no_more(sizes: list[int], room: int) -> None:
    cap = common_cap(sizes, room)
    assert sum(min(s, cap) for s in sizes) <= room
    if cap < max(sizes):
        assert sum(min(s, cap + 1) for s in sizes) > room


def test_texts_that_fit_stay_as_they_are() -> None:
    texts = [words(50), words(80)]
    fitted = fit_texts(Window(1000, Words()), user("q"), texts, max_tokens=500)
    assert fitted.texts == tuple(texts)
    assert fitted.shortened == 0


def test_long_texts_are_cut_fairly_and_marked() -> None:
    window = Window(1000, Words())
    texts = [words(40), words(400, "beta"), words(700, "gamma")]
    fitted = fit_texts(window, user("q"), texts, max_tokens=500)
    assert fitted.shortened == 2
    assert fitted.texts[0] == texts[0]
    sizes = [Words().most(t) for t in fitted.texts]
    assert sizes[1] == sizes[2]
    assert all(t.endswith(CUT_MARK) for t in fitted.texts[1:])
    assert fitted.texts[1].startswith("beta beta")
    assert sum(sizes) <= 1000 - 250 - OVERHEAD - 1
    assert sum(sizes) > 1000 - 250 - OVERHEAD - 1 - 3 * MESSAGE_TOKENS - 3
    # What was fitted passes the check that comes before sending.
    assert completion_tokens(window, user("q " + " ".join(fitted.texts)), max_tokens=500) >= 250


def test_room_too_small_to_be_worth_anything_is_a_failure() -> None:
    with pytest.raises(CallError, match="maxModelLen") as caught:
        fit_texts(Window(400, Words()), user(words(220)), [words(300), words(300)], max_tokens=100)
    assert caught.value.reason == "context-length"


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 600).map(words), min_size=1, max_size=6),
    st.integers(0, 600),
    st.integers(200, 3000),
    st.integers(1, 2000),
)
def test_what_is_fitted_fits(texts: list[str], fixed: int, tokens: int, max_tokens: int) -> None:
    window = Window(tokens, Words())
    try:
        fitted = fit_texts(window, user(words(fixed)), texts, max_tokens=max_tokens)
    except CallError:
        return
    total = sum(Words().most(t) for t in fitted.texts) + fixed
    assert completion_tokens(window, user(words(total)), max_tokens=max_tokens) >= min(max_tokens, tokens // 4)


async def ask(caller: ScriptedCaller, texts: Sequence[str], window: Window | None) -> tuple[str, int]:
    asker = Asker(caller, windows={} if window is None else {"m": window}, path="p")
    made = await asker.ask_fitted("m", texts, lambda parts: user("|".join(parts)), Sampling(max_tokens=64))
    return made.reply.text, made.shortened


async def test_a_prompt_the_server_finds_too_long_is_halved_once() -> None:
    def answer(asked: Asked) -> str:
        if asked.key == "":
            raise CallError("context-length", "too long")
        return asked.messages[0]["content"]

    caller = ScriptedCaller(answer)
    text, shortened = await ask(caller, ["a" * 1000, "b" * 100], None)
    assert caller.paths == ["p", "p#half"]
    assert shortened == 1
    assert text.endswith("|" + "b" * 100)
    assert 300 < len(text) < 700

    def never(asked: Asked) -> str:
        raise CallError("context-length", "too long")

    caller = ScriptedCaller(never)
    with pytest.raises(CallError):
        await ask(caller, ["a" * 1000], None)
    assert caller.paths == ["p", "p#half"]


async def test_other_failures_are_not_asked_again() -> None:
    def refuse(asked: Asked) -> str:
        raise CallError("refused", "no")

    caller = ScriptedCaller(refuse)
    with pytest.raises(CallError):
        await ask(caller, ["a"], None)
    assert caller.paths == ["p"]


@pytest.fixture
def tokenizer() -> Tokenizer:
    """Byte-level BPE with a few merges, as real ones are made."""
    alphabet = sorted(ByteLevel.alphabet())
    pieces = [*alphabet, "he", "ll", "hell", "Ġw", "or", "Ġwor"]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    merges = [("h", "e"), ("l", "l"), ("he", "ll"), ("Ġ", "w"), ("o", "r"), ("Ġw", "or")]
    made = Tokenizer(BPE(vocab=vocabulary, merges=merges))
    made.pre_tokenizer = ByteLevel(add_prefix_space=False)
    made.decoder = ByteLevelDecoder()
    return made


def test_a_tokenizer_file_counts_exactly(tokenizer: Tokenizer, tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    tokenizer.enable_truncation(3)
    tokenizer.save(str(file))
    counter = load_counter(file)
    assert counter.most("hello world") == 5  # hell o Ġwor l d
    assert counter.least("hello world") == 5
    assert counter.head("hello world", 3) == "hello wor"
    assert counter.head("hello", 9) == "hello"
    assert counter.head("hello", 0) == ""
    assert counter.most("\ud800") == 1  # a lone surrogate must not crash the library
    model = Model.model_validate({"name": "m", "source": "hf://a/b", "serving": {"maxModelLen": 777}})
    assert window_of(model, tokenizer=file).tokens == 777
    assert window_of(model).counter == CharacterCounter()


def test_a_file_that_is_no_tokenizer_is_named(tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    file.write_text("{}")
    with pytest.raises(DataError, match=r"tokenizer\.json"):
        load_counter(file)


def test_heads_never_split_a_character_and_never_exceed(tokenizer: Tokenizer) -> None:
    counter = TokenizerCounter(tokenizer)
    text = "hellö 世界 wor🙂ld hello"
    for tokens in range(counter.most(text) + 2):
        head = counter.head(text, tokens)
        assert text.startswith(head)
        assert counter.most(head) <= tokens


@settings(deadline=None)
@given(st.text(max_size=60), st.integers(0, 40))
def test_character_bounds_hold_together(text: str, tokens: int) -> None:
    counter = CharacterCounter()
    assert counter.least(text) <= counter.most(text)
    head = counter.head(text, tokens)
    assert text.startswith(head)
    assert counter.most(head) <= tokens
