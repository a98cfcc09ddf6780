"""`spec.budget` on a cluster: what the operator counts, what it stops, and that a raised limit goes on."""

from moaa.api.status import MoAAStatus
from moaa.contract.answers import ShardAnswer
from moaa.contract.checks import Took
from moaa.plan.budget.spent import Tokens
from moaa_operator.observe.progress import PodFigures
from moaa_operator.tell.events import Event, between
from tests.operator_helpers import SHORT, Cluster, Object, pod_of, until


def say(cluster: Cluster, item: Object, tokens: int) -> None:
    """The one pod of the Job runs, and says what its calls have cost."""
    pod = pod_of(cluster, item, {"phase": "Running"})
    item["status"] = {}
    cluster.figures[pod["metadata"]["uid"]] = PodFigures(done=1, total=10, tokens={"a": Tokens(tokens, 0)})


def test_at_the_limit_the_job_goes_and_a_raised_limit_makes_it_again() -> None:
    cluster = Cluster(spec__budget={"tokens": 100_000}, **SHORT)
    item = until(cluster, "i1-generate")
    say(cluster, item, 99_999)
    cluster.settle()
    assert cluster.running() == [item], "within the limit"
    say(cluster, item, 100_001)
    cluster.settle()
    assert cluster.running() == []
    assert cluster.of("Deployment") == [], "no GPU is held"
    assert cluster.phase == "Waiting"
    told = cluster.condition("BudgetExhausted")
    assert told is not None
    assert "spec.budget.tokens allows 100,000 tokens, and 100,001 tokens are spent" in told["message"]
    assert "Left to do: 3 stages" in told["message"]
    for kind in ("Stalled", "Succeeded"):
        said = cluster.condition(kind)
        assert said is not None
        assert said["reason"] == "BudgetExhausted"
    cluster.wait(3600)
    cluster.settle()
    assert cluster.running() == [], "it stays so"
    cluster.edit(spec__budget={"tokens": 1_000_000}, **SHORT)
    again = until(cluster, "i1-generate")
    assert again["metadata"]["annotations"]["moaa.dev/attempt"] == "2"
    cluster.run()
    assert cluster.phase == "Succeeded"
    assert cluster.condition("BudgetExhausted") is None


def test_a_stage_whose_estimate_is_too_large_gets_no_server() -> None:
    cluster = Cluster(spec__budget={"perIteration": {"tokens": 100}}, **SHORT)
    for _ in range(10):
        cluster.settle()
        cluster.work_all()
    assert cluster.of("Deployment") == []
    assert [stage for stage in cluster.done if stage.startswith("i1")] == []
    told = cluster.condition("BudgetExhausted")
    assert told is not None
    assert "i1-generate is estimated to take" in told["message"]


def test_gpu_time_runs_while_an_attempt_works_and_stays_when_the_stage_is_done() -> None:
    cluster = Cluster(**SHORT)
    until(cluster, "i1-generate")
    cluster.settle()
    held = 6
    cluster.wait(100)
    cluster.settle()
    for item in cluster.running():
        cluster.work(item)
    cluster.settle()
    cluster.work_all()
    cluster.settle()
    spent = {entry["stage"]: entry["gpuSeconds"] for entry in cluster.status["spent"]}
    assert spent["i1-generate"] == held * 100


def test_shards_that_are_published_count_by_their_last_words() -> None:
    cluster = Cluster(spec__budget={"tokens": 10_000_000}, **SHORT)
    item = until(cluster, "i1-generate")
    words = ShardAnswer(prompt_spent={"a": 5, "b": 7}, completion_spent={"a": 11}).model_dump_json(by_alias=True)
    cluster.end(item, message=words)
    cluster.settle()
    cluster.work_all()
    cluster.settle()
    (spent,) = [entry for entry in cluster.status["spent"] if entry["stage"] == "i1-generate"]
    assert {t["model"]: (t["prompt"], t["completion"]) for t in spent["tokens"]} == {"a": (5, 11), "b": (7, 0)}


# A status that is lost


def lose(cluster: Cluster) -> None:
    """The status goes, and what this run made of its stages is in their manifests: 50 seconds each, 100 tokens."""
    cluster.document.pop("status")
    for fingerprint, result in cluster.manifests.items():
        tokens = {"a": 100} if result.stage == "i1-generate" else {}
        cluster.took[fingerprint] = Took(stage=result.stage, seconds=50, prompt_spent=tokens)


def forget_children(cluster: Cluster) -> None:
    """Nothing is left in the cluster, as after a backup was brought back."""
    for item in [*cluster.of("Job"), *cluster.of("RayJob"), *cluster.of("ConfigMap")]:
        if (item["kind"], item["metadata"]["name"]) in cluster.objects:
            cluster.delete(item["kind"], item["metadata"]["name"])


