"""What a watcher sees: JSON lines, plain lines, the live table."""

import io
import json
from datetime import UTC, datetime
from typing import Any

from rich.console import Console

from moaa.local.show.board import Board, Status
from moaa.local.show.display import JsonLines, PlainLines, display, render, summary

NOON = datetime(2026, 1, 2, 12, 0, 0, tzinfo=UTC)
RUN: list[tuple[str, dict[str, Any]]] = [
    ("stage_done", {"stage": "i0-resolve", "seconds": 1.0, "rows": 3, "failed": 0, "reused": True, "said": []}),
    ("run_started", {"run": "default-demo-local", "storage": "file:///s", "stages": ["i0-resolve", "i1-generate"]}),
    ("stage_queued", {"stage": "i1-generate", "models": ["a"]}),
    ("server_starting", {"model": "a", "log": "/l", "port": 1}),
    ("server_ready", {"model": "a", "seconds": 20.0}),
    ("stage_started", {"stage": "i1-generate", "models": ["a"], "fewer_replicas": {"a": "2 of 4"}, "log": "/l"}),
    ("stage_progress", {"stage": "i1-generate", "rows_done": 3, "rows_total": 12, "eta_s": 61.0}),
]


def test_json_lines_carry_every_event() -> None:
    out = io.StringIO()
    show = JsonLines(out, now=lambda: NOON)
    for event, fields in RUN:
        show(event, **fields)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line["event"] for line in lines] == [event for event, _ in RUN]
    assert lines[0] == {"time": "2026-01-02T12:00:00.000+00:00", "event": "stage_done", **RUN[0][1]}


def test_plain_lines_tell_progress_at_most_every_15_seconds() -> None:
    out, clock = io.StringIO(), [0.0]
    show = PlainLines(out, now=lambda: NOON, clock=lambda: clock[0])
    for moment in (0.0, 1.0, 14.0, 15.0):
        clock[0] = moment
        show("stage_progress", stage="i1-sft", step=int(moment))
    show("stage_done", stage="i1-sft", seconds=20.0, rows=0, reused=False, said=[])
    show("stage_done", stage="i1-promote", seconds=1.0, rows=3, reused=False, said=["The previous student stays: so."])
    assert out.getvalue().splitlines() == [
        "12:00:00 stage_progress stage=i1-sft step=0",
        "12:00:00 stage_progress stage=i1-sft step=15",
        "12:00:00 stage_done stage=i1-sft seconds=20.0 rows=0 reused=False",
        "12:00:00 stage_done stage=i1-promote seconds=1.0 rows=3 reused=False said=The previous student stays: so.",
    ]


def test_board_keeps_stages_that_were_done_before_the_start() -> None:
    board = Board(clock=lambda: 5.0)
    for event, fields in RUN:
        board(event, **fields)
    assert [line.status for line in board.stages.values()] == [Status.REUSED, Status.RUNNING]
    assert board.servers == {"a": "ready"}
    board("server_stopping", model="a")
    assert board.servers == {}


def test_table_shows_stage_progress_and_servers() -> None:
    board = Board(clock=lambda: 5.0)
    for event, fields in RUN:
        board(event, **fields)
    console = Console(file=io.StringIO(), width=120, color_system=None)
    console.print(render(board))
    text = console.file.getvalue()  # type: ignore[attr-defined]  # a StringIO
    assert "✓ i0-resolve" in text
    assert "3/12 rows  1m01s left" in text
    assert "servers  a (ready)" in text
    assert "room for  2 of 4 replicas of a" in text


def screen(board: Board, *, width: int, height: int | None = None) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(render(board, height=height))
    return out.getvalue().splitlines()


