"""Small real processes that stand for jobs and servers, and a resource to run them with.

The fake job speaks the real protocol (job file, exit codes, progress file, manifest) with the standard library alone,
so that a run of it takes 50 ms. What it does is told by `script.json`: for each stage a list of behaviours, one a run.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from moaa.api import MoAA
from moaa.local.executor import Settings
from moaa.local.jobs import JobFiles
from moaa.local.serving.machine import Capacity
from moaa.local.serving.server import ServerSpec

FAKE_JOB = """
import hashlib, json, os, signal, sys, time
job = json.load(open(sys.argv[1]))
root, control = sys.argv[2], sys.argv[3]
stage, endpoints = job["stage"], sorted(job["endpoints"])
runs = os.path.join(control, "runs.jsonl")
before = [json.loads(line) for line in open(runs)] if os.path.exists(runs) else []
number = sum(one["stage"] == stage for one in before)
with open(runs, "a") as out:
    out.write(json.dumps({"stage": stage, "pid": os.getpid(), "up": endpoints, "urls": job["endpoints"]}) + "\\n")
script = json.load(open(os.path.join(control, "script.json"))).get(stage, [])
what = script[number] if number < len(script) else "ok"

def progress(**figures):
    name = os.environ["MOAA_PROGRESS_FILE"]
    with open(name + ".tmp", "w") as out:
        json.dump({"stage": stage, **figures}, out)
    os.replace(name + ".tmp", name)

def leave(code, error=None):
    if error:
        print(json.dumps({"error": error, "permanent": code == 64}), file=sys.stderr, flush=True)
    sys.exit(code)

if what.startswith("crash"):
    if what[5:]:
        progress(rows_done=99, rows_total=100, saved=int(what[5:]))
    leave(1, "it broke")
if what == "permanent":
    leave(64, "column `messages` is missing")
if what == "fenced":
    leave(69)
if what == "silent":
    leave(0)
if what.startswith("spend"):
    progress(rows_done=1, rows_total=4, prompt_spent={"a": int(what[5:])}, completion_spent={"a": 50})
if what.startswith("finished "):
    progress(rows_done=1, rows_total=4, finished_with=what[9:].split())
if what.startswith(("wait", "spend", "finished")):
    # Polite: SIGTERM ends it with 143, as the real job does.
    signal.signal(signal.SIGTERM, lambda *_: (open(os.path.join(control, "stopped"), "w").close(), sys.exit(143)))
    if what.startswith("wait"):
        progress(rows_done=1, rows_total=4)
    open(os.path.join(control, "waiting"), "w").close()
    deadline = time.time() + 60
    while not os.path.exists(os.path.join(control, "go")) and time.time() < deadline:
        time.sleep(0.01)
if what == "stuck":
    progress(waiting={"b": 3}, rows_done=0, calls=0)
    leave(75)
absent = [name for name in job["serves"] if name not in endpoints]
if what == "ok" and absent:
    # Rows need the models one after the other: what is up answers, the next absent one is waited for.
    seen = {name for one in before if one["stage"] == stage for name in one["up"]} | set(endpoints)
    left = [name for name in job["serves"] if name not in seen]
    if left:
        progress(waiting={left[0]: 4}, rows_done=0, calls=len(seen))
        leave(75)

def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()

names = {"resolve": ["sft-0", "eval-own", "models"], "stage-data": ["sft-0", "eval-own"], "generate": ["conversations"],
         "sft": ["model"], "evaluate": ["answers", "scores"], "promote": ["model", "scores"]}[job["kind"]]
path = f"stages/{job['kind']}/{job['inputs'][:32]}/{job['fingerprint'][:32]}"
outputs = {name: {"digest": digest(job["fingerprint"] + name), "rows": 4} for name in names}
files = {}
if job["kind"] == "sft":
    key, body = f"{path}/out/model/config.json", b"{}"
    os.makedirs(os.path.join(root, path, "out/model"), exist_ok=True)
    open(os.path.join(root, key), "wb").write(body)
    sha = hashlib.sha256(body).hexdigest()
    outputs["model"] = {"digest": digest(f"config.json\\t{sha}\\n"), "uri": f"{path}/out/model"}
    files["model"] = [{"key": key, "sizeBytes": len(body), "sha256": sha}]
if job["kind"] == "promote":
    outputs["model"] = job["results"]["i1-sft"]["outputs"]["model"]
models = {}
if job["kind"] == "resolve":
    for model in job["resource"]["spec"]["models"]:
        body = open(model["source"].removeprefix("file://") + "/config.json", "rb").read()
        models[model["name"]] = digest(f"config.json\\t{hashlib.sha256(body).hexdigest()}\\n")
manifest = {"stage": stage, "kind": job["kind"], "iteration": job["iteration"], "run": job["run"],
            "inputs": job["inputs"], "fingerprint": job["fingerprint"], "attempt": number + 1,
            "document": job["document"], "outputs": outputs, "files": files, "models": models,
            "started": "2026-01-01T00:00:00Z", "finished": "2026-01-01T00:00:01Z", "seconds": 1.0}
os.makedirs(os.path.join(root, path), exist_ok=True)
if what == "overtaken":
    # Another run is at work on it, and has the manifest nearly ready.
    json.dump(manifest, open(os.path.join(root, path, "nearly.json"), "w"))
    leave(69)
