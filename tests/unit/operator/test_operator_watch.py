"""Watching over real HTTP with the real client: what breaks in between must cost nothing but time."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from kubernetes.config import ConfigException

from moaa_operator.kube import nesting
from moaa_operator.kube.api import Api
from moaa_operator.kube.caches import Caches, run_of
from moaa_operator.kube.errors import AlreadyExists, Busy, Conflict, Gone, NotFound, Refused
from moaa_operator.kube.informer import Informer, Timing
from moaa_operator.kube.kinds import JOB, RAYJOB, Kind
from moaa_operator.kube.queue import Backoff
from moaa_operator.kube.transform import kept
from tests.operator_api_server import ApiServer, Fault
from tests.operator_helpers import OWNER

Object = dict[str, Any]


def job(name: str, **labels: str) -> Object:
    meta = {"name": name, "namespace": "ns", "labels": {"moaa.dev/run": "r", **labels}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta}


def until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.01)


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer(absent=("rayjobs",)) as server:
        yield server


class Seen:
    """An informer and the names it told of."""

    def __init__(self, server: ApiServer, kind: Kind = JOB, timing: Timing | None = None) -> None:
        self.names: list[str] = []
        self.informer = Informer(
            server.api(),
            kind,
            None,
            on_change=lambda item, _: self.names.append(item["metadata"]["name"]),
            backoff=Backoff(0.02, 0.1),
            selector="moaa.dev/run",
            timing=timing or Timing(30, 5),
            owner_of=run_of,
        )
        self.informer.start()
        assert self.informer.wait_synced(10)

    @property
    def known(self) -> set[str]:
        return {item["metadata"]["name"] for item in self.informer.all()}


@pytest.fixture
def seen(server: ApiServer) -> Iterator[Seen]:
    server.put(job("first"))
    found = Seen(server)
    yield found
    found.informer.stop()


def test_the_copy_follows_what_happens(server: ApiServer, seen: Seen) -> None:
    assert seen.known == {"first"}
    server.put(job("second"))
    until(lambda: seen.known == {"first", "second"})
    server.remove("jobs", "ns", "first")
    until(lambda: seen.known == {"second"})
    assert seen.names == ["first", "second", "first"]
    found = seen.informer.get("ns", "second")
    assert found is not None
    assert found["kind"] == "Job"


def test_objects_are_found_by_their_run(server: ApiServer, seen: Seen) -> None:
    def of(run: str) -> list[str]:
        return [item["metadata"]["name"] for item in seen.informer.of(("ns", run))]

    server.put(job("second"))
    server.put(job("other", **{"moaa.dev/run": "s"}))
    until(lambda: "other" in seen.known)
    assert (of("r"), of("s"), of("t")) == (["first", "second"], ["other"], [])
    server.put(job("first", **{"moaa.dev/run": "s"}))
    until(lambda: of("r") == ["second"])
    assert of("s") == ["other", "first"]
    server.remove("jobs", "ns", "other", silently=True)
    server.expire()
    until(lambda: of("s") == ["first"])
    server.remove("jobs", "ns", "first")
    until(lambda: of("s") == [])


def test_what_nobody_reads_is_not_kept(server: ApiServer, seen: Seen) -> None:
    large = job("large")
    large["metadata"]["managedFields"] = [{"manager": "somebody"}]
    large["spec"] = {"completions": 2, "template": {"spec": {"containers": [{"name": "job", "image": "x"}]}}}
    server.put(large)
    until(lambda: "large" in seen.known)
    followed = seen.informer.get("ns", "large")
    anew = Seen(server)
    listed = anew.informer.get("ns", "large")
    anew.informer.stop()
    for found in (followed, listed):
        assert found is not None
        assert found["spec"] == {"completions": 2}
        assert "managedFields" not in found["metadata"]
    assert server.api().get(JOB, "ns", "large")["spec"] == large["spec"]


def test_of_a_pod_the_names_of_its_containers_are_kept_of_servers_their_size_and_of_a_moaa_who_it_is() -> None:
    pod = {
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {"nodeName": "n", "containers": [{"name": "a", "env": []}]},
    }
    assert kept(pod) == {"kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}]}}
    sizes = {"replicas": 3, "leaderWorkerTemplate": {"size": 2}}
    groups = {"replicas": 3, "leaderWorkerTemplate": {"size": 2, "workerTemplate": {"spec": {"containers": []}}}}
    assert kept({"metadata": {"name": "w"}, "spec": groups})["spec"] == sizes
    moaa = {"apiVersion": "moaa.dev/v1alpha1", "kind": "MoAA", "metadata": {"name": "m"}, "spec": {}, "status": {}}
    assert kept(moaa) == {"apiVersion": "moaa.dev/v1alpha1", "kind": "MoAA", "metadata": {"name": "m"}}


def test_objects_of_nobody_are_not_asked_for(server: ApiServer, seen: Seen) -> None:
    other = job("other")
    other["metadata"]["labels"] = {}
    server.put(other)
    server.put(job("second"))
    until(lambda: "second" in seen.known)
    assert "other" not in seen.known


def test_long_lists_come_in_pages(server: ApiServer) -> None:
    for i in range(7):
        server.put(job(f"j{i}"))
    items, version = server.api().list(JOB, None, limit=3)
    assert len(items) == 7
    assert version == str(server.version)


def test_a_cut_watch_goes_on_where_it_was(server: ApiServer, seen: Seen) -> None:
    server.put(job("second"))
    until(lambda: "second" in seen.known)
    server.cut_watches()
    server.put(job("third"))
    until(lambda: "third" in seen.known)
    assert seen.informer.relists == 1
    assert seen.names == ["first", "second", "third"]


def test_an_expired_version_is_listed_anew_and_loses_no_deletion(server: ApiServer, seen: Seen) -> None:
    server.put(job("second"))
    until(lambda: "second" in seen.known)
    server.remove("jobs", "ns", "first", silently=True)
    server.expire()
    until(lambda: seen.known == {"second"})
    assert seen.names == ["first", "second", "first"]
    assert seen.informer.relists == 2


@pytest.mark.parametrize("code", [429, 500, 503, 403, 0])
def test_a_server_that_fails_is_asked_again(server: ApiServer, seen: Seen, code: int) -> None:
    server.faults = [Fault(lambda r: r.path.endswith("/jobs"), code) for _ in range(3)]
    server.cut_watches()
    server.put(job("second"))
    # Whether the old watch or a new list told of it, the list was asked again until it answered.
    until(lambda: "second" in seen.known and not server.faults)
    until(lambda: seen.informer.errors >= 3)


def test_retry_after_is_kept(server: ApiServer, seen: Seen) -> None:
    server.faults = [Fault(lambda r: "watch" in r.query, 429, {"Retry-After": "1"})]
    server.cut_watches()
    until(lambda: not server.faults)
    begun = time.monotonic()
    server.put(job("second"))
    until(lambda: "second" in seen.known)
    assert time.monotonic() - begun > 0.8


def test_a_watch_that_says_nothing_is_given_up(server: ApiServer) -> None:
    found = Seen(server, timing=Timing(timeout_s=30, silence_s=0.2))
    until(lambda: found.informer.errors >= 2)
    server.put(job("late"))
    until(lambda: "late" in found.known)
    assert found.informer.relists == 1
    found.informer.stop()


def test_a_kind_that_is_not_there_is_empty_and_says_so(server: ApiServer) -> None:
    found = Seen(server, RAYJOB)
    assert found.informer.is_absent
    assert found.informer.all() == []
    found.informer.stop()


def test_errors_are_told_apart(server: ApiServer) -> None:
    api = server.api()
    api.create(JOB, "ns", job("there"))
    with pytest.raises(AlreadyExists):
        api.create(JOB, "ns", job("there"))
    with pytest.raises(NotFound):
        api.get(JOB, "ns", "nowhere")
    stale = api.get(JOB, "ns", "there")
    stale["metadata"]["resourceVersion"] = "1"
    with pytest.raises(Conflict):
        api.replace(JOB, "ns", stale)
    with pytest.raises(Conflict):
        api.delete(JOB, "ns", "there", uid="another")
    server.faults = [Fault(lambda *_: True, 422, reason="Invalid"), Fault(lambda *_: True, 0)]
    with pytest.raises(Refused, match="Invalid"):
        api.get(JOB, "ns", "there")
    with pytest.raises(Busy):
        api.get(JOB, "ns", "there")


def test_nobody_listens() -> None:
    with ApiServer() as server:
        api = server.api(timeout_s=0.5)
    with pytest.raises(Busy, match="Unreachable"):
        api.get(JOB, "ns", "there")


@pytest.mark.parametrize("trouble", [PermissionError("token"), ConfigException("Token file exists but empty.")])
def test_a_token_that_cannot_be_read_costs_time_and_no_thread(server: ApiServer, trouble: Exception) -> None:
    troubles = [trouble] * 3
    refused: list[Exception] = []

    def refresh(_: object) -> None:
        if troubles:
            refused.append(troubles.pop())
            raise refused[-1]

    api = server.api(refresh=refresh)
    with pytest.raises(Busy, match=str(trouble)):
        api.get(JOB, "ns", "there")
    server.put(job("there"))
    informer = Informer(api, JOB, None, on_change=lambda *_: None, backoff=Backoff(0.01, 0.02))
    informer.start()
    assert informer.wait_synced(10)
    assert len(refused) == 3
    assert informer.get("ns", "there")
    assert not informer.is_dead
    informer.stop()


@pytest.mark.parametrize("levels", [900, 5000])
def test_an_object_that_nobody_can_read_hides_no_other(server: ApiServer, levels: int) -> None:
    server.instead = {b'"@"': b'{"a": ' * levels + b"[1]" + b"}" * levels}
    server.put(job("before"))
    server.put({**job("deep"), "status": {"deep": "@"}})
    seen = Seen(server)
    assert seen.known == {"before", "deep"}
    server.put({**job("deeper"), "status": {"deep": "@"}})
    server.put(job("after"))
    until(lambda: seen.known == {"before", "deep", "deeper", "after"})
    assert seen.informer.errors == 0
    seen.informer.stop()


def test_what_lies_deep_is_read_as_null_and_the_rest_as_it_is() -> None:
    text = b'{"a": ' * 2000 + b'"} ] \\" {"' + b"}" * 2000
    whole = b'{"deep": ' + text + b', "quoted": "[[{\\"", "list": [1, [2]]}'
    read = nesting.loads(whole)
    assert (read["quoted"], read["list"]) == ('[[{"', [1, [2]])
    levels, inner = 0, read["deep"]
    while inner is not None:
        levels, inner = levels + 1, inner["a"]
    assert levels == nesting.MAX_DEPTH - 1
    with pytest.raises(ValueError, match="Expecting"):
        nesting.loads(b"[" * 5000)


class Copy:
    """An informer's copy whose kind goes, or comes back, while it is read."""

    kind, namespace, is_synced = RAYJOB, None, True

    def __init__(self, *, is_absent: bool) -> None:
        self.is_absent = is_absent

    def of(self, _: object) -> list[Object]:
        self.is_absent = not self.is_absent
        return []


