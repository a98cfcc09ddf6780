"""A person's commands for a cluster: what tables show at three widths, what an edit is said to repeat, refusals."""

import json
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path

import pytest
import yaml
from rich.console import Console, RenderableType

from moaa.api.reading.load import load
from moaa.cli.cluster.command import FIELDS, request_of
from moaa.cli.main import parse
from moaa.errors import MoaaError, ResourceError, UsageError
from moaa_operator.kube.api import Api
from moaa_operator.kube.errors import error_of
from moaa_operator.kube.objects import Object
from moaa_operator.observe.read import status_of
from moaa_operator.remote.__main__ import main
from moaa_operator.remote.cluster import told
from moaa_operator.remote.follow import has_log
from moaa_operator.remote.logs import last_words
from moaa_operator.remote.pod_logs import lines, state_of
from moaa_operator.remote.requests import REQUEST, Logs, Submit
from moaa_operator.remote.submit import asker, body_of, edit_of, place_of, refuse_what_pods_cannot_do
from moaa_operator.remote.table import current_stage, run_view, runs_table
from tests.operator_helpers import SHORT, START, Cluster, until

WIDTHS = (60, 80, 120)


def shown(view: RenderableType, width: int) -> list[str]:
    """Lines without spaces at their ends."""
    console = Console(width=width, file=StringIO(), record=True)
    console.print(view)
    return [line.rstrip() for line in console.export_text().splitlines()]


@pytest.fixture(scope="module")
def generating() -> Cluster:
    """A run whose generation is at work."""
    cluster = Cluster(**SHORT)
    until(cluster, "i1-generate")
    cluster.settle()
    return cluster


@pytest.fixture(scope="module")
def finished() -> Cluster:
    cluster = Cluster(**SHORT)
    cluster.run()
    return cluster


def test_a_run_says_what_it_has_spent_where_and_what_is_left() -> None:
    cluster = Cluster(spec__budget={"gpuHours": "7", "tokens": 10**9}, **SHORT)
    until(cluster, "i1-generate")
    cluster.settle()
    cluster.wait(3600)
    cluster.settle()
    said = shown(run_view(cluster.document, now=cluster.now), 120)
    assert said[0].endswith(", 6.00 GPU-hours")
    assert said[-3:] == [
        "spent: i1-generate 6.00 GPU-hours",
        "dollars are not known without the prices of spec.cost.gpuHourUsd",
        "left of spec.budget: 1.00 GPU-hours, 1000000000 tokens",
    ]


@pytest.mark.parametrize("width", WIDTHS)
def test_a_run_at_work(generating: Cluster, width: int) -> None:
    said = shown(run_view(generating.document, now=generating.now), width)
    assert said[0].startswith("team/small: Running, iteration 1/1")
    assert max(map(len, said)) <= width
    stages = [line for line in said if line[1:2] in "✓●·○"]
    assert [line.split()[1] for line in stages] == [
        "i0-resolve", "i0-stage-data", "i1-generate", "i1-sft", "i1-promote",
    ]  # fmt: skip
    assert [line.split()[2] for line in stages] == ["done", "done", "running", "pending", "pending"]
    assert any("Succeeded Unknown (Generating):" in line for line in said)
    assert not any("Accepted" in line for line in said)
    assert current_stage(status_of(generating.document)) == "i1-generate"


@pytest.mark.parametrize("width", WIDTHS)
def test_a_finished_run_names_its_weights(finished: Cluster, width: int) -> None:
    text = " ".join(shown(run_view(finished.document, now=finished.now), width))
    promoted = status_of(finished.document).promoted
    assert promoted is not None
    assert "team/small: Succeeded" in text
    assert f"--uid {finished.document['metadata']['uid']}" in text
    assert (promoted.uri or "?") in text.replace(" ", "")


