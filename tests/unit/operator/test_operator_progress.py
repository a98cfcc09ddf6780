"""Progress: what pods say becomes a line for people, and a pod that says nothing costs nothing."""

import json
import random
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from moaa.api.status import StageProgress
from moaa.contract.progress import Figures, read
from moaa_jobs.tell.progress_server import shown_on
from moaa_operator.kube.errors import Refused, error_of
from moaa_operator.kube.objects import Key, name_of
from moaa_operator.observe.poller import Poller, fetch, working_pods
from moaa_operator.observe.progress import PodFigures, combine, parse
from moaa_operator.tell.progress import column, sentence
from tests.operator_helpers import OWNER, SHORT, Cluster, until

Object = dict[str, Any]


def pod(done: int, total: int, stage: int = 0, **more: Any) -> PodFigures:
    return PodFigures(done=done, total=total, stage_total=stage, **more)


@pytest.mark.parametrize(
    ("pods", "shards", "finished", "expected"),
    [
        pytest.param([pod(41, 100)], 0, 0, (41, 100), id="one pod does it all"),
        pytest.param([pod(50, 100, 1000)], 10, 0, (50, 1000), id="the first of ten shards"),
        pytest.param([pod(50, 100, 950), pod(10, 100, 950)], 10, 4, (410, 950), id="two run, the short one is to come"),
        pytest.param([pod(25, 50, 950)], 10, 9, (925, 950), id="the short one is the last"),
        pytest.param([pod(50, 100, 950)], 10, 8, (800, 950), id="one runs and says nothing"),
        pytest.param([pod(5, 10)], 2, 0, (5, 20), id="a pod that does not know the stage"),
    ],
)  # fmt: skip
def test_rows_of_a_stage_from_its_pods(
    pods: list[PodFigures], shards: int, finished: int, expected: tuple[int, int]
) -> None:
    found = combine(pods, shards=shards, finished=finished)
    assert found is not None
    assert (found.rows, found.rows_total) == expected


def test_what_is_saved_counts_shards_that_are_done() -> None:
    found = combine([pod(50, 100, 400, saved=40), pod(10, 100, 400)], shards=4, finished=1)
    assert found is not None
    assert (found.rows, found.saved) == (160, 140)


def test_speeds_add_up_and_what_is_left_is_done_at_their_sum() -> None:
    pods = [pod(50, 100, 400, eta_s=500.0, tokens_per_s=612.0), pod(0, 100, 400, tokens_per_s=8.0)]
    found = combine(pods, shards=4, finished=1)
    assert found is not None
    assert (found.rows, found.tokens_per_second) == (150, 620)
    assert found.seconds_left == 2520  # 250 rows at one row in ten seconds, in whole minutes
    assert column(found) == "37 % (42 m)"


def test_training_is_counted_in_steps() -> None:
    said = {"step": 12, "steps": 48, "loss": 1.23456, "tokens_per_s": 5133.3, "eta_s": 7800, "rows_done": 7}
    found = combine([parse(said)])
    assert found == StageProgress(
        step=12, steps=48, loss="1.235", tokens_per_second=5100, seconds_left=7800, failed_rows=0
    )
    assert column(found) == "25 % (2 h 10 m)"


def test_before_there_is_a_number_there_are_words() -> None:
    found = combine([parse({"message": "tokenising 3 of 5 rows"})])
    assert found is not None
    assert column(found) == "tokenising 3 of 5 rows"
    assert combine([parse({})]) is None


@pytest.mark.parametrize(
    "said",
    [
        {"rows_done": -1, "rows_total": "9", "eta_s": float("nan"), "tokens_per_s": float("inf"), "loss": True},
        {"rows_done": True, "rows_total": 1e9, "message": ["x"], "steps": -4, "rows_stage": 2**60},
    ],
)
def test_what_is_no_figure_counts_as_not_said(said: Object) -> None:
    assert parse(said) == PodFigures()


def working(cluster: Cluster, stage: str) -> str:
    """The stage's Job has a pod that runs; its UID."""
    item = until(cluster, stage)
    item["status"] = {}
    owned = [{"uid": item["metadata"]["uid"]}]
    meta = {"name": f"p-{stage}", "namespace": OWNER.namespace, "uid": f"p-{stage}", "ownerReferences": owned}
    cluster.objects["Pod", f"p-{stage}"] = {"kind": "Pod", "metadata": meta, "status": {"phase": "Running"}}
    return f"p-{stage}"


