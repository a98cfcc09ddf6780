"""Golden values of what executors and jobs tell each other: job files, answers, exit codes, progress, environments."""

import asyncio
import contextlib
import io
import json
import logging
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

from pydantic import AliasChoices
from pydantic_settings import BaseSettings

from moaa.api import MoAA
from moaa.api.base import SecretKey
from moaa.api.models import Serving
from moaa.contract.answers import FailureAnswer, WaitingAnswer, failure, pack, read
from moaa.contract.checks import CheckAnswer, check_job
from moaa.contract.job import StageJob, stage_job
from moaa.contract.progress import Figures
from moaa.contract.vllm import options_for
from moaa.errors import (
    CallError,
    DataError,
    Fenced,
    ResourceError,
    ServerError,
    StageError,
    StoreError,
    UsageError,
)
from moaa.local.jobs import JobFiles, classify
from moaa.local.jobs import command as job_command
from moaa.local.jobs import environment as job_environment
from moaa.local.options import RunOptions
from moaa.local.serving.vllm import command as server_command
from moaa.local.serving.vllm import environment as server_environment
from moaa.store.objects.open import StoreSettings
from moaa_jobs.__main__ import main as run_job
from moaa_jobs.fetch import FetchSettings
from moaa_jobs.runner.context import Deferred, Permanent
from moaa_jobs.runner.settings import JobSettings
from moaa_jobs.tell.answer import answer
from moaa_jobs.tell.progress import Progress
from moaa_jobs.training.driver.cluster import RaySettings
from moaa_operator.settings import Settings as OperatorSettings
from tests.golden.book import digest
from tests.golden.plan import walk
from tests.golden.resources import METHODS, rich
from tests.operator_helpers import Cluster, until
from tests.plan_helpers import tree

WHOLE = ("i0-resolve", "i1-judge", "i2-promote")
"""Stages whose job files are kept whole."""
FIGURES: Figures = {
    "rows_done": 40,
    "rows_total": 100,
    "rows_stage": 300,
    "failed": 2,
    "waiting": {"a": 3},
    "calls": 120,
    "calls_reused": 7,
    "prompt_tokens": 9000,
    "completion_tokens": 4000,
    "message": "fetching s3://data/sft.jsonl",
}


def job_files() -> dict[str, Any]:
    """The text of job files, as the operator puts it into a ConfigMap and as the local executor writes it."""
    found: dict[str, Any] = {}
    for method in METHODS:
        owner = rich(method, "base")
        results, identities = walk(owner)
        for name, identity in identities.items():
            before = {known: results[known] for known in identity.stage.needs}
            endpoints = {model: [f"http://{model}.svc:8000/v1"] for model in identity.stage.serves}
            job = stage_job(
                identity, owner, before, run="team-small-uid", endpoints=endpoints, served_names={"base": "student"}
            )
            found[f"{method} {name}"] = _job_file(job, whole=method == "Mixture" and name in WHOLE)
    owner = rich("Mixture", "exact")
    check = check_job(owner, {"i0-resolve": walk(owner)[0]["i0-resolve"]}, run="team-small-uid")
    text = check.model_dump_json(by_alias=True)
    found["check"] = {"operator": digest(text)[:16], "fields": " ".join(json.loads(text))}
    return found


def _job_file(job: StageJob, *, whole: bool) -> dict[str, Any]:
    operator, local = job.model_dump_json(by_alias=True), job.model_dump_json(by_alias=True, indent=1)
    return {"operator": digest(operator)[:16], "local": digest(local)[:16]} | ({"text": local} if whole else {})


def answers() -> dict[str, Any]:
    """What answers look like, short, long and too long, and what is read from a container's last words."""
    results, _ = walk(rich("Mixture", "exact"))
    found = CheckAnswer(results=list(results.values())[:2], absent=["f" * 64], is_complete=False)
    many, packed = ({f"model-{i}": digest(str(i)) for i in range(count)} for count in (200, 60))
    resolved = results["i0-resolve"]
    words = ['a line\n{"error":"e","permanent":true}\n', "no answer", '[1]\n{"zlib85": "???"}']
    said: dict[str, Any] = {
        "stage": pack(results["i0-evaluate"]),
        "inspect": pack(found),
        "waiting": pack(WaitingAnswer(waiting={"a": 3}, calls=12)),
        "failure": pack(failure("column `messages` is missing", permanent=True)),
        "long failure": _ends_of(pack(failure("x" * 3000 + "é" * 3000, permanent=False)), 300),
        # How well it is squeezed is zlib's.
        "packed": (pack(resolved.with_(models=packed)) or "")[:12],
        "too long": pack(resolved.with_(models=many)),
        "read": [said.model_dump() if (said := read(text, FailureAnswer)) else {} for text in words],
    }
    try:
        answer(None, resolved.with_(models=many))
    except StageError as error:
        said["refused"] = str(error)
    return said