def test_an_attempt_that_failed_and_one_that_cannot_be_tried_again() -> None:
    cluster = Cluster(**SHORT)
    until(cluster, "i1-generate")
    entry = next(e for e in cluster.document["status"]["attempts"] if e["stage"] == "i1-generate")
    ended: Object = {**entry, "step": None, "failures": 1, "message": "no room left", "reason": "Failed"}
    later = {**ended, "retryAfter": "2100-01-01T00:00:00Z"}
    for given, status, words in (
        (later, "retrying", "again in"),
        ({**ended, "isPermanent": True}, "failed", "no room"),
    ):
        cluster.document["status"]["attempts"] = [given]
        [line] = [line for line in shown(run_view(cluster.document, now=START), 120) if "i1-generate" in line[:14]]
        assert line.split()[2] == status
        assert words in line
    assert last_words(status_of(cluster.document), "i1-generate") == "Attempt 1: no room left"
    assert "there is no such stage" in last_words(status_of(cluster.document), "i9-sft")
    assert "It is done" in last_words(status_of(cluster.document), "i0-resolve")


def test_later_iterations_are_counted(generating: Cluster) -> None:
    cluster = Cluster(**{**SHORT, "spec__iterations": 50})
    until(cluster, "i1-generate")
    said = shown(run_view(cluster.document, now=cluster.now), 80)
    assert any("147 more stages" in line for line in said)
    assert len(said) < 15


@pytest.mark.parametrize("width", WIDTHS)
def test_the_runs_of_a_namespace(generating: Cluster, finished: Cluster, width: int) -> None:
    begun: Object = {**generating.document, "status": {}}
    begun["metadata"] = {**begun["metadata"], "creationTimestamp": "2026-11-28T00:00:00Z"}
    said = shown(runs_table([generating.document, finished.document, begun], now=START), width)
    assert max(map(len, said)) <= width
    assert [line.split()[:2] for line in said[1:4]] == [
        ["team/small", "Running"], ["team/small", "Succeeded"], ["team/small", "not"],
    ]  # fmt: skip


def test_a_resource_of_another_version_shows_what_its_status_names(generating: Cluster) -> None:
    document = json.loads(json.dumps(generating.document))
    document["spec"]["newer"] = {"field": 1}
    asks = {"stage": "inspect", "fingerprint": "a" * 64, "attempt": 1, "step": "Work"}
    document["status"]["attempts"].append(asks)
    document["status"].pop("stage")
    said = shown(run_view(document, now=START), 80)
    stages = [line.split()[1:3] for line in said if line[1:2] in "✓●·○" and line]
    assert stages == [["i0-resolve", "done"], ["i0-stage-data", "done"], ["i1-generate", "running"]]
    assert current_stage(status_of(document)) == "i1-generate"


def test_a_status_that_nobody_has_written_yet() -> None:
    document = Cluster(**SHORT).document
    said = shown(run_view(document, now=START), 80)
    assert said[0] == "team/small: no operator has looked at it yet"
    assert current_stage(status_of(document)) is None


# submit


def test_an_edit_is_told_by_field_with_the_stages_it_repeats(finished: Cluster) -> None:
    before = finished.document
    same = edit_of(before, json.loads(json.dumps(before)))
    assert (same.changes, same.repeats) == ((), ())
    after = json.loads(json.dumps(before))
    after["spec"]["mixture"]["aggregator"]["temperature"] = "0.5"
    # The only iteration is closed, and keeps what it made.
    assert edit_of(before, after).repeats == ()
    cluster = Cluster(**SHORT)
    until(cluster, "i1-sft")
    after = json.loads(json.dumps(cluster.document))
    after["spec"]["mixture"]["aggregator"]["temperature"] = "0.5"
    after["spec"]["suspend"] = True
    edit = edit_of(cluster.document, after)
    assert edit.repeats == ("i1-generate",)
    assert "spec.mixture.aggregator.temperature 0.5 is new" in edit.changes
    assert edit.stops == ("i1-sft",)
    assert edit.lines()[-2:] == [
        "repeats 1 finished stages: i1-generate",
        "ends the attempt under way of i1-sft",
    ]
    longer = json.loads(json.dumps(cluster.document))
    longer["spec"]["serving"] = {"scheduleMinutes": 7}
    assert (edit_of(cluster.document, longer).repeats, edit_of(cluster.document, longer).stops) == ((), ())
    many = json.loads(json.dumps(cluster.document))
    many["metadata"]["labels"] = {f"l{number}": "x" for number in range(30)}
    assert edit_of(cluster.document, many).lines()[-1] == "  and 10 more fields"


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Object], Path]:
    def write(document: Object) -> Path:
        file = tmp_path / "moaa.yaml"
        file.write_text(yaml.safe_dump({k: v for k, v in document.items() if k != "status"}))
        return file

    return write