temporary = os.path.join(root, path, ".manifest")
json.dump(manifest, open(temporary, "w"))
os.replace(temporary, os.path.join(root, path, "manifest.json"))
"""

FAKE_SERVER = """
# With a bare socket, since http.server alone takes 40 ms to import.
import os, socket, sys
port, mode, name, control = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
with open(os.path.join(control, "servers.txt"), "a") as out:
    out.write(f"{name} {os.getpid()}\\n")
print("loading", name, flush=True)
if mode == "dies":
    print("ValueError: no such architecture", flush=True)
    sys.exit(3)
if mode.startswith("says "):
    os.write(2, open(mode[5:], "rb").read())
    sys.exit(1)

def answer(method):
    if method == "GET":
        return "200 OK" if mode != "never" else "503 Service Unavailable", "{}"
    if mode == "mute":
        return "400 Bad Request", '{"error": "no chat template"}'
    return "200 OK", '{"choices": [{"message": {"content": "x"}}]}'

def serve(connection):
    with connection, connection.makefile("rb") as asked:
        method = asked.readline().decode().partition(" ")[0]
        length = 0
        while line := asked.readline().strip():
            key, _, value = line.decode().partition(":")
            length = int(value) if key.lower() == "content-length" else length
        asked.read(length)
        if method:  # else the other side only looked whether the port is open
            status, body = answer(method)
            head = f"HTTP/1.1 {status}\\r\\nconnection: close\\r\\ncontent-length: {len(body)}\\r\\n\\r\\n"
            connection.sendall((head + body).encode())

listening = socket.create_server(("127.0.0.1", port))
while True:
    connection, _ = listening.accept()
    try:
        serve(connection)
    except OSError:
        pass
"""

FAST = [sys.executable, "-I", "-S", "-c"]


class FakeMachine:
    """A folder with a store, weights, and the files by which a test and the fake processes talk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "store"
        self.control = folder / "control"
        for path in (self.root, self.control):
            path.mkdir(parents=True, exist_ok=True)
        self.modes: dict[str, str] = {}
        """How servers behave, by name: serves, dies, never (ready), mute (refuses chats), or `says FILE`, which it
        writes before it ends with 1."""
        if not (self.control / "script.json").exists():
            self.script({})

    def script(self, behaviours: Mapping[str, Sequence[str]]) -> None:
        (self.control / "script.json").write_text(json.dumps(behaviours))

    def runs(self) -> list[dict[str, Any]]:
        """Every run of the fake job, in order."""
        file = self.control / "runs.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def stages(self) -> list[str]:
        return [run["stage"] for run in self.runs()]

    def servers(self) -> list[str]:
        """Names of the servers that were started, in order."""
        file = self.control / "servers.txt"
        return [line.split()[0] for line in file.read_text().splitlines()] if file.exists() else []

    def pids(self) -> list[int]:
        """Of every fake job and server that was started."""
        file = self.control / "servers.txt"
        servers = [int(line.split()[1]) for line in file.read_text().splitlines()] if file.exists() else []
        return servers + [run["pid"] for run in self.runs()]

    def job_command(self, files: JobFiles) -> list[str]:
        return [*FAST, FAKE_JOB, str(files.job), str(self.root), str(self.control)]

    def launch(
        self,
        spec: ServerSpec,
        *,
        port: int,
        gpus: Sequence[str],  # noqa: ARG002  the protocol's
    ) -> tuple[list[str], dict[str, str]]:
        mode = self.modes.get(spec.name, "serves")
        return [*FAST, FAKE_SERVER, str(port), mode, spec.name, str(self.control)], {}

    def settings(self, *, memory_gib: float = 64.0, gpus: int = 0, until: str | None = None) -> Settings:
        return Settings(
            folder=self.folder / "work",
            cache=self.folder / "cache",
            capacity=lambda: Capacity(memory_gib=memory_gib, gpus=tuple(str(k) for k in range(gpus))),
            until=until,
            look_s=0.0,
            retry_delay_s=0.0,
            environment={},
            job_command=self.job_command,
            launch=self.launch,
        )

    def resource(self, *, mixture: bool = True, evaluation: bool = False, **changes: Any) -> MoAA:
        """Three models of 2 GiB each that write the answers of four rows; `changes` go into the spec."""
        models = []
        for name in ("a", "b", "c"):
            weights = self.folder / "weights" / name
            weights.mkdir(parents=True, exist_ok=True)
            (weights / "config.json").write_text(json.dumps({"_name_or_path": name}))
            models.append({"name": name, "source": f"file://{weights}", "serving": {"gpus": 0, "memoryGib": "2"}})
        answers = "Mixture" if mixture else "Given"
        spec: dict[str, Any] = {
            "storage": {"uri": f"file://{self.root}"},
            "models": models,
            "student": "a",
            "data": {"sft": [{"source": "file:///none.jsonl", "answers": answers}]},
            "training": {
                "resources": {"gpusPerWorker": 0},
                "sft": {"precision": "FP32", "batchSize": 4},
            },
            "failures": {"retries": 2},
        }
        if mixture:
            proposers = [{"model": "a"}, {"model": "b"}]
            spec["mixture"] = {"layers": [{"proposers": proposers}], "aggregator": {"model": "c"}}
        if evaluation:
            benchmark = {"name": "own", "type": "ExactMatch", "source": "file:///none.jsonl"}
            spec["evaluation"] = {"selection": [benchmark], "members": False}
        return MoAA.model_validate(
            {
                "apiVersion": "moaa.dev/v1alpha1",
                "kind": "MoAA",
                "metadata": {"name": "demo"},
                "spec": {**spec, **changes},
            }
        )
