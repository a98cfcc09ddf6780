"""A webhook that everything has to pass does not answer: the status says so, and nothing is made twice."""

from collections.abc import Iterator, Mapping

import pytest

from moaa_operator.controller import Controller
from moaa_operator.kube.caches import Caches
from moaa_operator.kube.errors import Refused, error_of
from moaa_operator.kube.kinds import CHILDREN, Kind
from moaa_operator.kube.objects import Key
from moaa_operator.kube.owner import Owner
from moaa_operator.kube.queue import Backoff, WorkQueue
from moaa_operator.render import bind
from moaa_operator.tell.metrics import Metrics
from tests.operator_api_server import ApiServer, Fault
from tests.operator_helpers import ON_S3, SETTINGS, Object
from tests.plan_helpers import tree

WORDS = (
    'Internal error occurred: failed calling webhook "mjob.kb.io": failed to call webhook: Post '
    '"https://kueue-webhook-service.kueue-system.svc:443/mutate-batch-v1-job": connect: connection refused'
)
KEY = ("team", "small")


class Fresh(Caches):
    """Copies that are never late."""

    def __init__(self, server: ApiServer) -> None:
        super().__init__([])
        self._server = server

    def has_kind(self, _kind: Kind) -> bool:
        return True

    def is_synced(self, _namespace: str) -> bool:
        return True

    def run(self, key: Key) -> Object | None:
        return self._server.objects.get(("moaas", *key))

    def children(self, owner: Owner) -> Mapping[str, list[Object]]:
        return {kind.kind: self._server.find(kind.plural, owner.namespace) for kind in CHILDREN}


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as server:
        document = tree(**ON_S3)
        document["metadata"] |= {"name": "small", "namespace": "team", "uid": "uid-1"}
        server.put(document)
        yield server


class Looks:
    """A controller whose every look is news of the one before it, as it is while looks make objects."""

    def __init__(self, server: ApiServer) -> None:
        self.now = 0.0
        self.at: list[float] = []
        self.queue: WorkQueue[Key] = WorkQueue(Backoff(1, 300, jitter=lambda: 0.0), clock=lambda: self.now)
        self._controller = Controller(
            server.api(), Fresh(server), self.queue, settings=SETTINGS, render=bind, metrics=Metrics()
        )

    def take(self, count: int) -> None:
        self.queue.add(KEY)
        for _ in range(count):
            while self.queue.take(0) is None:
                self.now += 0.5
            self.at.append(self.now)
            self._controller.handle(KEY)
            self.queue.done(KEY)
            self.queue.add(KEY)


def test_a_webhook_that_is_down_makes_no_more_objects_and_no_hot_loop(server: ApiServer) -> None:
    with server.changed:
        server.faults = [Fault(lambda r: r.method == "POST" and r.path.endswith("/jobs"), 500, message=WORDS)] * 99
    looks = Looks(server)
    looks.take(8)
    assert len(server.find("configmaps", "team")) == 1
    assert server.find("jobs", "team") == []
    assert looks.at[-1] > 20
    status = server.objects["moaas", *KEY]["status"]
    told = {c["type"]: (c["reason"], c["message"]) for c in status["conditions"]}
    assert told["Stalled"][0] == told["Succeeded"][0] == "WebhookDown"
    assert WORDS in told["Stalled"][1]


def test_once_it_answers_the_run_goes_on_with_what_is_there(server: ApiServer) -> None:
    with server.changed:
        server.faults = [Fault(lambda r: r.method == "POST" and r.path.endswith("/jobs"), 500, message=WORDS)]
    Looks(server).take(3)
    files, jobs = (server.find(plural, "team") for plural in ("configmaps", "jobs"))
    assert [item["metadata"]["name"] for item in files] == [item["metadata"]["name"] for item in jobs]
    assert len(jobs) == 1
    told = {c["type"]: c["reason"] for c in server.objects["moaas", *KEY]["status"]["conditions"]}
    assert told["Stalled"] == "Progressing"


def test_only_words_about_a_webhook_make_a_servers_error_a_refusal() -> None:
    assert isinstance(error_of(500, f'{{"reason": "InternalError", "message": "{WORDS[:60]}"}}'.encode()), Refused)
    assert not isinstance(error_of(500, b'{"reason": "InternalError", "message": "etcd is away"}'), Refused)


def test_news_bring_a_failed_look_forward_and_not_to_at_once() -> None:
    now = [0.0]
    queue: WorkQueue[str] = WorkQueue(Backoff(1, 300, jitter=lambda: 0.0), clock=lambda: now[0])
    queue.add("a")
    for _ in range(7):
        assert queue.take(100) == "a"
        queue.failed("a")
        queue.done("a")
        now[0] += 300
    assert queue.take(0) == "a"
    queue.failed("a")
    queue.add("a")
    queue.done("a")
    assert queue.take(0) is None
    now[0] += 5
    assert queue.take(0) == "a"
