"""Which Events a change of the status makes."""

from datetime import UTC, datetime

from moaa.api.status import ClosedIteration, Condition, MoAAStatus, StageOutput, StageStatus
from moaa_operator.tell import conditions
from moaa_operator.tell.events import between

WHEN = datetime(2026, 1, 1, tzinfo=UTC)


def test_what_two_conditions_say_in_the_same_words_is_one_event() -> None:
    said = {"reason": "ErrImagePull", "message": "pod p, container vllm: no such image", "last_transition_time": WHEN}
    servers = Condition(type=conditions.SERVERS, status="False", **said)
    stalled = Condition(type=conditions.STALLED, status="True", **said)
    events = between(MoAAStatus(), MoAAStatus(conditions=[servers, stalled]))
    assert [(event.type, event.reason, event.message) for event in events] == [
        ("Warning", "ErrImagePull", "pod p, container vllm: no such image")
    ]


def test_a_stage_that_is_done_says_how_many_rows_each_table_has() -> None:
    tables = {"answers": 4788, "scores": 600, "model": 0}
    outputs = [StageOutput(name=name, digest="a" * 64, rows=rows) for name, rows in tables.items()]
    done = StageStatus(
        stage="i0-evaluate", kind="evaluate", attempt=1, fingerprint="f" * 64, inputs="0" * 64, outputs=outputs
    )
    [event] = between(MoAAStatus(), MoAAStatus(stages=[done]))
    assert (event.reason, event.message) == ("StageDone", "i0-evaluate is done; rows: answers 4788, scores 600")


def test_a_closed_iteration_says_once_what_decided() -> None:
    closed = ClosedIteration(iteration=2, stage="i2-dpo", why="iteration 2 DPO is promoted: its gain.", closed=WHEN)
    earlier = ClosedIteration(iteration=1, closed=WHEN, why="The previous student stays: so.")
    before, after = MoAAStatus(history=[earlier]), MoAAStatus(history=[earlier, closed])
    [event] = between(before, after)
    assert (event.type, event.reason) == ("Normal", "IterationClosed")
    assert event.message == "iteration 2: iteration 2 DPO is promoted: its gain."
    assert between(after, after) == []


def test_what_is_doubtful_about_a_promotion_is_a_warning() -> None:
    warning = "raw win rates on arena decided over iteration 1 DPO, not those at equal length: because"
    done = StageStatus(
        stage="i1-promote", kind="promote", attempt=1, fingerprint="f" * 64, inputs="0" * 64, warnings=[warning]
    )
    events = between(MoAAStatus(), MoAAStatus(stages=[done]))
    assert ("Warning", "StageWarning", f"i1-promote: {warning}") in [(e.type, e.reason, e.message) for e in events]
