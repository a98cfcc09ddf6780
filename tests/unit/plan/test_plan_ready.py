"""Decisions of an executor, first by example, then against every order of events that hypothesis can think of."""

from collections.abc import Coroutine
from typing import Any, NamedTuple, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from moaa.api import MoAA
from moaa.plan.fingerprint import identify
from moaa.plan.graph import build
from moaa.plan.history.repeats import IterationRecord
from moaa.plan.history.survey import survey
from moaa.plan.ids import stage_id
from moaa.plan.kinds.table import TRAINING
from moaa.plan.ready import (
    Failure,
    World,
    decide,
    next_in_turn,
    servers_ahead,
    servers_needed,
)
from moaa.plan.result import Identity, StageResult
from moaa.plan.stage import Graph, Kind, Stage
from tests.plan_helpers import finish, resource, run_all

T = TypeVar("T")


def started(owner: MoAA, done: list[str], **world: Any) -> list[str]:
    results = run_all(owner)[0]
    known = {name: results[name] for name in done}
    return [identity.stage.id for identity in decide(build(owner), owner, World(known, **world)).start]


def up_to(owner: MoAA, last: str) -> list[str]:
    ids = list(build(owner).stages)
    return ids[: ids.index(last) + 1]


def test_a_new_run_starts_with_resolve() -> None:
    assert started(resource(), []) == ["i0-resolve"]


def test_stages_that_do_not_need_one_another_start_together() -> None:
    assert started(resource(), up_to(resource(), "i0-stage-data")) == ["i0-evaluate", "i1-generate"]
    assert started(resource(), up_to(resource(), "i1-sft")) == ["i1-evaluate-sft", "i1-sample"]


def test_a_finished_run_has_nothing_to_start() -> None:
    decision = decide(build(resource()), resource(), World(run_all(resource())[0]))
    assert decision.is_finished
    assert not decision.is_stuck
    assert decision.start == ()
    assert decision.stop == ()
    assert decision.waiting == {}


def test_what_runs_is_not_started_again() -> None:
    owner = resource()
    identity = identify(build(owner).stages["i0-resolve"], owner, {})
    assert identity is not None
    decision = decide(build(owner), owner, World({}, running={"i0-resolve": identity.fingerprint}))
    assert decision.start == ()
    assert decision.waiting["i0-stage-data"] == "needs i0-resolve"


def test_waiting_names_the_nearest_stages_only() -> None:
    results = run_all(resource())[0]
    done = {name: results[name] for name in up_to(resource(), "i0-evaluate")}
    decision = decide(build(resource()), resource(), World(done))
    assert decision.waiting["i1-dpo"] == "needs i1-judge"
    assert decision.waiting["i1-promote"] == "needs i1-evaluate-sft, i1-evaluate-dpo"


def test_an_edit_stops_what_it_changes_and_starts_it_anew_afterwards() -> None:
    before, after = resource(), resource(spec__mixture__aggregator__temperature="0.1")
    old = run_all(before)[1]["i1-generate"].fingerprint
    results = {name: run_all(after)[0][name] for name in up_to(after, "i0-evaluate")}
    decision = decide(build(after), after, World(results, running={"i1-generate": old}))
    assert decision.stop == ("i1-generate",)
    assert decision.start == ()
    assert decision.waiting["i1-generate"] == "its running attempt is being stopped"
    assert [i.stage.id for i in decide(build(after), after, World(results)).start] == ["i1-generate"]


def test_suspend_stops_everything_and_starts_nothing() -> None:
    owner = resource(spec__suspend=True)
    identity = identify(build(owner).stages["i0-resolve"], owner, {})
    assert identity is not None
    decision = decide(build(owner), owner, World({}, running={"i0-resolve": identity.fingerprint}))
    assert decision.stop == ("i0-resolve",)
    assert decision.start == ()
    assert not decision.is_stuck


@pytest.mark.parametrize(
    ("failure", "is_stuck", "text"),
    [
        (Failure(1, is_permanent=False, error="boom"), False, ""),
        (Failure(3, is_permanent=False, error="boom"), False, ""),
        (Failure(4, is_permanent=False, error="boom"), True, "4 attempts failed, the last with: boom"),
        (Failure(1, is_permanent=True, error="no such file"), True, "no such file"),
    ],
)
def test_attempts_are_bounded_by_retries(failure: Failure, is_stuck: bool, text: str) -> None:
    owner = resource(spec__failures={"retries": 3})
    identity = identify(build(owner).stages["i0-resolve"], owner, {})
    assert identity is not None
    decision = decide(build(owner), owner, World({}, failures={identity.fingerprint: failure}))
    assert decision.is_stuck is is_stuck
    assert dict(decision.failed) == ({"i0-resolve": text} if is_stuck else {})
    assert decision.waiting["i0-stage-data"] == ("i0-resolve has failed" if is_stuck else "needs i0-resolve")


