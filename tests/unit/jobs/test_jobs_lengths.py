"""Rows too long for those who read them are told before they are paid for."""

import logging
from typing import Any

import pytest

from moaa.api import MoAA
from moaa.asking.windows import CharacterCounter, Window
from moaa.cli.stored_plan import too_long
from moaa.errors import DataError
from moaa_jobs.stages.lengths import check_lengths, limits
from tests.plan_helpers import resource


def conversation(characters: int) -> Any:
    return [{"role": "user", "content": "x" * characters}]


TABLES = ("sft-0", "preference-0", "eval-held")


def check(owner: MoAA, long: int, *, characters: int, window: int = 8192, **tables: Any) -> dict[str, float]:
    """Of 1,000 rows of sft-0, `long` have so many characters."""
    rows: dict[str, Any] = {name: [conversation(8)] for name in TABLES}
    rows["sft-0"] = [conversation(characters)] * long + [conversation(8)] * (1000 - long)
    counter = CharacterCounter()
    windows = {model.name: Window(model.max_model_len, counter) for model in owner.spec.models}
    return check_lengths(owner, {**rows, **tables}, {**windows, "b": Window(window, counter)})


def test_everybody_who_reads_a_table_is_asked() -> None:
    found = {(limit.table, limit.model, limit.ends_row) for limit in limits(resource())}
    assert found == {
        ("sft-0", "a", False), ("sft-0", "b", False), ("sft-0", "agg", True), ("sft-0", "base", True),
        ("preference-0", "base", True), ("eval-held", "base", True),
    }  # fmt: skip


def test_the_student_reads_under_its_declared_name() -> None:
    owner = resource(spec__mixture__layers__0__proposers__0__model="$student")
    assert ("sft-0", "base", False) in {(limit.table, limit.model, limit.ends_row) for limit in limits(owner)}


def test_short_rows_leave_no_trace() -> None:
    assert check(resource(), 0, characters=8) == {}


def test_a_proposer_with_a_small_window_is_a_warning_with_the_part(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    assert check(resource(), 200, characters=6000, window=1024) == {"sft-0.tooLong.b": 0.2}
    assert "200 of 1000 rows counted (20.0%) are too long for b; raise maxModelLen of spec.models b" in caplog.text
    assert too_long({"sft-0.tooLong.b": 0.2, "sft-0.rows": 5}) == [
        "20.0% of sft-0 is too long for b (its maxModelLen, or the maxLength it is trained with)"
    ]


def test_rows_that_cannot_be_trained_on_end_it_before_they_are_paid_for() -> None:
    with pytest.raises(
        DataError,
        match=r"sft-0: 100 of 1000 rows .*too long for base, and .*lets 1\.0% fail; raise training\.sft\.maxLength",
    ):
        check(resource(), 100, characters=14_000)


def test_what_may_fail_may_be_too_long() -> None:
    assert check(resource(), 9, characters=14_000) == {"sft-0.tooLong.base": 0.009}
    assert check(resource(spec__failures={"maxFraction": "0.2"}), 100, characters=14_000) == {"sft-0.tooLong.base": 0.1}


def test_a_sample_that_leaves_it_open_ends_nothing() -> None:
    assert check(resource(), 12, characters=14_000) == {"sft-0.tooLong.base": 0.012}
