"""Whatever happens, in whatever order: no attempt twice, nothing lost, and every run comes to its end."""

import json
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from moaa_operator.kube.owner import ATTEMPT_ANNOTATION, FINGERPRINT_ANNOTATION, ROLE_LABEL, STAGE_LABEL
from tests.operator_helpers import SHORT, Cluster, Object

STAGES = ["i0-resolve", "i0-stage-data", "i1-generate", "i1-sft", "i1-promote"]
EDITS: list[dict[str, Any]] = [
    {},
    {"spec__failures": {"retries": 1}},
    {"spec__seed": 7},
    {"spec__mixture__aggregator": {"model": "agg", "temperature": "0.1"}},
    {"spec__training__sft": {"epochs": "2"}},
    {"spec__serving": {"schedule": "InTurn"}},
]
ENDS = [(1, "crash"), (64, "no such thing"), (75, ""), (137, "")]


class Runs(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.cluster = Cluster(spec__failures={"retries": 2}, **SHORT)
        self.edit: dict[str, Any] = {"spec__failures": {"retries": 2}}
        self.is_suspended = False
        self.has_forgotten = False
        """The status was lost: what was done may be found again or done again."""
        self.done: set[str] = set()
        """Fingerprints that have been in the status as done."""

    @initialize()
    def begin(self) -> None:
        self.cluster.step()

    @rule(dies=st.sampled_from(["", "", "apply", "status"]))
    def look(self, dies: str) -> None:
        before = set(self.cluster.created)
        self.cluster.step(dies=dies)
        new = [name for name in self.cluster.created if name not in before]
        for item in self.cluster.running():
            if item["metadata"]["name"] in new and not self.has_forgotten:
                fingerprint = item["metadata"]["annotations"].get(FINGERPRINT_ANNOTATION)
                assert fingerprint not in self.done, "a stage that is done runs again"
        if dies == "":
            self._at_most_one_each()

    @rule()
    def servers_come(self) -> None:
        self.cluster.servers_answer()

    @precondition(lambda self: self.cluster.running())
    @rule(data=st.data())
    def one_works(self, data: st.DataObject) -> None:
        self.cluster.work(data.draw(st.sampled_from(self.cluster.running())))

    @precondition(lambda self: self.cluster.running())
    @rule(data=st.data(), end=st.sampled_from(ENDS), calls=st.integers(0, 1))
    def one_fails(self, data: st.DataObject, end: tuple[int, str], calls: int) -> None:
        code, error = end
        said: Object = {"error": error, "permanent": code == 64} if error else {"waiting": {"a": 1}, "calls": calls}
        self.cluster.end(data.draw(st.sampled_from(self.cluster.running())), code=code, message=json.dumps(said))

    @precondition(lambda self: self.cluster.running())
    @rule(data=st.data())
    def one_vanishes(self, data: st.DataObject) -> None:
        item = data.draw(st.sampled_from(self.cluster.running()))
        self.cluster.delete(item["kind"], item["metadata"]["name"])

    @rule(edit=st.sampled_from(EDITS))
    def somebody_edits(self, edit: dict[str, Any]) -> None:
        self.edit = edit
        self.cluster.edit(**{**SHORT, **edit, "spec__suspend": self.is_suspended})

    @rule()
    def somebody_suspends_or_resumes(self) -> None:
        self.is_suspended = not self.is_suspended
        self.cluster.edit(**{**SHORT, **self.edit, "spec__suspend": self.is_suspended})

    @rule()
    def the_status_is_lost(self) -> None:
        self.cluster.document.pop("status", None)
        self.has_forgotten = True

    @rule(minutes=st.sampled_from([1, 45, 90]))
    def time_passes(self, minutes: int) -> None:
        self.cluster.wait(60 * minutes)

    @invariant()
    def attempts_are_bounded(self) -> None:
        for entry in self.cluster.status.get("attempts", ()):
            if entry["stage"] not in ("preflight", "inspect"):
                assert entry["failures"] <= 4

    @invariant()
    def remember(self) -> None:
        self.done |= {entry["fingerprint"] for entry in self.cluster.status.get("stages", ())}

    def _at_most_one_each(self) -> None:
        """Of a stage under one fingerprint one child works; nothing runs while suspended."""
        working = [i for i in self.cluster.running() if i["metadata"]["labels"][ROLE_LABEL] in ("stage", "finalise")]
        keys = [(i["metadata"]["labels"][STAGE_LABEL], i["metadata"]["labels"][ROLE_LABEL]) for i in working]
        assert len(set(keys)) == len(keys), sorted(i["metadata"]["name"] for i in working)
        numbers = {(k, i["metadata"]["annotations"][ATTEMPT_ANNOTATION]) for k, i in zip(keys, working, strict=True)}
        assert len(numbers) == len(working)
        if self.is_suspended:
            assert self.cluster.running() == []
            assert self.cluster.of("Deployment") == []

    def teardown(self) -> None:
        """When nothing goes wrong any more, the run ends well."""
        self.cluster.edit(**SHORT)
        self.cluster.run()
        assert self.cluster.phase == "Succeeded"
        assert self.cluster.done == STAGES
        assert self.cluster.of("Deployment") == []


Runs.TestCase.settings = settings(
    max_examples=15, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
TestRuns = Runs.TestCase
