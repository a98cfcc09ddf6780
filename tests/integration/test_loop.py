"""The thin slice with everything real: `moaa run` of a very small tiny resource, on S3, killed once on the way.

vLLM serves the mixture and the students, Ray and DeepSpeed train, versitygw is the store and has the student's weights
and the data. What a run leaves behind is read as a user reads it: exit codes, `summary.json`, what the command says.

Every request to S3 is recorded, those of the run and those of a server's pod that fetches weights: the policies that
Terraform makes have to allow each of them.
"""

import asyncio
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("vllm")
pytest.importorskip("ray")

from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from benchmarks.soak.processes import Kind, Process, alive, below, marked
from benchmarks.tiny_claims import main_resource, manifests
from moaa.api.reading.load import load
from moaa.api.resource import Storage
from moaa.contract.weights import BringWeights
from moaa.plan.graph import build
from moaa.store.objects.open import open_store
from moaa.store.stages.manifest import StageManifest
from moaa.store.stages.shards import read_table
from tests import s3_calls
from tests.fakes.hub import running_hub
from tests.fakes.hub_state import WRITER
from tests.integration.s3_server import S3Server, run_s3_server
from tests.s3_recorder import Recorder, record

ROOT = Path(__file__).parents[2]
MODELS = ("proposer-a", "proposer-b", "aggregator", "student")
SFT_ROWS, PREFERENCE_ROWS, PROMPTS = 24, 48, 16
RUN_TIMEOUT_S = 1200
GONE_S = 90.0
NOTHING_TO_DO_S = 20.0
TINY = ROOT / "examples" / "tiny"

pytestmark = pytest.mark.timeout(3000)


def write_resource(folder: Path, bucket: str, storage: Mapping[str, str]) -> Path:
    """The resource with its storage on a line of its own; everything else is the same for every storage."""
    document = main_resource(0, folder, {})
    spec = document["spec"]
    spec["storage"] = dict(storage)
    next(model for model in spec["models"] if model["name"] == "student")["source"] = f"s3://{bucket}/weights/student"
    sources = [*spec["data"]["sft"], *spec["data"]["preference"], *spec["evaluation"]["selection"]]
    for source in sources:
        source["source"] = source["source"].replace(f"file://{TINY}", f"s3://{bucket}")
    spec["models"] = [model for model in spec["models"] if model["name"] in MODELS]
    layer = spec["mixture"]["layers"][0]
    layer["proposers"] = [part for part in layer["proposers"] if part["model"] in MODELS]
    spec["mixture"] |= {"minProposals": 1, "addStudent": False}
    judge = {name: spec["judge"][name] for name in ("aggregator", "criteriaChoices")}
    spec["judge"] = {"method": "Single", "criteria": 0, **judge}
    del spec["anchors"]  # alone its judge is right half the time, and would be stopped
    spec["data"]["sft"][0]["limit"], spec["data"]["preference"][0]["limit"] = SFT_ROWS, PREFERENCE_ROWS
    selection = {**spec["evaluation"]["selection"][0], "limit": PROMPTS}
    spec["evaluation"] = {"selection": [selection], "members": False}
    spec["training"]["sft"] |= {"epochs": "2", "batchSize": 8, "microBatchSize": 4, "checkpointSteps": 2}
    spec["training"]["dpo"] |= {"samples": 4, "epochs": "2", "batchSize": 4, "microBatchSize": 2}
    spec["iterations"] = 1
    spec["failures"] = {"maxFraction": "0.5"}  # the tiny models sometimes answer nothing
    file = folder / "loop.yaml"
    file.write_text(yaml.safe_dump(document))
    return file


