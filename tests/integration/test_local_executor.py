"""Whole runs against small real processes: what is started, in which order, with which models, and what is left."""

import asyncio
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from moaa.api import MoAA
from moaa.api.resource import Replicas
from moaa.cli.stored_plan import read_plan
from moaa.errors import ResourceError, StageError, UsageError
from moaa.local.executor import Finished, execute
from moaa.local.processes import guard
from moaa.local.processes.lock import exclusive
from moaa.local.serving.machine import Capacity
from moaa.local.serving.needs import too_large
from moaa.local.serving.pool import Pool
from moaa.plan.graph import build
from moaa.plan.show import plan_text
from moaa.run import records
from moaa.run.spending import read_account
from moaa.store.objects.open import open_store
from tests.local_helpers import FakeMachine
from tests.unit.test_cause import DEATHS

MIXTURE_STAGES = ["i0-resolve", "i0-stage-data", "i1-generate", "i1-sft", "i1-promote"]


@pytest.fixture
def fake(tmp_path: Path) -> FakeMachine:
    return FakeMachine(tmp_path)


class Events:
    """Keeps what happened."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, event: str, /, **fields: Any) -> None:
        self.seen.append((event, fields))

    def of(self, event: str, field: str) -> list[Any]:
        return [fields[field] for name, fields in self.seen if name == event]


async def carry_out(fake: FakeMachine, resource: MoAA, **settings: Any) -> tuple[Finished, Events]:
    events = Events()
    finished = await execute(resource, open_store(resource.spec.storage), fake.settings(**settings), events)
    return finished, events


def none_alive(pids: list[int]) -> bool:
    table = guard.process_table()
    return not any(pid in table and table[pid][1] not in "ZX" for pid in pids)


async def until(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.01)


async def test_every_stage_runs_once_in_order_with_its_models(fake: FakeMachine) -> None:
    finished, events = await carry_out(fake, fake.resource())
    assert fake.stages() == MIXTURE_STAGES
    assert list(finished.made) == MIXTURE_STAGES
    assert fake.runs()[2]["up"] == ["a", "b", "c"]
    assert sorted(fake.servers()) == ["a", "b", "c"]
    assert events.of("stage_done", "stage") == MIXTURE_STAGES
    assert none_alive(fake.pids())


async def test_second_run_has_nothing_to_do_and_starts_nothing(fake: FakeMachine) -> None:
    await carry_out(fake, fake.resource())
    count = len(fake.pids())
    finished, events = await carry_out(fake, fake.resource())
    assert finished.made == ()
    assert set(finished.results) >= set(MIXTURE_STAGES)
    assert len(fake.pids()) == count
    assert events.of("run_ended", "done") == [5]


async def test_until_stops_after_that_stage(fake: FakeMachine) -> None:
    await carry_out(fake, fake.resource(), until="i0-stage-data")
    assert fake.stages() == MIXTURE_STAGES[:2]


async def test_until_an_unknown_stage_names_the_stages(fake: FakeMachine) -> None:
    with pytest.raises(UsageError, match="i1-dpo: there is no such stage; the stages are i0-resolve, "):
        await carry_out(fake, fake.resource(), until="i1-dpo")


async def test_crash_is_tried_again_and_recorded(fake: FakeMachine) -> None:
    fake.script({"i0-stage-data": ["crash", "silent"]})
    resource = fake.resource(mixture=False)
    _, events = await carry_out(fake, resource, until="i0-stage-data")
    assert fake.stages().count("i0-stage-data") == 3
    assert events.of("stage_attempt_failed", "attempts_left") == [2, 1]
    attempts, _ = await records.read_attempts(open_store(resource.spec.storage), records.run_id(resource))
    outcomes = [(a.outcome, a.error) for a in attempts if a.stage == "i0-stage-data"]
    assert outcomes == [("Crashed", "it broke"), ("Done", ""), ("Done", "")]


async def test_a_disk_that_refuses_the_job_s_files_is_a_failed_attempt(fake: FakeMachine) -> None:
    jobs = fake.folder / "work" / "jobs"
    jobs.parent.mkdir()
    jobs.touch()
    with pytest.raises(
        StageError, match=rf"its job could not be started: .*{re.escape(str(jobs))}.*; free space or mend"
    ):
        await carry_out(fake, fake.resource(mixture=False))


async def test_attempts_that_left_more_in_the_store_do_not_count(fake: FakeMachine) -> None:
    saved = [10, 30, 50, 70, 70, 70]
    fake.script({"i0-stage-data": [f"crash{percent}" for percent in saved]})
    with pytest.raises(StageError, match="3 attempts failed, the last with: it broke"):
        await carry_out(fake, fake.resource(mixture=False))
    assert fake.stages().count("i0-stage-data") == len(saved)


async def test_retries_are_bounded(fake: FakeMachine) -> None:
    fake.script({"i0-stage-data": ["crash"] * 9})
    with pytest.raises(StageError, match="3 attempts failed, the last with: it broke"):
        await carry_out(fake, fake.resource(mixture=False))
    assert fake.stages().count("i0-stage-data") == 3


async def test_permanent_failure_is_not_tried_again_and_says_what_was_not_done(fake: FakeMachine) -> None:
    fake.script({"i0-stage-data": ["permanent"]})
    with pytest.raises(StageError) as caught:
        await carry_out(fake, fake.resource(mixture=False))
    assert fake.stages() == ["i0-resolve", "i0-stage-data"]
    assert "i0-stage-data: column `messages` is missing" in str(caught.value)
    assert "not done because of that: i1-generate, i1-sft, i1-promote" in str(caught.value)


@pytest.mark.parametrize(
    ("death", "starts", "words"),
    [
        ("libnuma", 1, "libnuma.so.1 is not installed on this machine"),
        ("unknown-option", 1, "unrecognized arguments: --no-such-flag"),
        ("cache-larger-than-memory", 3, "less than requested memory for kv"),
    ],
)
async def test_a_server_is_tried_again_only_where_that_can_help(
    fake: FakeMachine, death: str, starts: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One started ahead that dies is started again for its stage, which is no retry: here nothing is started ahead.
    monkeypatch.setattr(Pool, "warm", lambda *_: None)
    fake.modes["c"] = f"says {DEATHS / death}.log"
    with pytest.raises(StageError, match=re.escape(words)):
        await carry_out(fake, fake.resource())
    assert fake.servers().count("c") == starts


async def test_failed_stage_lets_independent_ones_finish(fake: FakeMachine) -> None:
    fake.script({"i0-evaluate": ["permanent"]})
    with pytest.raises(StageError, match="i0-evaluate"):
        await carry_out(fake, fake.resource(evaluation=True))
    assert "i1-sft" in fake.stages()


@pytest.mark.parametrize("goes_on", [True, False], ids=["its result is taken", "it falls silent"])
async def test_a_stage_that_another_run_has_taken_over_has_not_failed(fake: FakeMachine, goes_on: bool) -> None:
    fake.script({"i0-resolve": ["overtaken"]})
    events = Events()

    def other(event: str, /, **fields: Any) -> None:
        events(event, **fields)
        if event == "stage_overtaken":
            (nearly,) = fake.root.rglob("nearly.json")
            if goes_on:
                nearly.rename(nearly.with_name("manifest.json"))
            else:
                for file in nearly.parent.rglob("*"):
                    os.utime(file, (0, 0))

    resource = fake.resource(mixture=False, failures={"retries": 0})
    await execute(resource, open_store(resource.spec.storage), fake.settings(until="i0-resolve"), other)
    assert fake.stages() == ["i0-resolve"] * (1 if goes_on else 2)
    assert events.of("stage_overtaken", "stage") == ["i0-resolve"]
    assert events.of("stage_attempt_failed", "stage") == events.of("stage_failed", "stage") == []
    assert events.of("stage_done", "stage") == ["i0-resolve"]


async def test_models_that_do_not_fit_together_take_turns(fake: FakeMachine) -> None:
    # 2 GiB a server and 0.7 GiB for the job: two servers at a time, and room for training.
    _, events = await carry_out(fake, fake.resource(), memory_gib=5.0, until="i1-generate")
    up = [run["up"] for run in fake.runs() if run["stage"] == "i1-generate"]
    assert up[0] == ["a", "b"]
    assert "c" in up[1]
    assert len(up[1]) == 2
    assert events.of("stage_deferred", "waiting") == [{"c": 4}]


def with_replicas(fake: FakeMachine, counts: dict[str, int]) -> MoAA:
    resource = fake.resource()
    models = [
        model.with_(serving=model.serving.with_(replicas=counts.get(model.name, 1))) for model in resource.spec.models
    ]
    return resource.with_(spec=resource.spec.with_(models=models))


async def test_replicas_are_served_and_the_job_is_told_of_all(fake: FakeMachine) -> None:
    _, events = await carry_out(fake, with_replicas(fake, {"a": 2, "c": 3}), until="i1-generate")
    urls = fake.runs()[-1]["urls"]
    assert {name: len(set(found)) for name, found in urls.items()} == {"a": 2, "b": 1, "c": 3}
    assert sorted(fake.servers()) == ["a", "a", "b", "c", "c", "c"]
    assert sorted(events.of("server_ready", "model")) == ["a", "a.2", "b", "c", "c.2", "c.3"]
    assert events.of("stage_started", "fewer_replicas") == [{}, {}, {}]
    assert none_alive(fake.pids())


def on_gpus(fake: FakeMachine, **changes: Any) -> MoAA:
    """A GPU a model."""
    resource = fake.resource(**changes)
    models = [model.with_(serving=model.serving.with_(gpus=1, memory_gib=None)) for model in resource.spec.models]
    return resource.with_(spec=resource.spec.with_(models=models))


async def at_its_last_model(fake: FakeMachine, resource: MoAA, *stopping: str) -> records.Attempt:
    """Let generate say that a and b are not asked again, wait for `stopping`, and give the attempt's record."""
    fake.script({"i1-generate": ["finished a b"]})
    events = Events()
    run = asyncio.create_task(execute(resource, open_store(resource.spec.storage), fake.settings(gpus=3), events))
    await until(lambda: run.done() or set(events.of("server_stopping", "model")) == set(stopping))
    (fake.control / "go").touch()
    await run
    attempts, _ = await records.read_attempts(open_store(resource.spec.storage), records.run_id(resource))
    return next(attempt for attempt in attempts if attempt.stage == "i1-generate")


