"""Asks running pods how far they are, outside the reconcile loop, so that a slow or silent pod delays no decision.

Every `progress_s` it asks the pods of every run, a few at a time, each for two seconds at most. The answers of a run's
pods replace the earlier ones in one step. If that changes anything, the run's key is queued; its look writes a status
only when people would see a difference (`moaa_operator.tell.progress.shown`). One decision depends on the answers: a
failed attempt that left a percent more of its work in the store begins a new count of failures. A pod that gives no
answer is shown without.
"""

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

from moaa.contract.progress import PATH, PORT, read
from moaa_operator.kube.objects import Key, Object
from moaa_operator.kube.owner import ROLE_LABEL, RUN_LABEL, Role
from moaa_operator.observe.progress import PodFigures, parse

logger = logging.getLogger(__name__)

CONTAINERS = frozenset({"job", "ray-head"})
"""Those that answer there: the driver of a training runs beside the Ray head."""
TIMEOUT_S = 2.0
MAX_BYTES = 64 * 1024
CONNECTIONS = 16


class Poller:
    """One thread that asks in rounds. `pods` gives every pod of every run; any thread may call `of`."""

    def __init__(
        self,
        pods: Callable[[], Iterable[Object]],
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
        asked = [(pod, str(pod["status"]["podIP"])) for pod in self._pods() if _is_asked(pod)]
        said = pool.map(lambda host: fetch(host, self._port), [host for _, host in asked])
        found: dict[Key, dict[str, PodFigures]] = {}
        before = self._known
        for (pod, _), figures in zip(asked, said, strict=True):
            meta = pod["metadata"]
            run, uid = (str(meta["namespace"]), str(meta["labels"][RUN_LABEL])), str(meta["uid"])
            # One answer that was lost must not make the status flicker.
            shown = figures or before.get(run, {}).get(uid)
            if shown is not None:
                found.setdefault(run, {})[uid] = shown
        self._known = found
        for key in before.keys() | found.keys():
            if before.get(key) != found.get(key):
                self._on_change(key)


def _is_asked(pod: Object) -> bool:
    labels, status = pod["metadata"].get("labels") or {}, pod.get("status") or {}
    names = {container.get("name") for container in (pod.get("spec") or {}).get("containers") or ()}
    return (
        labels.get(ROLE_LABEL) == Role.STAGE
        and bool(labels.get(RUN_LABEL))
        and status.get("phase") == "Running"
        and bool(status.get("podIP"))
        and not names.isdisjoint(CONTAINERS)
    )


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
    except OSError as error:
        logger.debug("progress_not_said host=%s error=%s", host, error)
        return None
    return parse(said) if said else None
