"""Text that cannot be kept is found before it is written anywhere."""

import json

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moaa.store.stages.tables import TableRows, canonical_json, decode, encode
from moaa.text import printable, unfit

SCHEMA = pa.schema([pa.field("id", pa.string(), nullable=False)])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", None),
        ("plain, é, 漢, 😀, \ufffd, \u2028, \x1b, \x7f", None),
        ("a\x00", "U+0000 at character 2"),
        ("\ud83d", "U+D83D at character 1"),
        ("😀\ude00 and \ud83d", "U+DE00 at character 2"),
        (json.loads('"\\ud83d\\ude00"'), None),
        (json.loads('"\\ud83d \\ude00"'), "U+D83D at character 1"),
        (json.loads('"\\ude00\\ud83d"'), "U+DE00 at character 1"),
    ],
)
def test_the_first_character_that_cannot_be_kept(text: str, found: str | None) -> None:
    assert unfit(text) == found


ANY_TEXT = st.text(st.characters(codec=None) | st.sampled_from("\x00\ud800\udfff"))


@given(ANY_TEXT)
def test_fit_text_can_be_kept_as_json_and_parquet(text: str) -> None:
    if unfit(text):
        return
    assert json.loads(canonical_json(text).encode()) == text
    assert decode(encode(TableRows([{"id": text}], SCHEMA)).body, source="x") == [{"id": text}]


@given(ANY_TEXT)
def test_what_is_printed_can_be_written_and_fit_text_is_left_alone(text: str) -> None:
    shown = printable(text)
    shown.encode()
    assert unfit(shown) is None
    assert shown == text or unfit(text)


def test_a_lone_surrogate_really_ends_a_writer() -> None:
    with pytest.raises(UnicodeEncodeError):
        canonical_json("\ud83d").encode()
    with pytest.raises((ValueError, UnicodeEncodeError)):
        encode(TableRows([{"id": "\ud83d"}], SCHEMA))