@dataclass(frozen=True)
class Cli:
    """The command line, with the environment of this session."""

    folder: Path
    environment: dict[str, str]

    @contextmanager
    def started(self, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
        """The command's process; killed when it still runs at the end of the block."""
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "moaa.cli", *arguments],
                env=self.environment,
                cwd=self.folder,
                stdout=log,
                stderr=log,
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def __call__(self, *arguments: str) -> str:
        """What the command wrote, once it ended with 0."""
        start = self.log.stat().st_size if self.log.exists() else 0
        with self.started(*arguments) as process:
            code = process.wait(RUN_TIMEOUT_S)
        said = self.log.read_bytes()[start:].decode()
        assert code == 0, said[-8000:]
        return said

    @property
    def log(self) -> Path:
        return self.folder / "moaa.log"

    def run(self, file: Path, *options: str) -> tuple[str, ...]:
        return ("run", str(file), "--workdir", str(self.folder / "work"), *options)


def wait_until(condition: Callable[[], bool], timeout_s: float, what: str) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not in {timeout_s:.0f} s"
        time.sleep(0.2)


async def stock(bucket: str) -> None:
    """Put the student's weights and the data into the bucket, as an administrator would."""
    store = open_store(Storage(uri=f"s3://{bucket}"))
    try:
        for name, folder in (("weights/student", TINY / "models" / "student"), ("data", TINY / "data")):
            for file in folder.iterdir():
                await store.upload(f"{name}/{file.name}", file)
    finally:
        await store.close()