def generated() -> Cluster:
    """`i1-generate` took 100 seconds of six GPUs and is done; `i1-sft` is at work."""
    cluster = Cluster(**SHORT)
    until(cluster, "i1-generate")
    cluster.settle()
    cluster.wait(100)
    until(cluster, "i1-sft")
    return cluster


def spent_of(cluster: Cluster, stage: str) -> Object:
    (found,) = [dict(entry) for entry in cluster.document["status"].get("spent", ()) if entry["stage"] == stage]
    return found


def test_the_account_of_a_lost_status_is_found_again_in_the_manifests() -> None:
    cluster = generated()
    forget_children(cluster)
    lose(cluster)
    said: list[Event] = []
    for _ in range(20):
        before = MoAAStatus.model_validate(cluster.document.get("status") or {})
        said += between(before, cluster.step().status)
        cluster.work_all()
    again = spent_of(cluster, "i1-generate")
    assert again["gpuSeconds"] == 6 * 50, "by its manifest"
    assert again["tokens"] == [{"model": "a", "prompt": 100}]
    assert again["isLeast"]
    assert cluster.document["status"]["cost"]["isLeast"]
    (event,) = [event for event in said if event.reason == "AccountRecounted"]
    assert "the status had lost what i1-generate took" in event.message


def test_a_limit_that_was_reached_holds_after_the_status_is_lost() -> None:
    cluster = Cluster(spec__budget={"tokens": 100_000}, **SHORT)
    say(cluster, until(cluster, "i1-generate"), 100_001)
    cluster.settle()
    (key,) = [e["fingerprint"] for e in cluster.status["attempts"] if e["stage"] == "i1-generate"]
    cluster.edit(spec__budget={"tokens": 10_000_000}, **SHORT)
    cluster.work(until(cluster, "i1-generate"))
    until(cluster, "i1-sft")
    assert cluster.manifests[key].stage == "i1-generate"
    forget_children(cluster)
    lose(cluster)
    cluster.took[key] = Took(stage="i1-generate", seconds=50, prompt_spent={"a": 100_001})
    cluster.edit(spec__budget={"tokens": 100_000}, **SHORT)
    for _ in range(20):
        cluster.settle()
        cluster.work_all()
    assert cluster.document["status"]["cost"]["left"]["tokens"] == -1


def test_what_runs_when_the_status_is_lost_counts_from_its_beginning() -> None:
    cluster = Cluster(**SHORT)
    until(cluster, "i1-generate")
    cluster.settle()
    cluster.wait(100)
    lose(cluster)
    cluster.settle()
    (entry,) = [e for e in cluster.status["attempts"] if e["stage"] == "i1-generate"]
    assert entry["atWorkSince"].startswith("2026-01-01T00:00:00"), "since its Job was made"
    assert "spent" not in cluster.document["status"], "nothing is missing of a first attempt"


def test_an_attempt_that_ended_before_the_status_was_lost_counts_to_its_end() -> None:
    cluster = generated()
    cluster.wait(3600)
    lose(cluster)
    cluster.settle()
    assert spent_of(cluster, "i1-generate")["gpuSeconds"] == 6 * 100
    assert "isLeast" not in spent_of(cluster, "i1-generate")


def test_attempts_that_only_the_lost_status_knew_are_said_to_be_missing() -> None:
    cluster = Cluster(**SHORT)
    cluster.end(until(cluster, "i1-generate"), code=1, message="a crash")
    cluster.settle()
    cluster.wait(3600)
    until(cluster, "i1-generate")
    lose(cluster)
    cluster.settle()
    assert spent_of(cluster, "i1-generate")["isLeast"]
    assert "isLeast" in cluster.document["status"]["cost"]


def test_a_stage_whose_account_is_there_is_not_counted_twice() -> None:
    cluster = generated()
    before = spent_of(cluster, "i1-generate")
    for fingerprint, result in cluster.manifests.items():
        cluster.took[fingerprint] = Took(stage=result.stage, seconds=150)
    cluster.edit(spec__seed=7, **SHORT)
    for _ in range(10):
        cluster.settle()
        if "i1-generate" not in cluster.done:
            break
        cluster.work_all()
    assert "i1-generate" not in cluster.done
    forget_children(cluster)
    cluster.edit(**SHORT)
    for _ in range(10):
        cluster.settle()
        cluster.work_all()
    (again,) = [e for e in cluster.document["status"]["spent"] if e["fingerprint"] == before["fingerprint"]]
    assert before["gpuSeconds"] == 600
    assert again["gpuSeconds"] == 6 * 150, "the manifest knows of more"
    assert "isLeast" not in again
