"""A cluster's controllers and kubelets for many runs: each child is looked at when a watch tells of it, and alone.

What is done with a child is the integration tests' kubelet's; that one looks at everything each time, which a thousand
runs are too many for. Runs have stores of their own, in which nothing is: an inspection finds nothing.
"""

import copy
import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from moaa.contract.progress import PORT
from moaa_operator.kube.api import Api
from moaa_operator.kube.errors import NotFound
from moaa_operator.kube.informer import Informer, Timing
from moaa_operator.kube.kinds import CONFIG_MAP, DEPLOYMENT, JOB, POD, RAYJOB, Kind
from moaa_operator.kube.queue import Backoff
from tests.integration.kubelet import DONE, HELD, Kubelet, role_of, run_of, stage_of

Object = dict[str, Any]
HANDS = 6
"""Children looked at at a time; each waits for the API server most of the time."""
POD_IP = "127.77.0.1"
"""Of every pod: a loopback address at which `Progress` answers for all of them."""


@dataclass
class _Played:
    """A child that was looked at."""

    item: Object
    pods: list[Object] = field(default_factory=list)
    files: list[Object] = field(default_factory=list)


class PlayedCluster:
    """Ends every Job and RayJob at once, but for the Jobs of stage `parked`: those when their run is released."""

    def __init__(self, api: Api, namespace: str, *, parked: str) -> None:
        self.run_of: dict[str, str] = {}
        """Of every child that there ever was, by its name."""
        self.ends: list[str] = []
        """Names of children that have ended, in order."""
        self.last: set[str] = set()
        """Those after which a run makes no other child."""
        self.errors: list[str] = []
        self._api = api
        self._namespace = namespace
        self._parked = parked
        self._released: set[str] = set()
        self._lock = threading.Lock()
        self._played: dict[str, _Played] = {}
        self._hands = ThreadPoolExecutor(HANDS, thread_name_prefix="hand")
        self._informers = {kind: self._informer(kind) for kind in (JOB, DEPLOYMENT, RAYJOB)}

    def start(self) -> None:
        for informer in self._informers.values():
            informer.start()
        for informer in self._informers.values():
            assert informer.wait_synced(30), f"no list of {informer.kind.plural}"

    def stop(self) -> None:
        for informer in self._informers.values():
            informer.stop()
        self._hands.shutdown(cancel_futures=True)

    def parked(self) -> list[str]:
        """Runs whose parked stage goes on, all pods of it running."""
        with self._lock:
            played = list(self._played.values())
        return [run_of(p.item) for p in played if p.pods and self._is_parked(p.item)]

    def release(self, runs: Iterable[str]) -> None:
        """Their parked Jobs end as soon as hands are free."""
        wanted = set(runs)
        with self._lock:
            found = [p for p in self._played.values() if run_of(p.item) in wanted and self._is_parked(p.item)]
            self._released |= wanted
        for played in found:
            self._do(self._look, JOB, played)

    def _informer(self, kind: Kind) -> Informer:
        def on_change(item: Object, _: Object | None) -> None:
            self.run_of[item["metadata"]["name"]] = run_of(item)
            self._do(self._meet, kind, item)

        return Informer(
            self._api,
            kind,
            self._namespace,
            on_change=on_change,
            backoff=Backoff(0.1, 1.0),
            timing=Timing(20.0, 60.0),  # so that its threads end soon after the benchmark
            keep=lambda item: item,
        )

    def _do(self, act: Any, *arguments: Any) -> None:
        self._hands.submit(act, *arguments).add_done_callback(self._done)

    def _done(self, future: "Future[None]") -> None:
        if not future.cancelled() and (error := future.exception()) is not None:
            self.errors.append(f"{type(error).__name__}: {error}")

    def _meet(self, kind: Kind, item: Object) -> None:
        """A new child is looked at, once; a deleted one's pods go with it."""
        about = item["metadata"]
        if self._informers[kind].get(about["namespace"], about["name"]) is None:
            with self._lock:
                gone = self._played.pop(about["uid"], None)
            for pod in gone.pods if gone else ():
                self._api.delete(POD, self._namespace, pod["metadata"]["name"])
            return
        with self._lock:
            if about["uid"] in self._played:
                return
            played = self._played[about["uid"]] = _Played(copy.deepcopy(item))
        if kind is JOB:
            played.files = [self._api.get(CONFIG_MAP, self._namespace, about["name"])]
        self._look(kind, played)

    def _look(self, kind: Kind, played: _Played) -> None:
        kubelet = Kubelet(self._api, self._namespace)
        kubelet.pod_ip = POD_IP
        kubelet.fate = lambda item: HELD if self._is_parked(item) else DONE
        try:
            played.pods = kubelet.look(kind, played.item, pods=played.pods, files=played.files)
        except NotFound:  # an inspection that was answered is deleted at once
            return
        if kubelet.ended:
            name = str(played.item["metadata"]["name"])
            if stage_of(played.item) == "i1-promote":
                self.last.add(name)
            self.ends.append(name)

    def _is_parked(self, item: Object) -> bool:
        is_it = item["kind"] == JOB.kind and role_of(item) == "stage" and stage_of(item) == self._parked
        return is_it and run_of(item) not in self._released


class Progress:
    """What every pod says on /progress."""

    def __init__(self) -> None:
        self.is_moving = False
        """It says more each second."""
        progress = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                rows = int(time.monotonic()) % 300 if progress.is_moving else 120
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b'{"rows_done": %d, "rows_total": 300, "rows_stage": 300}' % rows)

            def log_message(self, format: str, *args: object) -> None:
                pass

        ThreadingHTTPServer.request_queue_size = 64  # the operator asks 16 pods at a time
        self._server = ThreadingHTTPServer((POD_IP, PORT), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> "Progress":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