@pytest.mark.parametrize("is_absent", [True, False], ids=["comes back", "goes"])
def test_a_kind_that_comes_or_goes_while_it_is_read_is_not_there(is_absent: bool) -> None:
    caches = Caches([cast(Any, Copy(is_absent=is_absent))])
    assert "RayJob" in caches.children_and_missing(OWNER)[1]


def test_a_copy_is_emptied_only_after_it_says_that_its_kind_is_gone(server: ApiServer) -> None:
    informer = Informer(server.api(), RAYJOB, None, on_change=lambda *_: None, backoff=Backoff(0.01, 0.02))
    seen: list[tuple[int, bool]] = []

    class Lock:
        def __enter__(self) -> None:
            pass

        def __exit__(self, *_: object) -> None:
            seen.append((len(informer._objects), informer.is_absent))

    vars(informer)["_lock"] = Lock()
    vars(informer)["_objects"] = {("ns", "x"): {"kind": "RayJob", "metadata": {"name": "x", "namespace": "ns"}}}
    informer.start()
    assert informer.wait_synced(10)
    informer.stop()
    assert seen == [(0, True)]


class Waits:
    """A backoff without delays that keeps how many errors in a row it was asked about, and holds on after a few."""

    def __init__(self, *, holds_after: int) -> None:
        self.errors: list[int] = []
        self.enough = threading.Event()
        self._holds_after = holds_after

    def delay_s(self, errors: int) -> float:
        self.errors.append(errors)
        if len(self.errors) < self._holds_after:
            return 0.0
        self.enough.set()
        return 60.0


class AlwaysGone:
    """An API server whose lists answer 410, or whose watches end at once."""

    def __init__(self, *, lists: bool) -> None:
        self.lists = lists

    def list(self, *_: object, **__: object) -> tuple[list[Object], str]:
        if not self.lists:
            raise Gone(410, "Expired", "too old")
        return [], "1"

    def watch(self, *_: object, **__: object) -> Iterator[tuple[str, Object]]:
        yield from ()


@pytest.mark.parametrize("lists", [False, True], ids=["every list is gone", "every watch ends at once"])
def test_a_server_that_sends_away_at_once_is_asked_ever_more_slowly(lists: bool) -> None:
    waits, api = Waits(holds_after=4), cast(Api, AlwaysGone(lists=lists))
    informer = Informer(api, JOB, None, on_change=lambda *_: None, backoff=cast(Backoff, waits))
    informer.start()
    assert waits.enough.wait(10)
    informer.stop()
    assert waits.errors == [1, 2, 3, 4]
