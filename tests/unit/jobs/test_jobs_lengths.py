"""Rows too long for those who read them are told before they are paid for."""

import logging
from typing import Any

import pytest

from moaa.api import MoAA
from moaa.asking.windows import CharacterCounter, Window
from moaa.cli.stored_plan import too_long
from moaa.errors import DataError
from moaa_jobs.stages.lengths import check_lengths
from moaa_jobs.stages.readers import readers
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
    found = {(reader.table, reader.model, reader.ends_row) for reader in readers(resource())}
    assert found == {
        ("sft-0", "a", False), ("sft-0", "b", False), ("sft-0", "agg", True), ("sft-0", "base", True),
        ("preference-0", "base", True), ("preference-0", "a", False), ("preference-0", "b", False),
        ("preference-0", "agg", False),
        # Members are measured by each benchmark, too.
        ("eval-held", "base", True), ("eval-held", "eva", False), ("eval-held", "a", False), ("eval-held", "b", False),
        ("eval-held", "agg", True), ("eval-held", "agg", False),
    }  # fmt: skip
    alone = resource(spec__evaluation__members=False)
    assert {reader.model for reader in readers(alone) if reader.table == "eval-held"} == {"base", "eva"}


def test_the_student_reads_under_its_declared_name() -> None:
    owner = resource(spec__mixture__layers__0__proposers__0__model="$student")
    assert ("sft-0", "base", False) in {(reader.table, reader.model, reader.ends_row) for reader in readers(owner)}


def test_short_rows_leave_no_trace() -> None:
    assert check(resource(), 0, characters=8) == {}