def _ends_of(text: str | None, length: int) -> dict[str, Any]:
    assert text is not None
    return {"bytes": len(text.encode()), "head": text[:length], "tail": text[-length:]}


ENDS: Mapping[str, BaseException | None] = {
    "done": None,
    "rows wait": Deferred({"a": 3}),
    "fenced": Fenced("attempt 2 has taken over"),
    "permanent": Permanent("3 of 4 rows failed"),
    "data": DataError("sft.jsonl, line 3: no messages"),
    "resource": ResourceError("MoAA team/small", []),
    "usage": UsageError("--shard: 9 is wrong"),
    "store": StoreError("the bucket does not answer"),
    "server": ServerError("the server is gone"),
    "stage": StageError("no manifest"),
    "call": CallError("timeout", "no answer in 300 s"),
    "stopped": asyncio.CancelledError(),
}


def ends() -> dict[str, Any]:
    """How each end of a job shows: exit code, last words on stderr, answer; and what both executors make of it."""
    with tempfile.TemporaryDirectory() as folder, _quiet_logs():
        at = Path(folder)
        found = {name: _end(at, error) for name, error in ENDS.items()}
        check = check_job(_owner(at), {}, run="r").model_dump_json()
        found["preflight"] = _main(at, check, "preflight")
        found["inspect"] = _main(at, check, "inspect")
        found["an unknown command"] = _main(at, check, "inspekt")
    return {
        "jobs": found,
        "local": {str(code): _classified(code) for code in (0, 1, 2, 64, 69, 75, 137, 143)},
        "operator": {name: _in_status(code, said) for name, (code, said) in _LAST_WORDS.items()},
    }


def _end(folder: Path, error: BaseException | None) -> dict[str, Any]:
    """A stage that ends so: without its manifest where nothing is raised."""

    async def run(job: StageJob, context: Any) -> None:
        context.progress.update(calls=5)
        if error is not None:
            raise error

    owner = _owner(folder)
    identity = walk(owner)[1]["i0-resolve"]
    with patch("moaa_jobs.stages.resolve.run", run):
        return _main(folder, stage_job(identity, owner, {}, run="r").model_dump_json())


def _owner(folder: Path) -> MoAA:
    return MoAA.model_validate(tree(spec__storage__uri=f"file://{folder}/store"))


def _main(folder: Path, job: str, *command: str) -> dict[str, Any]:
    """`python -m moaa_jobs` in this process."""
    (folder / "job.json").write_text(job)
    log, progress = folder / "termination-log", folder / "progress.json"
    for file in (log, progress):
        file.unlink(missing_ok=True)
    env = {"MOAA_WORK_DIR": f"{folder}/work", "MOAA_TERMINATION_LOG": str(log), "MOAA_PROGRESS_FILE": str(progress)}
    said = io.StringIO()
    argv = ["moaa_jobs", *command, "--job", str(folder / "job.json")]
    with patch.dict(os.environ, env), patch.object(sys, "argv", argv), contextlib.redirect_stderr(said):
        code = run_job()
    lines = [line for line in said.getvalue().splitlines() if line.startswith("{")]
    return {
        "code": code,
        "answer": _anonymous(log.read_text() if log.exists() else None, folder),
        "lastWords": _anonymous(lines[-1] if lines else None, folder),
        "progress": sorted(json.loads(progress.read_text())) if progress.exists() else None,
    }


def _anonymous(text: str | None, folder: Path) -> str | None:
    """Paths and what follows from them masked: digests of stages whose resource names the folder."""
    return None if text is None else text.replace(str(folder), "<folder>")


