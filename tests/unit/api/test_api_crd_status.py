"""The status: bounded, readable by older operators, and enough for the plan."""

from datetime import UTC, datetime
from typing import Any

from moaa.api.status import MAX_STAGES, ClosedIteration, MoAAStatus, Phase, StageStatus
from moaa.plan.result import StageResult
from moaa.plan.stage import Kind
from moaa_operator.tell.results import results_of, stage_status
from moaa_operator.tell.status import document
from tests.crd_server import admit, places, refused, root_schema
from tests.plan_helpers import tree
from tests.unit.report_world import finished_run

STATUS: dict[str, Any] = {
    "observedGeneration": 2,
    "phase": "Running",
    "iteration": "1/3",
    "stage": "i1-generate",
    "progress": "61 % · 12 min left",
    "score": "0.41 ± 0.03",
    "conditions": [
        {
            "type": "Succeeded",
            "status": "Unknown",
            "reason": "StageRunning",
            "message": "i1-generate: 610 of 1000 rows",
            "observedGeneration": 2,
            "lastTransitionTime": "2026-01-02T03:04:05Z",
        }
    ],
    "stages": [
        {
            "stage": "i0-stage-data",
            "kind": "stage-data",
            "inputs": "a" * 64,
            "fingerprint": "b" * 64,
            "attempt": 1,
            "outputs": [{"name": "sft-0", "digest": "c" * 64, "rows": 7}],
        }
    ],
    "attempts": [
        {
            "stage": "i1-generate",
            "fingerprint": "e" * 64,
            "attempt": 2,
            "step": "Work",
            "since": "2026-01-02T03:04:05Z",
            "failures": 1,
            "reason": "BackoffLimitExceeded",
            "message": "shard 3: exit code 1",
            "isChecked": True,
            "generation": 2,
        }
    ],
    "work": {
        "rows": 610,
        "rowsTotal": 1000,
        "failedRows": 1,
        "tokensPerSecond": 620,
        "secondsLeft": 720,
    },
    "repeating": [{"stage": "i1-sft", "why": "training.epochs 6 → 9"}],
    "promoted": {"digest": "d" * 64},
    "history": [
        {"iteration": 1, "stage": "i1-dpo", "score": "0.41", "why": "a gain", "closed": "2026-01-02T03:04:05Z"}
    ],
}


def test_a_status_goes_in_and_comes_out_again() -> None:
    assert refused({**tree(), "status": STATUS}) == []
    status = MoAAStatus.model_validate({**STATUS, "added": "by a newer operator"})
    assert status.conditions[0].last_transition_time == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert document(status) == STATUS


def test_what_has_its_default_is_neither_written_nor_added_by_the_server() -> None:
    assert document(MoAAStatus(phase=Phase.PENDING)) == {"phase": "Pending"}
    assert admit({**tree(), "status": STATUS})[0]["status"] == STATUS
    assert not [path for path, schema in places(root_schema()) if path.startswith(".status") and "default" in schema]


def test_a_status_holds_what_the_plan_needs_of_a_stage() -> None:
    for_people = {"decision"}  # it goes into the history of iterations
    elsewhere = {"weights_gib"}  # it goes into the models
    assert set(StageStatus.model_fields) == set(StageResult.model_fields) - for_people - elsewhere


def test_a_status_keeps_the_sizes_of_models() -> None:
    models = {name: "0" * 64 for name in ("b", "a", "judge")}
    told = StageResult(
        stage="i0-resolve",
        kind=Kind.RESOLVE,
        inputs="1" * 64,
        fingerprint="2" * 64,
        models=models,
        weights_gib=[3, 0, 9],
    )
    kept = stage_status(told)
    assert {model.name: model.gib for model in kept.models} == {"a": 3, "b": 0, "judge": 9}
    assert results_of(MoAAStatus(stages=[kept]))["i0-resolve"] == told


def test_a_status_is_bounded() -> None:
    stage = STATUS["stages"][0]
    many = {**STATUS, "stages": [{**stage, "stage": f"i{i}-sft"} for i in range(MAX_STAGES + 1)]}
    assert [r.path for r in refused({**tree(), "status": many})] == ["status.stages"]


def test_a_long_decision_is_shortened_to_what_the_status_takes() -> None:
    made = next(stage.manifest for stage in finished_run().stages if stage.stage.id == "i1-promote")
    assert made is not None
    decision = made.with_(decision="because " * 200).result().decision
    assert decision.endswith("...")
    closed = ClosedIteration(iteration=1, why=decision, closed=datetime(2026, 1, 2, tzinfo=UTC))
    assert refused({**tree(), "status": document(MoAAStatus(history=[closed]))}) == []