def test_a_proposer_with_a_small_window_is_a_warning_with_the_part(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    # With two samples of the usual length it is too small as a judge, too.
    assert check(resource(), 200, characters=6000, window=1024) == {
        "sft-0.tooLong.b": 0.2,
        "preference-0.tooLongLikely.b": 1.0,
    }
    assert "200 of 1000 rows counted (20.0%) are too long for b; raise maxModelLen of spec.models b" in caplog.text
    assert too_long({"sft-0.tooLong.b": 0.2, "sft-0.rows": 5}) == [
        "20.0% of sft-0 is too long for b (its maxModelLen, or the maxLength it is trained with)"
    ]


def test_rows_that_cannot_be_trained_on_end_it_before_they_are_paid_for() -> None:
    with pytest.raises(
        DataError,
        match=r"sft-0: 100 of 1000 rows .*too long for base, and .*lets 1\.0% fail; raise training\.sft\.maxLength",
    ):
        check(resource(), 100, characters=28_000)


def test_what_may_fail_may_be_too_long() -> None:
    assert check(resource(), 9, characters=28_000) == {"sft-0.tooLong.base": 0.009}
    assert check(resource(spec__failures={"maxFraction": "0.2"}), 100, characters=28_000) == {"sft-0.tooLong.base": 0.1}


@pytest.mark.parametrize(("policy", "says"), [("Drop", "leaves them out"), ("CutPrompt", "cuts their prompts")])
def test_any_number_may_be_too_long_where_the_resource_says_what_becomes_of_them(
    policy: str, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    owner = resource(spec__training__sft={"tooLong": policy})
    assert check(owner, 100, characters=28_000) == {"sft-0.tooLong.base": 0.1}
    assert f"too long for base; training.sft.tooLong {says}: raise training.sft.maxLength" in caplog.text


def test_prompts_beside_which_an_answer_of_max_tokens_is_too_long_are_told() -> None:
    """Of 4096 tokens an answer may have 2048; 13,000 characters are 2167 tokens at least."""
    owner = resource(spec__models__3__serving={"maxModelLen": 100_000})
    found = check(owner, 100, characters=13_000)
    assert {key: part for key, part in found.items() if key.endswith(".base")} == {"sft-0.tooLongAtMost.base": 0.1}


def test_a_sample_that_leaves_it_open_ends_nothing() -> None:
    assert check(resource(), 12, characters=28_000) == {"sft-0.tooLong.base": 0.012}


def judged(question_tokens: int) -> dict[str, float]:
    """What is said of judges and the meta-judge, whose windows hold 8192 tokens; the student's and its maxLength hold
    any."""
    owner = resource(spec__models__3__serving={"maxModelLen": 100_000}, spec__training__dpo={"maxLength": 100_000})
    return check(owner, 0, characters=8, window=8192, **{"preference-0": [conversation(6 * question_tokens)]})


# A character is 1/6 of a token at least. Of 8192 tokens 2048 are kept for the judge's answer and some 300 for its
# prompt; two samples have 720 tokens usually and 4096 at most, two evaluations 900 and 4096.
@pytest.mark.parametrize(
    ("question_tokens", "said"),
    [
        (700, set()),
        (1900, {"tooLongAtMost.a", "tooLongAtMost.b", "tooLongAtMost.agg"}),
        (4500, {"tooLongAtMost.a", "tooLongAtMost.b", "tooLongAtMost.agg", "shortenedLikely.agg"}),
        (5400, {"tooLongLikely.a", "tooLongLikely.b", "tooLongLikely.agg"}),
    ],
)
def test_a_judge_reads_the_question_and_both_answers(question_tokens: int, said: set[str]) -> None:
    assert judged(question_tokens) == {f"preference-0.{one}": 1.0 for one in said}


def test_a_judge_that_can_read_no_question_ends_it_before_it_is_paid_for() -> None:
    with pytest.raises(
        DataError, match=r"too long for a, and spec\.failures\.maxMemberFraction lets 50\.0% fail; raise"
    ):
        judged(6200)


def test_answers_of_every_turn_stand_beside_a_question_of_several() -> None:
    turn = {"role": "user", "content": "x" * 60}
    reply = {"role": "assistant", "content": "x" * 60_000}  # the data's, which nobody reads there
    owner = resource(spec__evaluation__members=False, spec__evaluation__selection__0__sampling={"maxTokens": 1024})

    def said(turns: int) -> dict[str, float]:
        rows: Any = [[turn, *([reply, turn] * (turns - 1))]]
        found = check(owner, 0, characters=8, **{"eval-held": rows})
        return {key: part for key, part in found.items() if key.endswith(".eva")}

    assert said(2) == {}
    assert said(3) == {"eval-held.tooLongAtMost.eva": 1.0}
    assert said(9) == {"eval-held.tooLongLikely.eva": 1.0}


def test_proposals_that_will_be_shortened_are_told() -> None:
    layers = [{"proposers": [{"model": "a", "samples": 8}, {"model": "b", "samples": 8}]}]
    owner = resource(spec__mixture__layers=layers, spec__evaluation__members=False)
    found = check(owner, 1000, characters=600)
    assert found == {"sft-0.shortenedLikely.agg": 1.0}
    assert too_long(found) == [
        "100.0% of sft-0 is read with shortened proposals or evaluations by agg "
        "(its maxModelLen, or the maxLength it is trained with)"
    ]


def test_a_proposer_that_can_read_hardly_any_row_ends_it() -> None:
    with pytest.raises(DataError, match=r"too long for b, and spec\.failures\.maxMemberFraction lets 50\.0% fail"):
        check(resource(), 700, characters=6000, window=1024)


def test_answers_of_the_usual_length_may_fill_the_training_s_length() -> None:
    owner = resource(spec__training__sft={"maxLength": 400}, spec__data__sft__0__answers="Mixture")
    assert check(owner, 0, characters=8) == {}
    assert check(owner, 500, characters=300) == {"sft-0.tooLongLikely.base": 0.5}
    given = resource(spec__training__sft={"maxLength": 400}, spec__data__sft__0__answers="Given")
    assert check(given, 500, characters=300) == {}


def test_replies_of_the_data_count_where_they_are_read_and_nowhere_else() -> None:
    reply = {"role": "assistant", "content": "x" * 60_000}
    row: Any = [*conversation(8), reply, *conversation(8)]
    tables: dict[str, Any] = {"sft-0": [row], "eval-held": [row]}
    found = check(resource(), 0, characters=8, **tables)
    most = {"sft-0.tooLongAtMost.base": 1.0, "eval-held.tooLongAtMost.eva": 1.0}
    assert found == most, "two answers of two turns, of maxTokens each"
    for table in ("preference-0", "sft-0"):
        owner = resource(spec__data__sft__0__answers="Given", spec__mixture=None)
        one: Any = {table: [row]}
        with pytest.raises(DataError, match=f"{table}: 1 of 1 rows"):
            check(owner, 0, characters=8, **one)