async def test_servers_go_when_their_part_is_done_and_are_paid_no_longer(fake: FakeMachine) -> None:
    resource = on_gpus(fake)
    attempt = await at_its_last_model(fake, resource, "a", "b")
    assert attempt.servers == ("a", "b", "c")
    assert 0 < attempt.spared_gpu_seconds < 2 * attempt.job_seconds
    spent = (await read_account(open_store(resource.spec.storage), records.run_id(resource), resource, {}, {})).values()
    held = attempt.gpus * attempt.job_seconds
    assert [s.gpu_seconds for s in spent if s.gpu_seconds] == [pytest.approx(held - attempt.spared_gpu_seconds)]
    assert none_alive(fake.pids())


async def test_a_server_that_a_later_stage_asks_stays(fake: FakeMachine) -> None:
    resource = on_gpus(fake, iterations=2)
    fake.script({"i1-generate": ["finished a b"]})
    events = Events()
    run = asyncio.create_task(execute(resource, open_store(resource.spec.storage), fake.settings(gpus=3), events))
    await until(lambda: run.done() or "i1-generate" in events.of("stage_progress", "stage"))
    (fake.control / "go").touch()
    await run
    attempts, _ = await records.read_attempts(open_store(resource.spec.storage), records.run_id(resource))
    assert next(one for one in attempts if one.stage == "i1-generate").spared_gpu_seconds > 0
    done = [(name, told.get("stage")) for name, told in events.seen].index(("stage_done", "i1-generate"))
    assert "server_stopping" not in [name for name, _ in events.seen[:done]]