def test_the_only_attempt_is_told_as_it_failed() -> None:
    owner = resource(spec__failures={"retries": 0})
    identity = identify(build(owner).stages["i0-resolve"], owner, {})
    assert identity is not None
    failures = {identity.fingerprint: Failure(1, is_permanent=False, error="boom")}
    assert dict(decide(build(owner), owner, World({}, failures=failures)).failed) == {"i0-resolve": "boom"}


def test_a_failed_report_does_not_hold_back_training() -> None:
    owner = resource()
    results, identities = run_all(owner)
    done = {name: results[name] for name in up_to(owner, "i0-stage-data")}
    failures = {identities["i0-evaluate"].fingerprint: Failure(1, is_permanent=True, error="x")}
    decision = decide(build(owner), owner, World(done, failures=failures))
    assert [i.stage.id for i in decision.start] == ["i1-generate"]
    assert not decision.is_stuck


def test_endpoints_need_no_server_of_ours() -> None:
    endpoint = {"name": "a", "endpoint": {"url": "https://x/v1", "model": "m"}}
    owner = resource(spec__models__0=endpoint)
    assert servers_needed([build(owner).stages["i1-generate"]], owner) == ("b", "agg")


def test_servers_stay_up_for_what_comes_before_the_next_training() -> None:
    owner = resource()
    graph, (results, _) = build(owner), run_all(owner)
    before_sft = {name: results[name] for name in up_to(owner, "i1-generate")}
    after_sft = {name: results[name] for name in up_to(owner, "i1-evaluate-sft")}
    assert servers_ahead(graph, owner, before_sft) == ()
    assert servers_ahead(graph, owner, after_sft) == ("@i1-sft", "agg", "a", "b")


def test_in_turn_goes_round_in_the_order_of_need() -> None:
    stage = Stage("i1-generate", Kind.GENERATE, 1, serves=("a", "b", "agg"))
    assert next_in_turn(stage, {"a": 1, "b": 1}, None) == "a"
    assert next_in_turn(stage, {"b": 1, "agg": 1}, "a") == "b"
    assert next_in_turn(stage, {"a": 1, "agg": 1}, "b") == "agg"
    assert next_in_turn(stage, {"a": 1}, "agg") == "a"
    assert next_in_turn(stage, {"b": 2}, "b") == "b"
    assert next_in_turn(stage, {"a": 0}, "b") is None


def now(work: Coroutine[Any, Any, T]) -> T:
    """The value of a coroutine that never waits."""
    try:
        work.send(None)
    except StopIteration as stop:
        value: T = stop.value
        return value
    raise AssertionError("it waits")


EDITS: list[dict[str, Any]] = [
    {},
    {"spec__mixture__aggregator__temperature": "0.1"},
    {"spec__training__dpo": {"beta": "0.5"}},
    {"spec__data__sft__0__limit": 3},
    {"spec__training__dpo": None, "spec__data__preference": None},
    {"spec__evaluation": None},
    {"spec__models__0__serving": {"replicas": 3}},
    {"spec__iterations": 1},
    {"spec__iterations": 3, "spec__mixture__addStudent": True},
]
RETRIES = 1


class Started(NamedTuple):
    """An attempt, and the resource that its job was told of: a later edit does not reach it."""

    identity: Identity
    attempt: int
    owner: MoAA