@dataclass(frozen=True)
class Loop:
    """A finished run on S3 that was killed once."""

    file: Path
    cli: Cli
    s3: S3Server
    asked: Recorder
    """Of S3, by everything that is a job's or the runner's."""
    left_behind: list[Process]
    """Of what ran below the runner when it was killed, what was there `GONE_S` later."""


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    folder = tmp_path_factory.mktemp("loop")
    with run_s3_server(folder / "s3") as s3, record(s3.endpoint) as asked, pytest.MonkeyPatch.context() as patch:
        for name, value in s3.environment.items():
            patch.setenv(name, value)
        asyncio.run(stock(s3.bucket))
        patch.setenv("AWS_ENDPOINT_URL", asked.endpoint)
        path = os.environ.get("PYTHONPATH", "")
        cli = Cli(folder, {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'jobs'}:{path}"})
        file = write_resource(folder, s3.bucket, {"uri": f"s3://{s3.bucket}/{s3_calls.PREFIX}"})
        left = kill_while_training(cli, file)
        cli(*cli.run(file))
        yield Loop(file, cli, s3, asked, left)


def kill_while_training(cli: Cli, file: Path) -> list[Process]:
    """`moaa run`, killed with SIGKILL when a Ray Train worker is there; returns what outlives it."""
    with cli.started(*cli.run(file)) as runner:

        def trains() -> bool:
            assert runner.poll() is None, cli.log.read_text()[-8000:]
            return any(process.kind is Kind.WORKER for process in below(runner.pid))

        wait_until(trains, RUN_TIMEOUT_S, "a Ray Train worker")
        seen = below(runner.pid)
    assert {Kind.WORKER, Kind.JOB, Kind.GUARD} <= {process.kind for process in seen}
    deadline = time.monotonic() + GONE_S
    while alive(seen) and time.monotonic() < deadline:
        time.sleep(0.2)
    return alive(seen)


async def tables(file: Path, stages: list[str]) -> dict[str, list[str]]:
    """Row ids of every table of the stages, as `<stage>/<table>`."""
    declared = load(file)
    found = await manifests(declared)
    return {f"{s}/{t}": [row["id"] for row in await rows(file, found[s], t)] for s in stages for t in found[s].tables}


async def rows(file: Path, manifest: StageManifest, table: str) -> list[dict[str, Any]]:
    store = open_store(load(file).spec.storage)
    try:
        return await read_table(store, manifest, table)
    finally:
        await store.close()


def test_a_killed_runner_leaves_no_process(loop: Loop) -> None:
    assert loop.left_behind == []


def test_the_report_has_every_stage_done_and_scores(loop: Loop) -> None:
    loop.cli("report", str(loop.file), "--out", str(loop.cli.folder / "report"))
    summary = json.loads((loop.cli.folder / "report" / "summary.json").read_text())
    assert [stage["id"] for stage in summary["stages"]] == list(build(load(loop.file)).stages)
    assert {stage["status"] for stage in summary["stages"]} == {"done"}
    assert summary["run"]["isComplete"]
    assert [(score["model"], score["n"]) for score in summary["scores"]] == [
        ("base", PROMPTS),
        ("sft", PROMPTS),
        ("dpo", PROMPTS),
    ]
    assert all(0 <= score["value"] <= 1 for score in summary["scores"])


def test_others_take_what_is_exported(loop: Loop) -> None:
    """transformers loads the student and writes an answer; TRL trains a step on each dataset as it is."""
    taken = loop.cli.folder / "taken"
    folders = {name: str(taken / name) for name in ("model", "sft", "pairs")}
    options = [part for name, folder in folders.items() for part in (f"--{name}", folder)]
    loop.cli("export", str(loop.file), *options, "--stage", "i1-dpo")
    sft, pairs = (load_dataset(folders[name], split="train") for name in ("sft", "pairs"))
    assert sft.column_names == ["id", "iteration", "messages"]
    assert len(sft) > 0
    assert len(pairs) > 0
    tokenizer = AutoTokenizer.from_pretrained(folders["model"])
    student = AutoModelForCausalLM.from_pretrained(folders["model"])
    prompt = tokenizer.apply_chat_template(sft[0]["messages"][:-1], add_generation_prompt=True, tokenize=False)
    ids = tokenizer(prompt, return_tensors="pt", add_special_tokens=False)["input_ids"]
    assert student.generate(ids, max_new_tokens=4).shape[1] > ids.shape[1]
    common = {"max_steps": 1, "use_cpu": True, "bf16": False, "report_to": [], "save_strategy": "no"}
    for trainer, settings, rows in ((SFTTrainer, SFTConfig, sft), (DPOTrainer, DPOConfig, pairs)):
        arguments = settings(output_dir=str(taken / "out"), **common)
        trained = trainer(model=student, processing_class=tokenizer, train_dataset=rows, args=arguments).train()
        assert math.isfinite(trained.training_loss)


LOAD = """
from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer

rows = [load_dataset(f"me/tiny-{name}", split="train").num_rows for name in ("sft", "pairs")]
student, tokenizer = AutoModelForCausalLM.from_pretrained("me/tiny"), AutoTokenizer.from_pretrained("me/tiny")
ask = [{"role": "user", "content": "upper: abc"}]
ids = tokenizer.apply_chat_template(ask, add_generation_prompt=True, return_tensors="pt", return_dict=True)
print(*rows, student.generate(**ids, max_new_tokens=4).shape[1] > ids["input_ids"].shape[1])
"""


def test_others_load_what_is_pushed_from_the_hub(loop: Loop, tmp_path: Path) -> None:
    """In a process of its own: the Hub's libraries read HF_ENDPOINT when they are imported."""
    options = [
        "--model",
        "student",
        "--sft",
        "sft",
        "--pairs",
        "pairs",
        "--stage",
        "i1-dpo",
        "--push-to-hub",
        "me/tiny",
    ]
    with running_hub() as hub:
        variables = {"HF_ENDPOINT": hub.url, "HF_TOKEN": WRITER, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path)}
        cli = Cli(tmp_path, {**loop.cli.environment, **variables})
        said = cli("export", str(loop.file), *options, "--private")
        assert WRITER not in said
        assert "holds all of it already" in cli("export", str(loop.file), *options)
        loaded = subprocess.run(
            [sys.executable, "-c", LOAD], env=cli.environment, capture_output=True, text=True, check=True
        )
    sft, pairs, has_answered = loaded.stdout.split()
    assert f"{int(sft):,} conversations" in said
    assert f"{int(pairs):,} preference pairs" in said
    assert has_answered == "True"


def test_running_it_again_does_nothing_and_says_so(loop: Loop) -> None:
    started = time.monotonic()
    said = loop.cli(*loop.cli.run(loop.file))
    assert time.monotonic() - started < NOTHING_TO_DO_S
    stages = len(build(load(loop.file)).stages)
    assert f"nothing to do: all {stages} stages are done" in said