async def test_a_stage_that_is_tried_again_has_all_its_servers(fake: FakeMachine) -> None:
    fake.script({"i1-generate": ["finished a b", "ok"]})
    events, resource = Events(), on_gpus(fake)
    run = asyncio.create_task(execute(resource, open_store(resource.spec.storage), fake.settings(gpus=3), events))
    await until(lambda: set(events.of("server_stopping", "model")) == {"a", "b"})
    os.kill(fake.runs()[-1]["pid"], signal.SIGKILL)
    await run
    assert [one["up"] for one in fake.runs() if one["stage"] == "i1-generate"] == [["a", "b", "c"]] * 2
    assert sorted(fake.servers()) == ["a", "a", "b", "b", "c"]


async def test_replicas_that_do_not_fit_are_left_out_and_told(fake: FakeMachine) -> None:
    # 0.7 GiB for the job, 2 GiB a server: room for one replica more than the three models.
    _, events = await carry_out(fake, with_replicas(fake, {"a": 4, "c": 2}), memory_gib=9.0, until="i1-generate")
    assert {name: len(found) for name, found in fake.runs()[-1]["urls"].items()} == {"a": 2, "b": 1, "c": 1}
    assert events.of("stage_started", "fewer_replicas")[-1] == {"a": "2 of 4", "c": "1 of 2"}


