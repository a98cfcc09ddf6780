"""`moaa run` as a user has it, with its real jobs, where every model but the student is an endpoint of the fake server.

The command runs as a process of its own. Two things differ from a user's: the student is served by a relay to the same
fake server in place of vLLM, and a second attempt does not wait.
"""

import asyncio
import json
import os
import re
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from html import unescape
from pathlib import Path
from typing import Any

from moaa.api.reading.load import load_text
from moaa.api.resource import MoAA
from moaa.store.objects.directory import DirectoryStore
from moaa.store.stages.manifest import StageManifest
from moaa.store.stages.shards import read_table
from tests.fakes.model_server import Answered, Behaviour, Body, Exchange, ModelServer, completion
from tests.model_folder import write_model

ROOT = Path(__file__).parents[2]
RELAY = ROOT / "tests" / "fakes" / "student.py"
RUN_S = 300.0
SYSTEM = "Be kind."
SERVING = {"gpus": 0, "maxConcurrency": 32}
"""Of the student."""
ONE_AT_A_TIME = {"maxConcurrency": 1}
"""Of an endpoint."""
COMMAND = textwrap.dedent(
    """
    import sys
    from dataclasses import replace
    import moaa.local.options
    from moaa.cli import main as cli

    def launch(spec, *, port, gpus):
        return [sys.executable, "-I", "-S", RELAY, str(port), UPSTREAM], {}

    def settings_of(*given, **named):
        return replace(real(*given, **named), launch=launch, retry_delay_s=0)

    real = moaa.local.options.settings_of
    moaa.local.options.settings_of = settings_of
    sys.exit(cli.main(sys.argv[1:]))
    """
)
JUDGE_PROMPTS = {
    "criteria": "{question}\n{criteria}\n<a>{answer_a}</a><b>{answer_b}</b>\nChoose {count}",
    "judge": "{question}\n{criteria}\n<a>{answer_a}</a><b>{answer_b}</b>\nWrite",
    "metaJudge": "{question}\n{criteria}\n<a>{answer_a}</a><b>{answer_b}</b>\n{evaluations}\nDecide",
    "single": "{question}\n{criteria}\n<a>{answer_a}</a><b>{answer_b}</b>\nDecide",
}
"""Short, and each ends in a word that tells a fake server what it is asked for."""


def plays(*replies: Exchange) -> Behaviour:
    return Behaviour("plays", replies, Answered(""))


def says(text: str) -> Behaviour:
    return plays(completion(text))


def prompt(body: Body) -> str:
    return str(body["messages"][-1]["content"])


def shown(body: Body) -> tuple[str, str]:
    """The two answers that a judge is shown."""
    found = re.search(r"<a>(.*?)</a><b>(.*?)</b>", prompt(body), re.DOTALL)
    assert found is not None, body
    return found[1], found[2]


def pseudo_random(body: Body) -> int:
    """Follows from the model and what it is asked."""
    return int(sha256(f"{body['model']} {prompt(body)}".encode()).hexdigest(), 16)


def repeated(server: ModelServer, model: str) -> int:
    """Requests that were sent once more, in any run. One that was under way when a run ended may be."""
    asked = server.count(model)
    return asked.total() - len(asked)


@dataclass(frozen=True)
class Command:
    """One that has ended."""

    code: int
    out: str
    error: str

    @property
    def events(self) -> list[dict[str, Any]]:
        """Of a run with --json."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def said(self) -> str:
        """On one line, as far as a terminal may have broken it."""
        return " ".join(f"{self.out}\n{self.error}".split())


@dataclass
class WholeRun:
    """A folder with a student, prompts and a store, and the resource over them."""

    folder: Path
    url: str
    """Of the fake server."""
    models: Sequence[str]
    """Names of the endpoints."""
    changes: dict[str, Any] = field(default_factory=dict)
    """Of the spec."""
    endpoints: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What differs in one model's endpoint, by its name."""

    def __post_init__(self) -> None:
        write_model(self.folder / "student")

    def rows(self, name: str, questions: Iterable[str], *, answer: str | None = None, given: str | None = None) -> str:
        """Writes a source of prompts, each with its question as id; returns its URI. Each has a system message, so
        that whatever servers say of one is met. `answer` is a benchmark's, `given` the data's own reply."""
        lines = []
        for text in questions:
            messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}]
            if given is not None:
                messages.append({"role": "assistant", "content": given})
            more = {} if answer is None else {"answer": answer}
            lines.append(json.dumps({"id": text, "messages": messages, **more}) + "\n")
        (self.folder / name).write_text("".join(lines))
        return f"file://{self.folder}/{name}"

    def document(self) -> dict[str, Any]:
        models = [
            {"name": name, "endpoint": {"url": self.url, "model": name, **self.endpoints.get(name, {})}}
            for name in self.models
        ]
        student = {"name": "student", "source": f"file://{self.folder}/student", "serving": SERVING}
        spec = {
            "storage": {"uri": f"file://{self.folder}/store"},
            "models": [*models, student],
            "student": "student",
            "prompts": JUDGE_PROMPTS,
            **self.changes,
        }
        spec["training"] = {"resources": {"gpusPerWorker": 0}, **spec["training"]}
        return {"apiVersion": "moaa.dev/v1alpha1", "kind": "MoAA", "metadata": {"name": "whole"}, "spec": spec}

    @property
    def resource(self) -> MoAA:
        return load_text(json.dumps(self.document()))

    async def moaa(self, *arguments: str, **environment: str) -> Command:
        """`moaa ARGUMENTS` of this resource."""
        file = self.folder / "whole.json"
        file.write_text(json.dumps(self.document(), indent=1))
        command, *options = arguments
        port = self.url.split(":")[2].partition("/")[0]
        code = COMMAND.replace("RELAY", repr(str(RELAY))).replace("UPSTREAM", repr(port))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", code, command, str(file), *options),
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "jobs")]),
                "XDG_CACHE_HOME": str(self.folder / "cache"),
                **environment,
            },
            cwd=self.folder,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            out, error = await asyncio.wait_for(process.communicate(), RUN_S)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode is not None
        return Command(process.returncode, out.decode(), error.decode())

    async def run(self, *options: str, **environment: str) -> Command:
        return await self.moaa("run", *options, **environment)

    def log(self, stage: str) -> str:
        return (self.folder / "cache/moaa/runs/default-whole/logs" / f"{stage}.log").read_text()

    async def report(self) -> tuple[dict[str, Any], str]:
        """`summary.json`, and the page as text."""
        ended = await self.moaa("report", "--out", str(self.folder / "report"))
        assert ended.code == 0, ended.said
        page = (self.folder / "report/report.html").read_text()
        return json.loads((self.folder / "report/summary.json").read_text()), unescape(page)

    def manifest(self, stage: str) -> StageManifest:
        """The newest of the stage's."""
        found = [
            StageManifest.model_validate_json(file.read_bytes())
            for file in (self.folder / "store").rglob("manifest.json")
        ]
        return max((one for one in found if one.stage == stage), key=lambda one: one.finished)

    async def table(self, stage: str, name: str) -> list[dict[str, Any]]:
        return await read_table(DirectoryStore(self.folder / "store"), self.manifest(stage), name)