class Executor(RuleBasedStateMachine):
    """A store, an executor that may die at any moment, jobs that may end in any way and at any time, and a user who
    edits. Zombies are attempts that nobody watches any more but that still run."""

    def __init__(self) -> None:
        super().__init__()
        self.edit: dict[str, Any] = {}
        self.suspended = False
        self.manifests: dict[str, StageResult] = {}
        self.made: dict[str, int] = {}
        self.attempts: dict[str, int] = {}
        self.running: dict[str, Started] = {}
        self.zombies: list[Started] = []
        self.failures: dict[str, Failure] = {}
        self.records: dict[int, IterationRecord] = {}
        self.owner = resource()
        self.graph: Graph = build(self.owner)
        self.results: dict[str, StageResult] = {}

    @initialize(edit=st.sampled_from(EDITS))
    def begin(self, edit: dict[str, Any]) -> None:
        self.change(edit=edit)

    @rule(edit=st.sampled_from(EDITS))
    def change(self, edit: dict[str, Any]) -> None:
        self.edit = edit
        self._reread()

    @rule()
    def suspend_or_go_on(self) -> None:
        self.suspended = not self.suspended
        self._reread()

    def _reread(self) -> None:
        changes = {"spec__iterations": 2, "spec__failures": {"retries": RETRIES}, "spec__suspend": self.suspended}
        self.owner = resource(**{**changes, **self.edit})

    @rule()
    def look_and_act(self) -> None:
        decision_owner = self.owner

        async def look_up(identity: Identity) -> StageResult | None:
            return self.manifests.get(identity.path)

        self.graph, self.results = now(survey(build(decision_owner), decision_owner, look_up, records=self.records))
        running = {name: job.identity.fingerprint for name, job in self.running.items()}
        decision = decide(self.graph, decision_owner, World(self.results, running=running, failures=self.failures))
        for name in decision.stop:
            self.zombies.append(self.running.pop(name))
        for identity in decision.start:
            self._start(identity)
        assert not (decision.is_finished and decision.start)
        accounted = {*self.results, *decision.waiting, *decision.failed, *self.running}
        assert accounted >= set(self.graph.stages)

    def _start(self, identity: Identity) -> None:
        stage = identity.stage
        assert not self.suspended
        assert identity.path not in self.manifests, "a stage with a manifest is never run again"
        assert set(stage.needs) <= set(self.results), "nothing starts before its inputs"
        assert identify(stage, self.owner, self.results) == identity
        assert stage.iteration not in self._closed(), "a closed iteration is never reopened"
        assert stage.id not in self.running
        self.attempts[identity.path] = self.attempts.get(identity.path, 0) + 1
        self.running[stage.id] = Started(identity, self.attempts[identity.path], self.owner)

    def _closed(self) -> set[int]:
        return {i for i, record in self.records.items() if record.is_closed}

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def a_job_finishes(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.running)))
        self._publish(self.running.pop(name))

    @rule(cycles=st.integers(1, 12))
    def all_goes_well_for_a_while(self, cycles: int) -> None:
        """So that later iterations are reached too."""
        for _ in range(cycles):
            self.look_and_act()
            for name in list(self.running):
                self._publish(self.running.pop(name))

    def _publish(self, job: Started) -> None:
        """Put-if-absent behind the fence."""
        identity = job.identity
        if job.attempt < self.attempts[identity.path] or identity.path in self.manifests:
            return
        result = finish(identity, job.owner)
        self.manifests[identity.path] = result
        self.made[identity.path] = self.made.get(identity.path, 0) + 1
        self._record(identity, result)

    def _record(self, identity: Identity, result: StageResult) -> None:
        """The executor writes what it sees under the present resource; the record of a closed iteration is final."""
        i = identity.stage.iteration
        if i == 0 or i in self._closed() or self.results.get(identity.stage.id) not in (None, result):
            return
        known = {
            name: r for name, r in self.results.items() if name in self.graph.stages and self._iteration(name) == i
        }
        if identify(identity.stage, self.owner, self.results) == identity:
            self.records[i] = IterationRecord(iteration=i, stages={**known, identity.stage.id: result})

    def _iteration(self, name: str) -> int:
        return self.graph.stages[name].iteration

    @precondition(lambda self: self.running)
    @rule(data=st.data(), permanent=st.booleans())
    def a_job_fails(self, data: st.DataObject, permanent: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self.running)))
        identity = self.running.pop(name).identity
        self._fail(identity, permanent=permanent)

    def _fail(self, identity: Identity, *, permanent: bool) -> None:
        earlier = self.failures.get(identity.fingerprint)
        attempts = (earlier.attempts if earlier else 0) + 1
        self.failures[identity.fingerprint] = Failure(attempts, permanent, "boom")

    @rule()
    def the_executor_dies(self) -> None:
        self.zombies += self.running.values()
        self.running, self.failures, self.results = {}, {}, {}

    @precondition(lambda self: self.zombies)
    @rule(data=st.data())
    def a_zombie_finishes(self, data: st.DataObject) -> None:
        self._publish(self.zombies.pop(data.draw(st.integers(0, len(self.zombies) - 1))))

    @invariant()
    def nothing_is_made_twice(self) -> None:
        assert all(count == 1 for count in self.made.values())

    @invariant()
    def one_training_at_a_time(self) -> None:
        assert sum(job.identity.stage.kind in TRAINING for job in self.running.values()) <= 1

    def teardown(self) -> None:
        """From any state, when jobs go well from now on, the run ends within as many steps as it has stages."""
        self.suspended = False
        self._reread()
        for _ in range(len(build(self.owner).stages) + 2):
            self.look_and_act()
            for name in list(self.running):
                self._publish(self.running.pop(name))
        decision = decide(self.graph, self.owner, World(self.results, failures=self.failures))
        assert decision.is_finished or decision.is_stuck
        assert decision.is_finished or any(
            failure.is_permanent or failure.attempts > RETRIES for failure in self.failures.values()
        )
        if decision.is_finished:
            last = stage_id(self.owner.spec.iterations, Kind.PROMOTE)
            assert last in self.results


TestExecutor = Executor.TestCase
TestExecutor.settings = settings(max_examples=25, stateful_step_count=40, deadline=None)


def test_a_run_whose_jobs_always_fail_ends() -> None:
    machine = Executor()
    machine.begin({})
    for _ in range(RETRIES + 1):
        machine.look_and_act()
        assert machine.running
        for name in list(machine.running):
            machine._fail(machine.running.pop(name)[0], permanent=False)
    machine.look_and_act()
    assert not machine.running
    assert decide(machine.graph, machine.owner, World({}, failures=machine.failures)).is_stuck
