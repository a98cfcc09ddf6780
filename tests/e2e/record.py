"""Everything that was seen on the cluster while a run went on; most of it is gone when the run ends."""

import threading
import time
from pathlib import Path
from typing import Any

from tests.e2e.kube import Logs, Object, Watch
from tests.e2e.settings import Settings
from tests.e2e.world import objects_under

ROLE_LABEL = "moaa.dev/role"
RAY_LABEL = "ray.io/node-type"
WORKLOADS = "workloads.kueue.x-k8s.io"
BUCKET_POLL_S = 1.0


class Record:
    """Use as a context manager around the run."""

    def __init__(self, settings: Settings, *, storage: str) -> None:
        self._settings, self._storage = settings, storage
        self.started = time.monotonic()
        self.uid = ""
        """Of the MoAA that is followed; an earlier one of its name may still be seen."""
        self.objects: dict[tuple[str, str], Object] = {}
        """The newest version of each object, by kind and uid."""
        self.ready_pods: set[str] = set()
        """Uids of pods that were ready at some time."""
        self.gone: set[str] = set()
        """Uids of objects that were deleted."""
        self.restarts: dict[str, int] = {}
        """Most restarts of a container of a pod, by the pod's name."""
        self.checkpoint_files: set[str] = set()
        """Keys below a `checkpoints` folder that were seen in the bucket."""
        self.lines: list[str] = []
        self._said: set[str] = set()
        self._row: tuple[str, ...] = ()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._logs = Logs(settings.folder / "logs")
        self._watches: list[Watch] = []
        self._bucket = threading.Thread(target=self._look_at_bucket, daemon=True)

    def __enter__(self) -> "Record":
        runs, operator = self._settings.run_namespace, self._settings.operator_namespace
        kinds = ("pods", "jobs", "rayjobs.ray.io", "deployments", "moaas.moaa.dev")
        queued = (WORKLOADS,) if self._settings.queue else ()
        self._watches = [Watch(kind, runs, self._on_event) for kind in (*kinds, *queued)]
        self._watches.append(Watch("pods", operator, self._on_event))
        self._bucket.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for watch in self._watches:
            watch.stop()
        self._bucket.join(30)
        self._logs.stop()

    def of(self, kind: str) -> list[Object]:
        with self._lock:
            return [item for (found, _), item in self.objects.items() if found == kind]

    def is_running(self, pod: Object) -> bool:
        meta = pod["metadata"]
        is_there = meta["uid"] not in self.gone and meta.get("deletionTimestamp") is None
        return is_there and (pod.get("status") or {}).get("phase") == "Running"

    def pods(self, role: str) -> list[Object]:
        return [pod for pod in self.of("Pod") if pod["metadata"].get("labels", {}).get(ROLE_LABEL) == role]

    def ray_pods(self, node_type: str) -> list[Object]:
        return [pod for pod in self.of("Pod") if pod["metadata"].get("labels", {}).get(RAY_LABEL) == node_type]

    def operator_pods(self) -> list[Object]:
        return [pod for pod in self.of("Pod") if pod["metadata"]["namespace"] == self._settings.operator_namespace]

    @property
    def moaa(self) -> Object:
        with self._lock:
            return self.objects.get(("MoAA", self.uid), {})

    @property
    def phase(self) -> str:
        return str((self.moaa.get("status") or {}).get("phase") or "")

    def say(self, text: str) -> None:
        line = f"{time.monotonic() - self.started:7.1f} s  {text}"
        self.lines.append(line)
        print(line, flush=True)

    def _say_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self.say(text)

    def _on_event(self, event: str, item: Object) -> None:
        meta = item["metadata"]
        with self._lock:
            self.objects[item["kind"], meta["uid"]] = item
            if event == "DELETED":
                self.gone.add(meta["uid"])
        match item["kind"]:
            case "Pod":
                self._on_pod(event, item)
            case "MoAA":
                self._on_moaa(item)

    def _on_pod(self, event: str, pod: Object) -> None:
        name, status = pod["metadata"]["name"], pod.get("status") or {}
        states = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
        restarts = max((int(state.get("restartCount") or 0) for state in states), default=0)
        if restarts > self.restarts.get(name, 0):
            self.say(f"pod {name} restarted ({restarts}): {ended(states)}")
        self.restarts[name] = max(restarts, self.restarts.get(name, 0))
        conditions = {one["type"]: one["status"] for one in status.get("conditions") or ()}
        if conditions.get("Ready") == "True" and pod["metadata"]["uid"] not in self.ready_pods:
            self.ready_pods.add(pod["metadata"]["uid"])
            self.say(f"pod {name} is ready")
        if event == "DELETED" or status.get("phase") in ("Succeeded", "Failed"):
            # What is told to go ends as it likes.
            words = "" if pod["metadata"].get("deletionTimestamp") else ended(states)
            self._say_once(f"pod {name} {'is gone' if event == 'DELETED' else status['phase']} {words}".strip())
        if event != "DELETED":
            self._logs.follow(pod)

    def _on_moaa(self, item: Object) -> None:
        row = columns(item)
        if row != self._row:
            self._row = row
            self.say("  ".join(part or "-" for part in row))

    def _look_at_bucket(self) -> None:
        while not self._stopped.wait(BUCKET_POLL_S):
            found = [key for key in objects_under(self._settings, self._storage) if "/checkpoints/" in key]
            self.checkpoint_files.update(found)


def ended(states: list[Object]) -> str:
    """How containers ended: exit codes, and what the last words were."""
    words: list[str] = []
    for state in states:
        last: dict[str, Any] = state["state"].get("terminated") or state.get("lastState", {}).get("terminated") or {}
        if last.get("exitCode"):
            words.append(
                f"{state['name']} {last.get('reason')} {last['exitCode']}: {(last.get('message') or '')[-300:]}"
            )
    return "; ".join(words)


def columns(item: Object) -> tuple[str, ...]:
    """As `kubectl get moaa` prints it, and what the reason means."""
    status = item.get("status") or {}
    shown = [str(status.get(name) or "") for name in ("phase", "iteration", "stage", "progress", "score")]
    conditions = {one["type"]: one for one in status.get("conditions") or ()}
    said = conditions.get("Succeeded", {})
    return (item["metadata"]["name"], *shown, said.get("reason", ""), said.get("message", "")[:200])


def save(record: Record, folder: Path) -> None:
    (folder / "watch.txt").write_text("\n".join([*record.lines, ""]))
