"""Events of a run, for displays: a constant name and fields, never prompt texts or secrets.

| event | fields |
|---|---|
| experiment_run_started, experiment_run_failed | run, arm, seed, and of a failed one its error (`moaa experiment`) |
| run_waiting | earlier (process of a killed runner whose processes are not yet gone) |
| run_started | run, storage, stages, done |
| run_stopping | signal |
| edit_without_effect | edits (what closed iterations keep although the resource says otherwise) |
| run_ended | done, stages |
| budget_exhausted | held (stages that a limit of spec.budget keeps from going on, and which) |
| stage_done | stage, seconds, rows (worked on), failed (rows), reused (was there already), said (decision, warnings) |
| stage_queued | stage, models |
| stage_started | stage, models, fewer_replicas (models for whose replicas the machine has no room), log |
| stage_progress | stage, and the job's figures |
| stage_deferred | stage, waiting |
| stage_overtaken | stage (another run of equal inputs works on it; its result is waited for) |
| stage_attempt_failed | stage, error, attempts_left |
| stage_failed | stage, error |
| server_starting, server_ready, server_died, server_failed, server_stopping | model, and log or seconds |
"""

from collections.abc import Mapping
from typing import Protocol


class Notify(Protocol):
    def __call__(self, event: str, /, **fields: object) -> None: ...


def ignore(event: str, /, **fields: object) -> None:
    """Drops every event: for runs without a display."""


def line(event: str, fields: Mapping[str, object]) -> str:
    """One line: the event, then key=value.

    >>> line("stage_done", {"stage": "i1-sft", "seconds": 3.0})
    'stage_done stage=i1-sft seconds=3.0'
    """
    shown = {name: value for name, value in fields.items() if value not in ({}, (), [], "")}
    return " ".join([event, *(f"{name}={_text(value)}" for name, value in shown.items())])


def _text(value: object) -> str:
    match value:
        case float():
            return f"{value:.1f}"
        case dict():
            return ",".join(f"{key}:{item}" for key, item in value.items())
        case list() | tuple():
            return ",".join(str(item) for item in value)
        case _:
            return str(value)