def test_what_others_have_set_stays_and_the_spec_is_the_file_s(write: Callable[[Object], Path]) -> None:
    document = Cluster(**SHORT).document
    resource = load(write(document))
    body = body_of(resource, "team", None)
    assert body["metadata"] == {"name": "small", "namespace": "team"}
    before = {**document, "spec": {**document["spec"], "suspend": True}}
    before["metadata"] = {**document["metadata"], "resourceVersion": "7", "labels": {"team": "x"}}
    body = body_of(resource, "team", before)
    assert "suspend" not in body["spec"]
    assert (body["metadata"]["resourceVersion"], body["metadata"]["labels"]) == ("7", {"team": "x"})


def test_the_namespace_is_the_file_s_the_command_s_or_the_context_s(write: Callable[[Object], Path]) -> None:
    document = Cluster(**SHORT).document
    resource = load(write(document))
    assert place_of(resource, None, "other") == place_of(resource, "team", "other") == "team"
    with pytest.raises(UsageError, match=r"--namespace x: the file says metadata\.namespace: team"):
        place_of(resource, "x", "other")
    del document["metadata"]["namespace"]
    resource = load(write(document))
    assert (place_of(resource, None, "other"), place_of(resource, "x", "other")) == ("other", "x")


def test_what_pods_cannot_reach_is_refused_here(write: Callable[[Object], Path]) -> None:
    document = Cluster(**SHORT).document
    document["spec"]["models"][0]["source"] = "file:///weights"
    with pytest.raises(ResourceError, match="file:///weights"):
        refuse_what_pods_cannot_do(load(write(document)), "moaa.yaml", "ns")


def says(answer: str) -> Callable[[str], str]:
    return lambda _question: answer


def test_a_question_needs_somebody_to_answer() -> None:
    with pytest.raises(UsageError, match="Nobody is there to answer; say --yes"):
        asker(is_terminal=False)("Change it?")
    for answer, is_yes in (("y", True), ("YES ", True), ("", False), ("no", False)):
        assert asker(is_terminal=True, read=says(answer))("Change it?") is is_yes


# logs


def test_lines_of_a_log_come_whole() -> None:
    pieces = [b"one\ntw", b"o\n\nthr", b"ee \xff"]
    assert list(lines(iter(pieces))) == ["one", "two", "", "three �"]


def test_a_pod_says_how_it_ended_and_whether_it_has_a_log() -> None:
    ended = {"name": "job", "state": {"terminated": {"exitCode": 3}}}
    waits = {"name": "job", "state": {"waiting": {"reason": "ContainerCreating"}}}
    assert state_of({"status": {"phase": "Failed", "containerStatuses": [ended]}}) == "Failed, exit code 3"
    assert state_of({}) == "Pending"
    assert has_log({"status": {"containerStatuses": [ended]}}, "job")
    assert not has_log({"status": {"containerStatuses": [waits]}}, "job")
    assert not has_log({}, "job")


# Refusals


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    from kubernetes import client

    from moaa_operator.kube.api import api_for

    api = api_for(client.Configuration(host="https://cluster:6443"))
    yield api
    api.close()


