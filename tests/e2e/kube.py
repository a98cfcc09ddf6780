"""kubectl and helm, as a person uses them, and streams of what they watch."""

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Object = dict[str, Any]
TIMEOUT_S = 180


class Failed(AssertionError):
    """Something is not as it has to be; says what was found."""


def run(
    *command: str, text: str | None = None, timeout_s: float = TIMEOUT_S, env: Mapping[str, str] | None = None
) -> str:
    """What the command wrote; `env` is added to ours. Raises Failed with its words: it ended with an error."""
    ended = subprocess.run(
        command, input=text, capture_output=True, text=True, timeout=timeout_s, check=False,
        env={**os.environ, **(env or {})},
    )  # fmt: skip
    if ended.returncode:
        raise Failed(f"{' '.join(command)}: {(ended.stderr or ended.stdout)[-4000:]}")
    return ended.stdout


def kubectl(*arguments: str, text: str | None = None, timeout_s: float = TIMEOUT_S) -> str:
    return run("kubectl", *arguments, text=text, timeout_s=timeout_s)


def apply(*objects: Mapping[str, Any]) -> None:
    kubectl("apply", "-f", "-", text=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))


def get(kind: str, namespace: str, name: str) -> Object:
    found: Object = json.loads(kubectl("get", kind, "-n", namespace, name, "-o", "json"))
    return found


def items(kind: str, namespace: str, *options: str) -> list[Object]:
    found: list[Object] = json.loads(kubectl("get", kind, "-n", namespace, "-o", "json", *options))["items"]
    return found


def can(verb: str, resource: str, *, namespace: str, account: str) -> bool:
    """Whether a service account (`namespace:name`) may do that."""
    asked = ["kubectl", "auth", "can-i", verb, resource, "-n", namespace, f"--as=system:serviceaccount:{account}"]
    return subprocess.run(asked, capture_output=True, timeout=TIMEOUT_S, check=False).returncode == 0


def until(condition: Callable[[], bool], timeout_s: float, what: str, *, poll_s: float = 1.0) -> None:
    """Raises Failed: not in that time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(f"{what}: not in {timeout_s:.0f} s")
        time.sleep(poll_s)


class Watch:
    """Every version of every object of a kind in a namespace, in a thread, until `stop`."""

    def __init__(self, kind: str, namespace: str, on_event: Callable[[str, Object], None]) -> None:
        command = ["kubectl", "get", kind, "-n", namespace, "--watch", "--output-watch-events", "-o", "json"]
        self._command, self._on_event = command, on_event
        self._stopped = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._run, name=f"watch-{kind}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._process is not None:
            self._process.terminate()
        self._thread.join(10)

    def _run(self) -> None:
        while not self._stopped.is_set():
            with subprocess.Popen(
                self._command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            ) as process:
                self._process = process
                self._read(process)
                process.terminate()
            self._stopped.wait(1.0)

    def _read(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        for line in process.stdout:
            event = json.loads(line)
            self._on_event(event["type"], event["object"])


class Logs:
    """The log of every container that was started, followed into a folder while its pod is there."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._following: dict[tuple[str, str, int], subprocess.Popen[bytes]] = {}

    def follow(self, pod: Object) -> None:
        meta, status = pod["metadata"], pod.get("status") or {}
        for state in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
            place = meta["uid"], state["name"], int(state.get("restartCount") or 0)
            if place in self._following or not (state["state"].get("running") or state["state"].get("terminated")):
                continue
            command = ["kubectl", "logs", "-f", "-n", meta["namespace"], meta["name"], "-c", state["name"]]
            with (self._folder / f"{meta['name']}.{state['name']}.{place[2]}.log").open("wb") as file:
                self._following[place] = subprocess.Popen(command, stdout=file, stderr=subprocess.DEVNULL)

    def stop(self) -> None:
        for process in self._following.values():
            process.terminate()
            process.wait(10)
