"""Decisions about room: what fits together, what goes, what the machine has. No process is started."""

import pytest

from moaa.api.models import Serving
from moaa.api.training import TrainingResources
from moaa.errors import ServerError, UsageError
from moaa.local.jobs import End, Outcome, classify
from moaa.local.serving import budget, machine, needs
from moaa.local.serving.machine import Capacity, Demand
from moaa.local.turns import Cycle

GIB2 = Demand(2.0)
NAMES = {"a": "a", "b": "b", "c": "c"}


def test_first_start_takes_models_in_the_order_rows_need_them() -> None:
    assert budget.preference(["a", "b", "c"], waiting={}, up={"c"}) == ["a", "b", "c"]


def test_model_with_most_waiting_rows_comes_first_then_those_that_are_up() -> None:
    assert budget.preference(["a", "b", "c", "d"], waiting={"d": 5, "b": 2}, up={"c"}) == ["d", "b", "c", "a"]


@pytest.mark.parametrize(
    ("memory_gib", "at_once", "chosen"),
    [(10.0, None, ["a", "b", "c"]), (5.0, None, ["a", "b"]), (10.0, 1, ["a"])],
    ids=["all", "as-many-as-fit", "in-turn"],
)
def test_choose_fills_the_room_beside_the_job(memory_gib: float, at_once: int | None, chosen: list[str]) -> None:
    demands = dict.fromkeys("abc", GIB2)
    capacity = Capacity(memory_gib)
    assert budget.choose("abc", demands, capacity, beside=Demand(0.7), at_once=at_once, names=NAMES) == chosen


def test_choose_passes_over_a_large_model_for_a_small_one_but_never_over_the_first() -> None:
    demands = {"a": GIB2, "b": Demand(9.0), "c": GIB2}
    room = Capacity(5.0)
    assert budget.choose("abc", demands, room, beside=machine.NOTHING, at_once=None, names=NAMES) == ["a", "c"]
    with pytest.raises(ServerError, match="model b does not fit"):
        budget.choose("bac", demands, room, beside=machine.NOTHING, at_once=None, names=NAMES)


def test_choose_counts_gpus() -> None:
    demands = dict.fromkeys("abc", Demand(1.0, gpus=2))
    room = Capacity(100.0, gpus=("0", "1", "2", "3"))
    assert budget.choose("abc", demands, room, beside=machine.NOTHING, at_once=None, names=NAMES) == ["a", "b"]


@pytest.mark.parametrize(
    ("memory_gib", "counts"),
    [
        (30.0, {"a": 3, "b": 1, "c": 2}),
        (12.7, {"a": 3, "b": 1, "c": 2}),
        (10.7, {"a": 2, "b": 1, "c": 2}),
        (8.7, {"a": 2, "b": 1, "c": 1}),
        (6.7, {"a": 1, "b": 1, "c": 1}),
    ],
)
def test_room_that_is_left_goes_to_replicas_in_turn(memory_gib: float, counts: dict[str, int]) -> None:
    wanted = {"a": 3, "b": 1, "c": 2}
    room = Capacity(memory_gib)
    assert budget.widen("abc", dict.fromkeys("abc", GIB2), wanted, room, beside=Demand(0.7)) == counts


def test_a_large_model_s_replica_leaves_the_room_to_a_small_one_s() -> None:
    demands = {"a": Demand(1.0, gpus=4), "b": Demand(1.0, gpus=1)}
    room = Capacity(100.0, gpus=tuple("01234567"))
    assert budget.widen("ab", demands, {"a": 2, "b": 9}, room, beside=machine.NOTHING) == {"a": 1, "b": 4}


def test_servers_stay_within_what_all_may_hold() -> None:
    demands = {"a": Demand(1.0, gpus=2, served_gpus=2), "b": Demand(1.0, gpus=1, served_gpus=1)}
    room = Capacity(100.0, gpus=tuple("01234567"), max_served_gpus=5)
    job = Demand(1.0, gpus=2)
    assert budget.widen("ab", demands, {"a": 9, "b": 9}, room, beside=job) == {"a": 2, "b": 1}
    idle = {"c": Demand(1.0, gpus=1, served_gpus=1)}
    assert budget.evict(idle, upcoming=[], pinned=demands["a"], wanted=demands["a"], capacity=room) == []
    assert budget.evict(idle, upcoming=[], pinned=demands["a"], wanted=demands["a"] + demands["b"], capacity=room) == [
        "c"
    ]


def test_idle_server_whose_next_use_is_farthest_goes_first() -> None:
    idle = dict.fromkeys("abc", GIB2)
    stopped = budget.evict(
        idle, upcoming=["b", "a"], pinned=machine.NOTHING, wanted=Demand(5.0), capacity=Capacity(9.0)
    )
    assert stopped == ["c"]


def test_nothing_goes_while_there_is_room() -> None:
    assert budget.evict({"a": GIB2}, upcoming=[], pinned=GIB2, wanted=GIB2, capacity=Capacity(6.0)) == []


def test_pinned_servers_are_waited_for() -> None:
    assert budget.evict({"a": GIB2}, upcoming=[], pinned=GIB2, wanted=GIB2, capacity=Capacity(3.0)) is None


