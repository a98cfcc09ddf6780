"""Asks running pods how far they are, outside the reconcile loop, so that a slow or silent pod delays no decision.

Every `progress_s` it asks the pods of every run, a few at a time, each for two seconds at most. The answers of a run's
pods replace the earlier ones in one step. If that changes anything, the run's key is queued; its look writes a status
only when people would see a difference (`moaa_operator.tell.progress.shown`). One decision depends on the answers: a
failed attempt that left a percent more of its work in the store begins a new count of failures. A pod that gives no
answer is shown without.

Labels choose no pod: anybody who may make one writes them. A pod is asked when its owner is a Job or Ray cluster of a
MoAA that exists. What it says is read up to 64 KiB, and whatever it says ends neither a thread nor the round.
"""

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from moaa.contract.progress import PATH, PORT, read
from moaa_operator.kube.caches import Caches
from moaa_operator.kube.objects import Fields, Key, Object, is_owned_by, label
from moaa_operator.kube.owner import ROLE_LABEL, Role, owner_of
from moaa_operator.observe import children, rayjobs
from moaa_operator.observe.progress import PodFigures, parse

logger = logging.getLogger(__name__)

CONTAINERS = frozenset({"job", rayjobs.HEAD})
"""Those that answer there: the driver of a training runs beside the Ray head."""
TIMEOUT_S = 2.0
MAX_BYTES = 64 * 1024
CONNECTIONS = 16
_PODS: Mapping[str, Callable[[Fields, Iterable[Fields]], list[Fields]]] = {
    "Job": children.pods_of,
    "RayJob": rayjobs.pods_of_cluster,
}
"""Kinds that work on a stage, and whose pods are theirs."""


class Poller:
    """One thread that asks in rounds. `pods` gives every pod to ask and its run; any thread may call `of`."""

    def __init__(
        self,
        pods: Callable[[], Iterable[tuple[Key, Fields]]],
        on_change: Callable[[Key], None],
        *,
        every_s: float,
        port: int = PORT,
    ) -> None:
        self._pods = pods
        self._on_change = on_change
        self._every_s = every_s
        self._port = port
        self._known: Mapping[Key, Mapping[str, PodFigures]] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="poller", daemon=True)

    def of(self, key: Key) -> Mapping[str, PodFigures]:
        """What the run's pods said last, by their UIDs."""
        return self._known.get(key, {})

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()

    @property
    def is_dead(self) -> bool:
        """Its thread ended without `stop`."""
        return self._thread.ident is not None and not self._thread.is_alive() and not self._stopped.is_set()

    def _run(self) -> None:
        with ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="progress") as pool:
            while not self._stopped.wait(self._every_s):
                try:
                    self.ask(pool)
                except Exception:  # what a pod says ends no thread: the next round asks again
                    logger.exception("progress_round_failed")

    def ask(self, pool: ThreadPoolExecutor) -> None:
        """One round."""
        asked = [(run, str(pod["metadata"]["uid"]), str(pod["status"]["podIP"])) for run, pod in self._pods()]
        said = pool.map(lambda host: fetch(host, self._port), [host for _, _, host in asked])
        found: dict[Key, dict[str, PodFigures]] = {}
        before = self._known
        for (run, uid, _), figures in zip(asked, said, strict=True):
            # One answer that was lost must not make the status flicker.
            shown = figures or before.get(run, {}).get(uid)
            if shown is not None:
                found.setdefault(run, {})[uid] = shown
        self._known = found
        for key in before.keys() | found.keys():
            if before.get(key) != found.get(key):
                self._on_change(key)


def at_work(caches: Caches) -> Iterator[tuple[Key, Fields]]:
    """The pods that work on stages and their runs, down the owner references: MoAA, Job or RayJob, pod."""
    for key in caches.runs():
        document = caches.run(key)
        if document is not None:
            owner = owner_of(document)
            yield from ((key, pod) for pod in working_pods(owner.uid, caches.children(owner)))


def working_pods(owner: str, objects: Mapping[str, Iterable[Object]]) -> Iterator[Fields]:
    """Of a run's objects the pods that can say how far a stage is; `owner` is the MoAA's UID."""
    pods = [pod for pod in objects.get("Pod", ()) if _answers(pod)]
    for kind, pods_of in _PODS.items():
        for item in objects.get(kind, ()):
            if is_owned_by(item, owner) and label(item, ROLE_LABEL) == Role.STAGE:
                yield from pods_of(item, pods)


def _answers(pod: Fields) -> bool:
    status = pod.get("status") or {}
    names = {container.get("name") for container in (pod.get("spec") or {}).get("containers") or ()}
    return status.get("phase") == "Running" and bool(status.get("podIP")) and not names.isdisjoint(CONTAINERS)


def fetch(host: str, port: int, *, timeout_s: float = TIMEOUT_S) -> PodFigures | None:
    """What a pod says within the time, all of it together; None: nothing, or nothing readable.

    Plain sockets, because the time has to hold for the whole answer: a pod that sends a byte a second must not occupy
    a connection for as long as it likes. HTTP/1.0 has no chunks.
    """
    deadline = time.monotonic() + timeout_s
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as connection:
            connection.sendall(f"GET {PATH} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
            received = b""
            while len(received) <= MAX_BYTES:
                connection.settimeout(max(deadline - time.monotonic(), 0.001))
                part = connection.recv(16 * 1024)
                if not part:
                    break
                received += part
        head, _, body = received.partition(b"\r\n\r\n")
        said = read(body) if head.split(b" ")[1:2] == [b"200"] else None
        return parse(said) if said else None
    except (
        OSError,
        ValueError,
    ) as error:  # an address that is none is a ValueError; the other pods are heard all the same
        logger.debug("progress_not_said host=%s error=%s", host, error)
        return None