def test_the_status_shows_how_far_the_stage_is() -> None:
    cluster = Cluster(**SHORT)
    uid = working(cluster, "i1-generate")
    cluster.figures = {uid: pod(4, 10, eta_s=60.0), "somebody else's": pod(9, 9)}
    cluster.settle()
    assert cluster.status["progress"] == "40 % (1 m)"
    assert (cluster.status["work"]["rows"], cluster.status["work"]["rowsTotal"]) == (4, 10)
    cluster.figures = {}
    cluster.run()
    assert "work" not in cluster.status
    assert "progress" not in cluster.status


def test_attempts_that_left_more_in_the_store_do_not_count() -> None:
    cluster = Cluster(spec__failures={"retries": 1}, **SHORT)
    saved = [20, 41, 60, 60]
    for attempt, percent in enumerate(saved, 1):
        uid = working(cluster, "i1-generate")
        (item,) = cluster.running()
        assert item["metadata"]["annotations"]["moaa.dev/attempt"] == str(attempt)
        cluster.figures = {uid: pod(99, 100, saved=percent)}
        cluster.settle()
        cluster.end(item, code=137)
        cluster.settle()
        cluster.wait(600)
    cluster.settle()
    assert cluster.phase == "Failed"
    assert "2 attempts failed" in str(cluster.condition("Succeeded"))


@pytest.mark.parametrize(("hours", "most"), [(1, 110), (10, 150)])
def test_a_status_is_written_when_progress_shows_and_not_for_every_answer(hours: int, most: int) -> None:
    cluster = Cluster(**SHORT)
    uid = working(cluster, "i1-generate")
    seconds, total, dice = 3600 * hours, 10_000_000, random.Random(0)
    written = [json.dumps(cluster.status)]
    for second in range(0, seconds, 30):
        left_s = (seconds - second) * dice.uniform(0.97, 1.03)
        speed = 5000 * dice.uniform(0.9, 1.1)
        cluster.figures = {uid: pod(total * second // seconds, total, eta_s=left_s, tokens_per_s=speed)}
        cluster.wait(30)
        cluster.step()
        written += [text] if (text := json.dumps(cluster.status)) != written[-1] else []
        assert cluster.status["progress"].startswith(f"{100 * second // seconds} %")
        minutes_off = abs(cluster.status["work"]["secondsLeft"] - left_s) / 60
        assert minutes_off < max(2, left_s / 60 / 5)
    assert 100 <= len(written) <= most


# Asking


RUN = ("team", "small")


def running(
    name: str, host: str = "127.0.0.1", *, phase: str = "Running", container: str = "job", owner: str = "job-1"
) -> Object:
    kind = "RayCluster" if owner == "cluster" else "Job"
    return {
        "metadata": {
            "name": name, "namespace": "team", "uid": name,
            "labels": {"moaa.dev/run": "small", "moaa.dev/role": "stage"},
            "ownerReferences": [{"kind": kind, "name": owner, "uid": owner}],
        },
        "spec": {"containers": [{"name": container}]},
        "status": {"phase": phase, "podIP": host},
    }  # fmt: skip


def owned(uid: str, owner: str, *, role: str = "stage", **status: str) -> Object:
    """A Job or RayJob of a MoAA."""
    meta = {"name": uid, "namespace": "team", "uid": uid, "labels": {"moaa.dev/run": "small", "moaa.dev/role": role}}
    return {"metadata": {**meta, "ownerReferences": [{"uid": owner}]}, "status": status}


def test_only_pods_down_the_owner_references_are_asked() -> None:
    objects = {
        "Job": [owned("job-1", "run-1"), owned("job-2", "another"), owned("job-3", "run-1", role="inspect")],
        "RayJob": [owned("ray-1", "run-1", rayClusterName="cluster")],
        "Pod": [
            running("works"),
            running("head", container="ray-head", owner="cluster"),
            running("pending", phase="Pending"),
            running("worker", container="ray-worker", owner="cluster"),
            running("of another run's job", owner="job-2"),
            running("of a check", owner="job-3"),
            running("of nobody", owner="made up"),
            {**running("bare"), "metadata": {**running("bare")["metadata"], "ownerReferences": []}},
        ],
    }  # fmt: skip
    assert [name_of(pod) for pod in working_pods("run-1", objects)] == ["works", "head"]
    assert list(working_pods("run-2", objects)) == []


def test_pods_that_work_are_asked_and_a_change_queues_their_run() -> None:
    figures = Figures(rows_done=1, rows_total=4)
    changed: list[tuple[str, str]] = []
    pods = [(RUN, running("works")), (RUN, running("head")), (RUN, running("silent", "127.0.0.2"))]
    with shown_on(0, lambda: figures, host="127.0.0.1") as port, ThreadPoolExecutor(4) as pool:
        assert port is not None
        poller = Poller(lambda: pods, changed.append, every_s=30, port=port)
        poller.ask(pool)
        assert poller.of(("team", "small")) == {"works": pod(1, 4), "head": pod(1, 4)}
        assert changed == [("team", "small")]
        poller.ask(pool)
        assert len(changed) == 1
        figures["rows_done"] = 2
        poller.ask(pool)
        assert len(changed) == 2
        pods[1][1]["status"]["podIP"] = "127.0.0.2"
        poller.ask(pool)
        assert poller.of(("team", "small"))["head"] == pod(2, 4)
        assert len(changed) == 2
        pods.clear()
        poller.ask(pool)
        assert poller.of(("team", "small")) == {}
        assert len(changed) == 3


@contextmanager
def answering(*parts: bytes, holds: bool = False) -> Iterator[int]:
    """A server of one connection that sends these parts and, if it holds, never ends."""
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                for part in parts:
                    connection.sendall(part)
                if holds:
                    ended.wait(30)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield int(server.getsockname()[1])
        finally:
            ended.set()
            thread.join()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.0 404 Not Found\r\n\r\n{}", b"HTTP/1.0 200 OK\r\n\r\n[1]", b"HTTP/1.0 200 OK\r\n\r\nhello",
        b"HTTP/1.0 200 OK", b"", b"\xff\xfe\r\n\r\n\xff", b'HTTP/1.0 200 OK\r\n\r\n{"rows_done": 1' + b" " * 70_000,
    ],
)  # fmt: skip
def test_an_unreadable_answer_is_none(answer: bytes) -> None:
    with answering(answer) as port:
        assert fetch("127.0.0.1", port) is None