def test_a_low_window_counts_what_is_done_and_what_is_far_ahead() -> None:
    board = Board(clock=lambda: 5.0)
    names = [f"i{i}-{kind}" for i in range(1, 9) for kind in ("generate", "sft", "sample", "judge", "dpo")]
    board("run_started", run="r", storage="file:///s", stages=names)
    for name in names[:20]:
        board("stage_done", stage=name, seconds=1.0, rows=3, failed=0, reused=False, said=["a doubt"])
    board("stage_started", stage=names[20], models=["a"], fewer_replicas={}, log="/l")
    lines = screen(board, width=80, height=24)
    assert len(lines) <= 24
    assert any(line.startswith(" ✓ 20 stages done") and "20 remarks" in line for line in lines)
    assert any(f"● {names[20]}" in line for line in lines)
    assert any("more stages" in line and f"up to {names[-1]}" in line for line in lines)
    assert not any("a doubt" in line for line in lines)
    board("stage_failed", stage=names[20], error="it broke")
    assert sum("a doubt" in line for line in screen(board, width=80, height=24)) == 20, "at its end all is shown"


def test_a_narrow_window_cuts_no_number() -> None:
    board = Board(clock=lambda: 5.0)
    for event, fields in RUN:
        board(event, **fields)
    board(
        "stage_progress", stage="i1-generate", rows_done=1234567, rows_total=2345678, tokens_per_s=98765.4, eta_s=61.0
    )
    for width in (80, 60, 40):
        text = " ".join(" ".join(screen(board, width=width)).split())
        assert all(word in text for word in ("1234567/2345678", "98765", "1m01s", "i1-generate")), text


def test_table_shows_what_decided_a_promotion_and_what_is_doubtful() -> None:
    board = Board(clock=lambda: 5.0)
    said = ["i1-dpo is promoted: its gain.", "raw win rates decided"]
    board("stage_done", stage="i1-promote", seconds=1.0, rows=3, failed=0, reused=False, said=said)
    console = Console(file=io.StringIO(), width=120, color_system=None)
    console.print(render(board))
    text = console.file.getvalue()  # type: ignore[attr-defined]  # a StringIO
    assert [line for line in text.splitlines() if line.startswith("i1-promote: ")] == [
        f"i1-promote: {line}" for line in said
    ]


def test_table_shows_how_many_rows_of_a_finished_stage_failed() -> None:
    board = Board(clock=lambda: 5.0)
    for event, fields in RUN:
        board(event, **fields)
    board("stage_done", stage="i1-generate", seconds=1.0, rows=12, failed=2, reused=False, said=[])
    assert [summary(line) for line in board.stages.values()] == ["3 rows", "12 rows  2 failed"]


def test_a_signal_is_answered_on_the_screen() -> None:
    board = Board(clock=lambda: 5.0)
    for event, fields in [*RUN, ("run_stopping", {"signal": "SIGINT"})]:
        board(event, **fields)
    console = Console(file=io.StringIO(), width=120, color_system=None)
    console.print(render(board))
    assert "Ctrl-C again stops at once" in console.file.getvalue()  # type: ignore[attr-defined]  # a StringIO


def test_failed_attempt_shows_its_error_until_the_next_one_starts() -> None:
    board = Board(clock=lambda: 5.0)
    board("stage_attempt_failed", stage="i1-sft", error="it broke", attempts_left=2)
    assert (board.stages["i1-sft"].status, board.stages["i1-sft"].error) == (Status.RETRYING, "it broke")
    board("stage_started", stage="i1-sft", models=[], fewer_replicas={}, log="/l")
    assert board.stages["i1-sft"].error == ""


def test_training_shows_steps_and_loss() -> None:
    board = Board(clock=lambda: 5.0)
    board("stage_started", stage="i1-sft", models=[], fewer_replicas={}, log="/l")
    board("stage_progress", stage="i1-sft", step=4, steps=10, loss=1.23456)
    assert summary(board.stages["i1-sft"]) == "step 4/10  loss 1.235"


def test_a_pipe_gets_plain_lines_and_asked_for_json_gets_json() -> None:
    for as_json, first in ((False, ":"), (True, "{")):
        console = Console(file=io.StringIO())
        with display(as_json=as_json, console=console) as show:
            show("run_stopping", signal="SIGINT")
        assert first in console.file.getvalue()[:3]  # type: ignore[attr-defined]  # a StringIO