def where_the_work_is(fake: FakeMachine, limit: int) -> MoAA:
    """Auto; the aggregator is so large by its name that four rows take hours."""
    resource = fake.resource()
    folder = fake.folder / "weights" / "c-9000000b"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    models = [model.with_(serving=model.serving.with_(gpus=1)) for model in resource.spec.models]
    models[2] = models[2].with_(source=f"file://{folder}")
    serving = resource.spec.serving.with_(replicas=Replicas.AUTO, max_gpus=limit)
    return resource.with_(spec=resource.spec.with_(models=models, serving=serving))


@pytest.mark.parametrize(("gpus", "limit", "served"), [(8, 100, 6), (8, 5, 3), (3, 5, 1)])
async def test_gpus_go_to_the_model_with_the_most_work(fake: FakeMachine, gpus: int, limit: int, served: int) -> None:
    _, events = await carry_out(fake, where_the_work_is(fake, limit), gpus=gpus, until="i1-generate")
    assert {name: len(set(urls)) for name, urls in fake.runs()[-1]["urls"].items()} == {"a": 1, "b": 1, "c": served}
    assert sorted(fake.servers()) == ["a", "b", *["c"] * served]
    assert events.of("stage_started", "fewer_replicas")[-1] == {}


async def test_a_limit_that_a_stage_cannot_keep_is_refused_before_anything_starts(fake: FakeMachine) -> None:
    with pytest.raises(ResourceError, match=r"spec\.serving\.maxGpus: .*3 GPUs of the models that i1-generate serves"):
        await carry_out(fake, where_the_work_is(fake, 2), gpus=8)
    assert fake.runs() == []


async def test_more_replicas_repeat_nothing(fake: FakeMachine) -> None:
    await carry_out(fake, fake.resource())
    finished, _ = await carry_out(fake, with_replicas(fake, {"a": 2, "b": 5}))
    assert (finished.made, len(fake.stages())) == ((), 5)


async def test_replicas_of_weights_that_two_names_share_have_one_name(fake: FakeMachine) -> None:
    """Requests to all replicas name the model alike, whichever of its names brought the first one up."""
    resource = with_replicas(fake, {"a": 2, "b": 2})
    models = list(resource.spec.models)
    models[1] = models[1].with_(source=models[0].source)
    await carry_out(fake, resource.with_(spec=resource.spec.with_(models=models)), until="i1-generate")
    urls = fake.runs()[-1]["urls"]
    assert sorted(fake.servers()) == ["a", "a", "c"]
    assert (urls["a"], len(urls["a"])) == (urls["b"], 2)


async def test_in_turn_serves_one_model_at_a_time(fake: FakeMachine) -> None:
    await carry_out(fake, fake.resource(serving={"schedule": "InTurn"}), until="i1-generate")
    assert [run["up"] for run in fake.runs() if run["stage"] == "i1-generate"] == [["a"], ["b"], ["c"]]


async def test_rows_that_wait_forever_end_the_stage(fake: FakeMachine) -> None:
    fake.script({"i1-generate": ["stuck"] * 20})
    with pytest.raises(StageError, match=r"rows wait for b \(3\), and serving each of its models in turn"):
        await carry_out(fake, fake.resource())
    assert fake.stages().count("i1-generate") == 4  # one, and a cycle over three models


async def test_model_larger_than_the_machine_is_told_at_once(fake: FakeMachine) -> None:
    with pytest.raises(StageError, match=r"model a does not fit: .* needs 2.7 GiB"):
        await carry_out(fake, fake.resource(failures={"retries": 0}), memory_gib=2.5)


async def test_gpus_that_are_not_there_are_told_before_anything_is_done(fake: FakeMachine) -> None:
    resources = {"resources": {"workers": 4, "gpusPerWorker": 1}, "sft": {"batchSize": 4}}
    with pytest.raises(
        UsageError, match=r"i1-sft: spec\.training\.resources needs 4 GPUs .* there are 0 here; lower workers"
    ):
        await carry_out(fake, fake.resource(training=resources))
    assert fake.stages() == []