@contextlib.contextmanager
def _quiet_logs() -> Iterator[None]:
    """A job sets up logging for its process; afterwards it is as it was."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        yield
    finally:
        root.handlers[:] = before
        root.setLevel(level)


def _classified(code: int) -> dict[str, Any]:
    outcome = classify(code, seconds=1.0, log_tail=["one", "two"], progress={"waiting": {"a": 3}, "calls": 5})
    return {"end": str(outcome.end), "error": outcome.error, "waiting": outcome.waiting}


_LAST_WORDS: Mapping[str, tuple[int, str]] = {
    "permanent": (64, '{"error": "no rows", "permanent": true}'),
    "fenced": (69, '{"error": "attempt 2 has taken over", "permanent": false}'),
    "rows wait": (75, '{"waiting": {"a": 3}, "calls": 12}'),
    "crashed": (1, '{"error": "the bucket does not answer", "permanent": false}'),
    "killed": (137, ""),
    "stopped": (143, ""),
    "done without a result": (0, ""),
}


def _in_status(code: int, said: str) -> dict[str, Any]:
    """What the operator writes of a stage whose only Job ends so."""
    cluster = Cluster()
    cluster.end(until(cluster, "i0-resolve"), code=code, message=said)
    cluster.step()
    conditions = [f"{c['type']} {c['status']} {c['reason']}: {c['message']}" for c in cluster.status["conditions"]]
    return {"phase": cluster.phase, "attempt": cluster.entry("i0-resolve"), "conditions": conditions}


def progress() -> dict[str, Any]:
    """The progress file, of model calls and of a training; a second passes between two updates."""
    with tempfile.TemporaryDirectory() as folder, _quiet_logs():
        calls, training = Path(folder) / "calls.json", Path(folder) / "training.json"
        moments = iter(range(1000))
        one = Progress("i1-judge", calls, clock=lambda: float(next(moments)))
        one.update(**{**FIGURES, "rows_done": 20})
        one.update(**FIGURES)
        two = Progress("i1-sft", training, clock=lambda: float(next(moments)))
        two.update(step=10, steps=100, loss=0.7)
        two.update(step=20, steps=100, loss=0.6, message="packing")
        return {"calls": calls.read_text(), "training": training.read_text()}


def environments() -> dict[str, Any]:
    """Names of variables that are read, and what children are given."""
    read = (StoreSettings, RunOptions, JobSettings, FetchSettings, RaySettings, OperatorSettings)
    files = JobFiles(*(Path(name) for name in ("job.json", "progress.json", "job.log", "scratch")))
    inherited = {
        "PATH": "/bin",
        "PYTHONDONTWRITEBYTECODE": "1",
        "AWS_SECRET_ACCESS_KEY": "s",
        "MOAA_SECRET_HF_TOKEN": "s",
        "HF_TOKEN": "s",
    }
    config = {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 64, "torch_dtype": "float32"}
    cache = Path("/cache")
    servings = {"cpu": Serving(gpus=0, args=["--seed", "1"]), "gpu": Serving(gpus=2, max_model_len=4096)}
    found: dict[str, Any] = {
        "read": {kind.__name__: _variables(kind) for kind in read},
        "secret": SecretKey(name="hf-hub", key="to.ken").environment_variable,
        "job": job_environment(inherited, files, gpus=("0", "1"), cache=cache),
        "job command": job_command(files)[1:],
    }
    for name, serving in servings.items():
        gpus = [str(i) for i in range(serving.gpus)]
        found[f"{name} server"] = server_environment(inherited, serving=serving, gpus=gpus, cache=cache)
        found[f"{name} server command"] = server_command(
            Path("/weights"), served_name="m", serving=serving, port=8000, config=config, python="python"
        )
        found[f"{name} server options"] = options_for(config, serving)
    return found


def _variables(kind: type[BaseSettings]) -> dict[str, str]:
    """Variables of a settings class and their defaults."""
    prefix = kind.model_config.get("env_prefix", "")
    return {
        _alias(field.validation_alias) or f"{prefix}{name}".upper(): str(field.get_default(call_default_factory=True))
        for name, field in kind.model_fields.items()
    }


def _alias(alias: object) -> str:
    return " or ".join(map(str, alias.choices)) if isinstance(alias, AliasChoices) else str(alias or "")