def test_a_pod_that_never_ends_its_answer_is_let_go() -> None:
    with answering(b"HTTP/1.0 200 OK\r\n\r\n" + json.dumps({"rows_total": 4}).encode(), holds=True) as port:
        assert fetch("127.0.0.1", port, timeout_s=0.2) is None


@pytest.mark.parametrize("host", ["a" * 300, "\ud800"])
def test_an_address_that_is_none_is_silent_and_hides_no_other_pod(host: str) -> None:
    with shown_on(0, lambda: Figures(rows_total=4), host="127.0.0.1") as port, ThreadPoolExecutor(2) as pool:
        assert port is not None
        poller = Poller(
            lambda: [(RUN, running("odd", host)), (RUN, running("works"))], lambda _: None, every_s=30, port=port
        )
        poller.ask(pool)
    assert poller.of(RUN) == {"works": pod(0, 4)}


def test_a_message_is_shown_without_what_no_terminal_shows() -> None:
    assert parse({"message": "a\ud800\x1b[2J\nb"}).message == "a[2Jb"


def test_brackets_without_end_are_no_figures_and_no_crash() -> None:
    deep = b"[" * 60_000
    assert read(deep) == {}
    assert isinstance(error_of(422, deep), Refused)


def test_a_round_that_fails_does_not_end_the_poller() -> None:
    again = threading.Event()
    rounds: list[int] = []

    def pods() -> list[tuple[Key, Object]]:
        rounds.append(1)
        if len(rounds) == 1:
            raise KeyError("metadata")
        again.set()
        return []

    poller = Poller(pods, lambda _: None, every_s=0.001)
    poller.start()
    try:
        assert again.wait(10)
        assert not poller.is_dead
    finally:
        poller.stop()


def test_a_stage_that_waits_for_the_limits_of_an_endpoint_says_so() -> None:
    pods = [parse({"rows_done": 1, "rows_total": 9, "held": {"gpt": 12}}), parse({"rows_done": 2, "rows_total": 9})]
    progress = combine(pods)
    assert progress is not None
    assert sentence(progress) == "3 of 18 rows, waiting for the limits of gpt"
