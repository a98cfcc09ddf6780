"""Jobs of stages and checks: the fields that matter."""

import pytest

from moaa.contract.job import StageJob
from moaa.errors import StageError
from moaa.plan.stage import Kind
from moaa_operator.kube.owner import Check, Role
from moaa_operator.render.attempt import secrets_of
from tests.plan_helpers import resource
from tests.render_world import (
    MOAA,
    SETTINGS,
    bound,
    container,
    environment,
    finalise,
    find,
    job_of,
    stage,
)


def test_a_stage_without_shards_is_one_pod() -> None:
    job = find(stage("i0-stage-data"), "Job")["spec"]
    assert "completionMode" not in job
    assert job["backoffLimit"] == 2
    assert job["template"]["spec"]["restartPolicy"] == "Never"
    assert "ttlSecondsAfterFinished" not in job
    assert job["activeDeadlineSeconds"] > 0


def test_a_stage_with_shards_is_one_pod_each() -> None:
    manifest = find(stage("i1-generate", shards=9), "Job")
    job = manifest["spec"]
    assert (job["completionMode"], job["completions"], job["parallelism"]) == ("Indexed", 9, 4)
    assert "backoffLimit" not in job
    assert job["maxFailedIndexes"] <= job["completions"]
    assert job["podReplacementPolicy"] == "Failed"
    told = environment(container(manifest, "job"))
    assert "job-completion-index" in told["MOAA_SHARD"]["fieldRef"]["fieldPath"]


@pytest.mark.parametrize(
    ("shards", "code", "action"),
    [(None, 64, "FailJob"), (None, 75, "FailJob"), (9, 64, "FailJob"), (9, 69, "FailIndex"), (9, 75, "FailIndex")],
)
def test_exit_codes_decide_what_a_failed_pod_means(shards: int | None, code: int, action: str) -> None:
    rules = find(stage("i1-generate", shards=shards), "Job")["spec"]["podFailurePolicy"]["rules"]
    (found,) = [rule["action"] for rule in rules if code in rule.get("onExitCodes", {}).get("values", [])]
    assert found == action
    assert rules[0]["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    assert rules[0]["action"] == "Ignore"


def test_a_job_reads_its_file_and_says_where_it_is() -> None:
    children = stage("i1-generate", shards=2)
    file, job = find(children, "ConfigMap"), find(children, "Job")
    assert file["immutable"] is True
    assert StageJob.model_validate_json(file["data"]["job.json"]) == job_of("i1-generate", MOAA)
    one = container(job, "job")
    assert one["command"] == ["python", "-m", "moaa_jobs", "--job", "/etc/moaa/job.json"]
    volumes = job["spec"]["template"]["spec"]["volumes"]
    assert {"name": "job", "configMap": {"name": file["metadata"]["name"]}} in volumes
    assert environment(one)["MOAA_TERMINATION_LOG"] == "/dev/termination-log"
    assert environment(one)["MOAA_PROGRESS_PORT"] == str(one["ports"][0]["containerPort"])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("i0-resolve", {"MOAA_SECRET_HUB_TOKEN"}),
        ("i0-stage-data", {"MOAA_SECRET_HUB_TOKEN"}),
        ("i1-generate", {"MOAA_SECRET_HUB_TOKEN", "MOAA_SECRET_X_K"}),
    ],
)
def test_a_stage_gets_only_the_secrets_it_needs(name: str, expected: set[str]) -> None:
    told = environment(container(find(stage(name), "Job"), "job"))
    assert {variable for variable in told if variable.startswith("MOAA_SECRET_")} == expected


def test_a_secret_header_of_an_endpoint_goes_to_the_stages_that_call_it() -> None:
    headers = [{"name": "api-key", "secret": {"name": "azure", "key": "key"}}, {"name": "X-Title", "value": "t"}]
    endpoint = {"url": "https://x/v1", "model": "m", "secret": {"name": "x", "key": "k"}, "headers": headers}
    declared = resource(spec__models__0={"name": "a", "endpoint": endpoint})
    found = [(secret.name, secret.key) for secret in secrets_of(declared, Kind.GENERATE)]
    assert found == [("x", "k"), ("azure", "key")]
    assert secrets_of(declared, Kind.STAGE_DATA) == []


def test_finalise_is_light_and_has_no_model_secret() -> None:
    one = container(find(finalise("i1-generate"), "Job"), "job")
    assert one["resources"]["requests"]["memory"] == SETTINGS.light_memory
    assert not any(name.startswith("MOAA_SECRET_") or name == "MOAA_SHARD" for name in environment(one))
    assert one["image"] == SETTINGS.jobs_image
    assert container(find(finalise("i1-sft"), "Job"), "job")["image"] == SETTINGS.train_image


@pytest.mark.parametrize("role", [Role.INSPECT, Role.PREFLIGHT])
def test_checks_are_light_jobs_of_their_own_command(role: Check) -> None:
    children = bound().check(job_of("i0-resolve", MOAA), role, attempt=2)
    assert container(find(children, "Job"), "job")["command"][2:4] == ["moaa_jobs", str(role)]


def test_a_job_file_that_no_config_map_holds_is_an_error() -> None:
    job = job_of("i1-generate", MOAA).model_copy(update={"document": {"x": "y" * 1_100_000}})
    with pytest.raises(StageError, match="more than the 1024000 of a ConfigMap"):
        bound().stage(job, attempt=1, shards=1)