async def test_gpus_of_models_that_nobody_has_to_serve_any_more_are_not_missed(fake: FakeMachine) -> None:
    resource = fake.resource()
    await carry_out(fake, resource, until="i1-generate")
    document = resource.model_dump(mode="json", by_alias=True)
    document["spec"]["models"][2]["serving"]["gpus"] = 2  # the aggregator, whose only stage is done
    edited = MoAA.model_validate(document)
    await carry_out(fake, edited, until="i1-generate")
    left = build(edited).stages.values()
    assert "serving.gpus 2" in str(too_large(left, edited, gpus=1))


async def test_servers_over_several_machines_are_refused_before_anything_is_done(fake: FakeMachine) -> None:
    document = fake.resource().model_dump(mode="json", by_alias=True)
    document["spec"]["models"][2]["serving"] |= {"gpus": 4, "nodes": 2}
    with pytest.raises(UsageError, match=r"i1-generate: spec\.models c has serving\.nodes 2, and this is one machine"):
        await carry_out(fake, MoAA.model_validate(document))
    assert fake.stages() == []


async def test_weights_that_changed_since_the_start_are_not_served(fake: FakeMachine) -> None:
    resource = fake.resource()
    await carry_out(fake, resource, until="i0-stage-data")
    (fake.folder / "weights" / "b" / "config.json").write_text("{}")
    with pytest.raises(StageError, match=r"spec.models b: .* is not what it was when the run resolved its models"):
        await carry_out(fake, resource)
    assert "i1-generate" not in fake.stages()


async def test_trained_student_is_served_from_the_store(fake: FakeMachine) -> None:
    finished, _ = await carry_out(fake, fake.resource(mixture=False, evaluation=True))
    assert fake.servers() == ["a", "student-i1-sft"]
    assert [run["up"] for run in fake.runs() if run["stage"] == "i1-evaluate-sft"] == [["@i1-sft"]]
    assert "i1-promote" in finished.made


async def test_a_closed_iteration_tells_what_it_was_closed_on(fake: FakeMachine) -> None:
    resource = fake.resource(evaluation=True)
    finished, _ = await carry_out(fake, resource)
    closed = await records.read_iterations(open_store(resource.spec.storage), records.run_id(resource))
    assert closed[1].start == {name: found for name, found in finished.results.items() if name.startswith("i0-")}
    assert "i0-evaluate" in closed[1].start


async def test_base_student_and_proposer_share_one_server(fake: FakeMachine) -> None:
    await carry_out(fake, fake.resource(evaluation=True), until="i0-evaluate")
    assert fake.servers().count("a") == 1


async def test_cancelled_run_stops_its_job_in_order_and_the_next_goes_on(fake: FakeMachine) -> None:
    fake.script({"i1-generate": ["wait"]})
    resource = fake.resource()
    task = asyncio.create_task(carry_out(fake, resource))
    await until((fake.control / "waiting").exists)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (fake.control / "stopped").exists()
    assert none_alive(fake.pids())
    attempts, _ = await records.read_attempts(open_store(resource.spec.storage), records.run_id(resource))
    assert [a.outcome for a in attempts if a.stage == "i1-generate"] == ["Stopped"]
    finished, _ = await carry_out(fake, resource, until="i1-generate")
    assert list(finished.made) == ["i1-generate"]


async def test_killed_job_is_tried_again_and_not_blamed_for_an_earlier_error(fake: FakeMachine) -> None:
    fake.script({"i1-generate": ["crash", "wait"]})
    task = asyncio.create_task(carry_out(fake, fake.resource(), until="i1-generate"))
    await until((fake.control / "waiting").exists)
    os.kill(fake.runs()[-1]["pid"], signal.SIGKILL)
    _, events = await task
    first, second = events.of("stage_attempt_failed", "error")
    assert first.startswith("it broke\n")
    assert second.startswith("the job was ended by signal 9; the machine may have run out of memory")
    assert "it broke" not in second


