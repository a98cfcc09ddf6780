"""`spec.budget` on a cluster: what the operator counts, what it stops, and that a raised limit goes on."""

from moaa.contract.answers import ShardAnswer
from moaa.plan.budget.spent import Tokens
from moaa_operator.observe.progress import PodFigures
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