def expect_allowed(component: str, asked: Recorder) -> None:
    """Everything that was asked for is allowed, and no right is granted for nothing.

    But for uploads of ours in parts: the tiny models are too small for them to fail and be aborted or looked at.
    """
    assert asked.unknown == []
    assert s3_calls.refused(component, asked.calls) == []
    unused = s3_calls.granted(component) - {call.action for call in asked.calls}
    assert unused <= {"s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"}


def test_the_policies_allow_what_the_run_asks_s3_for(loop: Loop) -> None:
    expect_allowed("jobs", loop.asked)


async def test_the_policies_allow_what_a_server_s_pod_asks_s3_for(loop: Loop, tmp_path: Path) -> None:
    """It fetches a declared model from the bucket, and a student from the store."""
    declared = load(loop.file)
    found = await manifests(declared)
    student = declared.spec.model("student")
    (row,) = [row for row in await rows(loop.file, found["i0-resolve"], "models") if row["name"] == "student"]
    made = found["i1-dpo"].outputs["model"]
    with record(loop.s3.endpoint) as asked:
        environment = {**loop.cli.environment, "AWS_ENDPOINT_URL": asked.endpoint}
        for digest, folder in ((row["digest"], None), (made.digest, made.uri)):
            task = BringWeights(
                storage=declared.spec.storage,
                model=student,
                digest=digest,
                folder=folder,
                target=str(tmp_path / digest / "weights"),
                options=str(tmp_path / digest / "options.yaml"),
                deadline_s=60,
            )
            (tmp_path / digest).mkdir()
            fetch = [sys.executable, "-m", "moaa_jobs.fetch"]
            environment["MOAA_FETCH"] = task.model_dump_json(by_alias=True)
            ended = await asyncio.to_thread(subprocess.run, fetch, env=environment, capture_output=True, check=False)
            assert ended.returncode == 0, ended.stderr.decode()
            assert (Path(task.target) / "config.json").is_file()
    expect_allowed("serving", asked)


async def test_rows_follow_from_inputs_whatever_was_killed(loop: Loop) -> None:
    found = await manifests(load(loop.file))
    ids = await tables(loop.file, ["i0-stage-data", "i1-generate", "i1-sample", "i1-judge"])
    assert len(set(ids["i0-stage-data/sft-0"])) == len(ids["i0-stage-data/sft-0"])
    for stage, table, source, limit in (
        ("i1-generate", "conversations", "sft-0", SFT_ROWS),
        ("i1-sample", "samples", "preference-0", PREFERENCE_ROWS),
    ):
        expected = ids[f"i0-stage-data/{source}"][:limit]
        made = ids[f"{stage}/{table}"]
        assert made == [row for row in expected if row in set(made)]
        assert len(made) == limit - sum(found[stage].failures.values())
    assert ids["i1-judge/rankings"] == ids["i1-sample/samples"]
    curve = [row["step"] for row in await rows(loop.file, found["i1-sft"], "curve")]
    assert curve == list(range(1, len(curve) + 1))


async def test_a_folder_in_place_of_a_bucket_gives_the_same_rows(loop: Loop, tmp_path: Path) -> None:
    file = write_resource(tmp_path, loop.s3.bucket, {"uri": f"file://{tmp_path / 'store'}"})
    texts = [one.read_text().splitlines() for one in (file, loop.file)]
    assert sum(one != other for one, other in zip(*texts, strict=True)) == 1
    cli = Cli(tmp_path, loop.cli.environment)
    cli(*cli.run(file, "--until", "i1-generate"))
    stages = ["i0-stage-data", "i1-generate"]
    assert await tables(file, stages) == await tables(loop.file, stages)


def test_nothing_of_the_runs_is_left(loop: Loop) -> None:
    """Last, once every run of this file has ended."""
    server = f"{loop.cli.folder}/s3"
    left = [process for process in marked([f"{loop.cli.folder}/"]) if not any(server in part for part in process.argv)]
    assert left == []