async def test_killed_server_comes_back_on_its_port_while_the_job_runs(fake: FakeMachine) -> None:
    fake.script({"i1-generate": ["wait"]})
    events = Events()
    resource = fake.resource()
    settings = fake.settings(until="i1-generate")
    task = asyncio.create_task(execute(resource, open_store(resource.spec.storage), settings, events))
    await until((fake.control / "waiting").exists)
    os.kill(fake.pids()[fake.servers().index("b")], signal.SIGKILL)
    await until(lambda: events.of("server_ready", "model").count("b") == 2)
    (fake.control / "go").touch()
    await task
    assert events.of("server_died", "model") == ["b"]
    assert fake.stages().count("i1-generate") == 1
    ports = [fields["port"] for name, fields in events.seen if name == "server_starting" and fields["model"] == "b"]
    assert len(set(ports)) == 1


async def test_edit_of_a_closed_iteration_repeats_nothing(fake: FakeMachine) -> None:
    await carry_out(fake, fake.resource(mixture=False))
    edited = fake.resource(
        mixture=False,
        training={"resources": {"gpusPerWorker": 0}, "sft": {"precision": "FP32", "batchSize": 4, "epochs": "9"}},
    )
    finished, events = await carry_out(fake, edited)
    assert finished.made == ()
    assert finished.kept == (
        "iteration 1 is closed and keeps what it made; without effect there: sft: training.epochs 6 → 9",
    )
    assert events.of("edit_without_effect", "edits") == [list(finished.kept)]
    view = await read_plan(edited, open_store(edited.spec.storage), {})
    text = plan_text(view, width=200)
    assert f"edit: {finished.kept[0]}" in text
    # What is done shows what its manifest says, of a closed iteration too; nothing is estimated.
    done = [[cell.strip() for cell in line.split("│")] for line in text.splitlines() if "│ done " in line]
    assert {cells[1] for cells in done} == set(finished.results)
    # The fake's stages took a second each, asked nobody and say nothing of rows.
    assert {tuple(cells[3:7] + cells[8:9]) for cells in done} == {("", "", "", "", "0.0")}


async def test_edit_of_the_open_iteration_repeats_what_it_changes(fake: FakeMachine) -> None:
    await carry_out(fake, fake.resource(mixture=False), until="i1-sft")
    edited = fake.resource(
        mixture=False,
        training={"resources": {"gpusPerWorker": 0}, "sft": {"precision": "FP32", "batchSize": 4, "epochs": "9"}},
    )
    finished, _ = await carry_out(fake, edited)
    assert finished.made == ("i1-sft", "i1-promote")


async def test_two_runners_in_one_folder_are_told_apart(fake: FakeMachine) -> None:
    settings = fake.settings()
    settings.folder.mkdir()
    async with exclusive(settings.folder):
        with pytest.raises(UsageError, match=f"process {os.getpid()}"):
            await carry_out(fake, fake.resource())


EARLIER = """
import asyncio, sys
from pathlib import Path
from moaa.local.processes.lock import exclusive
from moaa.local.serving.machine import Capacity
from moaa.local.processes.process import Guards
async def main():
    folder, command = Path(sys.argv[1]), [sys.executable, "-I", "-S", "-c", sys.argv[2], sys.argv[1]]
    async with exclusive(folder) as fd:
        await Guards(hold_fd=fd).start("old", command, env={}, log=folder / "log", cwd=folder, grace_s=20.0)
        await asyncio.sleep(60)
asyncio.run(main())
"""
LINGERING = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.5), sys.exit()))
open(sys.argv[1] + "/old.part", "w").write(str(os.getpid()))
os.rename(sys.argv[1] + "/old.part", sys.argv[1] + "/old.pid")
signal.pause()
"""


async def test_a_runner_waits_for_what_a_killed_one_left(fake: FakeMachine) -> None:
    settings = fake.settings()
    settings.folder.mkdir()
    earlier = await asyncio.create_subprocess_exec(sys.executable, "-c", EARLIER, str(settings.folder), LINGERING)
    pid_file = settings.folder / "old.pid"
    await until(pid_file.exists, timeout_s=30.0)
    pid = int(pid_file.read_text())
    earlier.kill()
    await earlier.wait()
    assert not none_alive([pid])
    gone: list[bool] = []

    def capacity() -> Capacity:
        gone.append(none_alive([pid]))
        return settings.capacity()

    resource, events = fake.resource(mixture=False), Events()
    await execute(resource, open_store(resource.spec.storage), replace(settings, capacity=capacity), events)
    assert gone == [True]
    assert events.of("run_waiting", "earlier") == [earlier.pid]