def test_available_memory_is_the_smaller_of_machine_and_cgroup() -> None:
    meminfo = "MemTotal:  33554432 kB\nMemAvailable:  16777216 kB\n"
    assert machine.available_gib(meminfo) == 16.0
    usage = {"cgroup_limit": str(8 * 1024**3), "cgroup_usage": str(7 * 1024**3)}
    assert machine.available_gib(meminfo, **usage, cgroup_stat=f"anon 9\ninactive_file {5 * 1024**3}\n") == 6.0
    limited = machine.available_gib(meminfo, cgroup_limit=str(8 * 1024**3), cgroup_usage=str(3 * 1024**3))
    assert limited == 5.0


@pytest.mark.parametrize(
    ("inherited", "order"), [({}, "PCI_BUS_ID"), ({"CUDA_VISIBLE_DEVICES": "3,1"}, None)], ids=["listed", "chosen"]
)
def test_numbers_of_gpus_mean_what_those_meant_who_gave_them(inherited: dict[str, str], order: str | None) -> None:
    seen = machine.visible(inherited, ["1", "3"])
    assert (seen["CUDA_VISIBLE_DEVICES"], seen.get("CUDA_DEVICE_ORDER")) == ("1,3", order)


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, ("0", "1")),
        ({"CUDA_VISIBLE_DEVICES": ""}, ()),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, ()),
        ({"CUDA_VISIBLE_DEVICES": "3, GPU-5d"}, ("3", "GPU-5d")),
    ],
    ids=["as-listed", "none", "minus-one", "chosen"],
)
def test_gpus_are_those_that_are_visible(environment: dict[str, str], found: tuple[str, ...]) -> None:
    listed = (
        "GPU 0: NVIDIA H100 (UUID: GPU-1)\n  MIG 1g.10gb Device 0: (UUID: MIG-1)\nGPU 1: NVIDIA H100 (UUID: GPU-2)\n"
    )
    assert machine.visible_gpus(environment, listed) == found


def test_more_gpus_than_there_are_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with pytest.raises(UsageError, match="--gpus 4: the machine shows 1"):
        machine.capacity(memory_gib=1.0, gpus=4)


def test_cpu_server_needs_its_base_its_cache_and_twice_its_weights() -> None:
    assert needs.server(Serving(gpus=0), weights_gib=1.0, cache_gib=0.5) == Demand(1.5 + 0.5 + 2.0)
    assert needs.server(Serving.model_validate({"gpus": 0, "memoryGib": "3"}), weights_gib=9, cache_gib=9) == Demand(
        3.0
    )
    assert needs.server(Serving(gpus=2), weights_gib=1.0, cache_gib=0.5).gpus == 2


def test_training_needs_the_head_and_every_worker() -> None:
    resources = TrainingResources.model_validate({"workers": 2, "gpusPerWorker": 0, "memoryGib": "1.5"})
    assert needs.trainer(resources, weights_gib=5.0) == Demand(2.0 + 2 * 1.5)
    gpus = TrainingResources.model_validate({"workers": 2, "gpusPerWorker": 1})
    assert needs.trainer(gpus, weights_gib=5.0).gpus == 2


def waits(calls: int) -> Outcome:
    return Outcome(End.WAITING, 1.0, 75, waiting={"b": 3}, progress={"calls": calls, "rows_done": 0})


def test_cycle_is_stuck_only_after_every_model_had_its_turn_for_nothing() -> None:
    cycle = Cycle(models=2)
    assert [cycle.is_stuck(waits(1)) for _ in range(3)] == [False, False, True]


def test_turns_that_make_calls_are_no_standstill() -> None:
    cycle = Cycle(models=1)
    assert not any(cycle.is_stuck(waits(calls)) for calls in range(20))


TRACEBACK = ["Traceback (most recent call last):", '  File "x.py", line 1, in <module>']


@pytest.mark.parametrize(
    ("code", "log", "end", "error"),
    [
        (0, [], End.DONE, ""),
        (64, ['{"error": "no column", "permanent": true}'], End.PERMANENT, "no column"),
        (69, ["stage_fenced"], End.FENCED, "the job ended with exit code 69"),
        (1, ["Traceback", "ValueError: x"], End.CRASHED, "ended with exit code 1; its last lines:\n    Traceback\n"),
        (1, [*TRACEBACK, "ValueError: x"], End.CRASHED, "the job ended with exit code 1: ValueError: x"),
        (
            1,
            [*TRACEBACK, "OSError: libz.so.1: cannot open shared object file: No such"],
            End.PERMANENT,
            "libz.so.1 is not",
        ),
        (1, [*TRACEBACK, "x.ValidationError: y"], End.CRASHED, "ValidationError: y"),
        (137, [], End.CRASHED, "ended by signal 9; the machine may have run out of memory"),
    ],
)
def test_exit_codes_mean_what_the_job_says(code: int, log: list[str], end: End, error: str) -> None:
    outcome = classify(code, seconds=1.0, log=log, progress={})
    assert outcome.end is end
    assert error in outcome.error


def test_deferred_job_tells_what_it_waits_for() -> None:
    assert classify(75, seconds=1.0, log=[], progress={"waiting": {"b": 3}}).waiting == {"b": 3}