@pytest.mark.parametrize(
    ("status", "body", "error", "words"),
    [
        (401, {"reason": "Unauthorized", "message": "Unauthorized"}, UsageError, "does not take your credentials"),
        (403, {"reason": "Forbidden", "message": 'moaas.moaa.dev is forbidden: User "x" cannot list'}, UsageError,
         'the cluster refuses: moaas.moaa.dev is forbidden: User "x" cannot list; ask for the right'),
        (404, {"reason": "NotFound", "message": "the server could not find the requested resource"}, UsageError,
         "https://cluster:6443 knows no MoAA; install the chart"),
        (404, {"reason": "NotFound", "message": 'namespaces "x" not found'}, UsageError, 'namespaces "x" not found'),
        (409, {"reason": "Conflict", "message": "modified"}, MoaaError, "changed it at the same time; run"),
        (422, {"reason": "Invalid", "message": "spec.seed: Invalid value"}, UsageError, "Invalid value; mend"),
        (503, {"reason": "ServiceUnavailable", "message": "etcd"}, MoaaError, "the cluster is busy: 503"),
    ],
)  # fmt: skip
def test_a_refusal_is_one_line_that_says_what_to_do(
    api: Api, status: int, body: Object, error: type[MoaaError], words: str
) -> None:
    def refused() -> None:
        with told(api, "read it"):
            raise error_of(status, json.dumps(body).encode())

    with pytest.raises(error) as caught:
        refused()
    assert words in str(caught.value)
    assert str(caught.value).startswith("cannot read it: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "file is empty"),
        (b"just text\n", "it is no kubeconfig ("),
        (b"[1, 2]\n", "it is no kubeconfig ("),
        (b"clusters: 3\ncontexts: 4\ncurrent-context: a\n", "it is no kubeconfig ("),
        (b"a: [1\n", "it is no kubeconfig ("),
        (b"\xff\xfe", "codec can't decode"),
    ],
)
def test_a_file_that_is_no_kubeconfig(
    text: bytes, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "kubeconfig"
    file.write_bytes(text)
    assert main(json.dumps({"command": "status", "kubeconfig": str(file)})) == 2
    err = capsys.readouterr().err
    assert err.startswith("moaa: the kubeconfig cannot be used: ")
    assert said in err
    assert err.count("\n") == 1


def test_a_kubeconfig_that_is_not_there_and_a_server_that_does_not_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"command": "status", "kubeconfig": str(tmp_path / "absent")}
    assert main(json.dumps(asked)) == 2
    assert "the kubeconfig cannot be used: " in capsys.readouterr().err
    config = {
        "apiVersion": "v1", "kind": "Config", "current-context": "it",
        "clusters": [{"name": "it", "cluster": {"server": "http://127.0.0.1:9"}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "me", "namespace": "team"}}],
        "users": [{"name": "me", "user": {"token": "very-secret"}}],
    }  # fmt: skip
    file = tmp_path / "kubeconfig"
    file.write_text(yaml.safe_dump(config))
    assert main(json.dumps({"command": "status", "kubeconfig": str(file)})) == 1
    err = capsys.readouterr().err
    assert "cannot list runs in namespace team: http://127.0.0.1:9 does not answer" in err
    assert "very-secret" not in err
    assert main(json.dumps({"command": "status", "kubeconfig": str(file), "context": "that"})) == 2
    assert "that" in capsys.readouterr().err


# What moaa hands over


def test_every_command_is_handed_over_with_all_its_options() -> None:
    given = {
        "submit": ["my.yaml", "--dry-run", "--yes", "-n", "team", "--context", "c", "--kubeconfig", "k"],
        "status": ["-A"],
        "logs": ["my-run", "--stage", "i1-sft", "-f", "--tail", "5"],
        "cancel": ["my-run", "--delete", "--yes"],
    }
    assert set(given) == set(FIELDS)
    read = {name: REQUEST.validate_json(request_of(parse([name, *words]))) for name, words in given.items()}
    assert read["submit"] == Submit(
        command="submit", file=Path("my.yaml"), dry_run=True, yes=True, namespace="team", context="c", kubeconfig="k",
        width=read["submit"].width,
    )  # fmt: skip
    assert read["logs"] == Logs(
        command="logs", name="my-run", stage="i1-sft", follow=True, tail=5, width=read["logs"].width
    )
    with pytest.raises(UsageError, match="--all-namespaces lists"):
        request_of(parse(["status", "my-run", "-A"]))
