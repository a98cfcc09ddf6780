"""Measure the tiny world's claims over several seeds, controls included.

    python -m benchmarks.tiny_claims --seeds 0 1 2 --workdir runs/claims

Each seed is one main run of `examples/tiny/moaa.yaml` and its controls, which differ from it in one thing:

- mixture-shuffled: the proposers are an endpoint that answers with what they said to another question;
- sft-own: the student is trained on what the aggregator answers by itself to the same prompts;
- dpo-coin, dpo-longest: the judge is an endpoint that tosses a coin for each pair, or takes the longer answer;
- mixture-2: the first iteration's student is a fourth proposer.

Every run of a seed shares one store, so what is equal is computed once. The teachers are served once for all seeds and
reach the runs as endpoints. Results: `<workdir>/claims.json` (scores of every question) and the verdicts on stdout.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web

from examples.tiny.claims import BENCHMARK, PROPOSERS, Scores, judge, read_scores
from moaa.api import MoAA
from moaa.api.reading.load import load
from moaa.data.slices import take
from moaa.plan.fingerprint import identify
from moaa.plan.graph import build
from moaa.plan.result import StageResult
from moaa.plan.slices import slice_rows
from moaa.plan.stage import Kind
from moaa.rows import AnswerRow, PromptRow
from moaa.store.objects.open import StoreSettings, open_store
from moaa.store.stages.manifest import StageManifest
from moaa.store.stages.shards import read_manifest, read_table

TINY = Path(__file__).resolve().parent.parent / "examples" / "tiny"
TEACHERS = (*PROPOSERS, "aggregator")
Document = dict[str, Any]


# The resource and its variants.


def main_resource(seed: int, folder: Path, urls: Mapping[str, str], world: Path = TINY) -> Document:
    """`examples/tiny/moaa.yaml` with a seed, a store of its own and the teachers as endpoints. `world` has models/ and
    data/."""
    document: Document = yaml.safe_load((TINY / "moaa.yaml").read_text())
    spec = document["spec"]
    spec["seed"] = seed
    spec["storage"] = {"uri": f"file://{folder / 'store'}"}
    for model in spec["models"]:
        model["source"] = f"file://{world}/models/{model['name']}"
        if model["name"] in urls:
            as_endpoint(model, urls[model["name"]])
    for group in ("sft", "preference"):
        for source in spec["data"][group]:
            source["source"] = f"file://{world}/data/{group}.jsonl"
    for group in ("selection", "report"):
        for benchmark in spec["evaluation"][group]:
            benchmark["source"] = f"file://{world}/data/{group}.jsonl"
    return document


def as_endpoint(model: Document, url: str) -> None:
    for field in ("source", "serving"):
        model.pop(field, None)
    model["endpoint"] = {"url": url, "model": model["name"], "maxModelLen": 256, "maxConcurrency": 64}


def variant(document: Document, name: str) -> Document:
    copy: Document = json.loads(json.dumps(document))
    copy["metadata"]["name"] = name
    return copy


def shuffled(document: Document, url: str) -> Document:
    """Only measured, not trained: `--until i0-evaluate`."""
    copy = variant(document, "shuffled")
    for model in copy["spec"]["models"]:
        if model["name"] in PROPOSERS:
            as_endpoint(model, url)
    return copy


def own_answers(document: Document, conversations: Path) -> Document:
    copy = variant(document, "own")
    spec = copy["spec"]
    spec["iterations"] = 1
    spec["data"]["sft"] = [{"source": f"file://{conversations}", "answers": "Given"}]
    spec["data"].pop("preference")
    spec["training"].pop("dpo")
    spec["mixture"]["addStudent"] = False
    spec["evaluation"]["members"] = False
    spec.pop("judge")
    spec.pop("anchors")
    return copy


def judged_by(document: Document, name: str, url: str, student: Path) -> Document:
    """DPO alone, from the main run's SFT student, with another judge."""
    copy = variant(document, name)
    spec = copy["spec"]
    spec["iterations"] = 1
    next(m for m in spec["models"] if m["name"] == "student")["source"] = f"file://{student}"
    spec["models"] = [m for m in spec["models"] if m["name"] == "student"]
    judge_model: Document = {"name": name}
    as_endpoint(judge_model, url)
    spec["models"].append(judge_model)
    spec["judge"] = {"method": "Single", "aggregator": {"model": name, "maxTokens": 8}, "criteria": 0}
    spec.pop("anchors")  # a coin would not pass, and has to go on here
    spec.pop("mixture")
    spec["data"].pop("sft")
    spec["training"].pop("sft")
    return copy


def with_student(document: Document, student: Path) -> Document:
    """The mixture of the second iteration, measured like that of the first: `--until i0-evaluate`."""
    copy = variant(document, "mixture-2")
    spec = copy["spec"]
    base = next(m for m in spec["models"] if m["name"] == "student")
    spec["models"].append({**base, "name": "dpo-one", "source": f"file://{student}"})
    sampling = spec["mixture"].get("studentSampling", {})
    spec["mixture"]["layers"][0]["proposers"].append({"model": "dpo-one", **sampling})
    return copy


# Endpoints that stand for a control, not for a model.


@asynccontextmanager
async def endpoint(answer: Callable[[Document], str]) -> AsyncIterator[str]:
    """An OpenAI-compatible endpoint on loopback; yields its base URL."""

    async def complete(request: web.Request) -> web.Response:
        body = await request.json()
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": answer(body)},
            "finish_reason": "stop",
        }
        usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
        return web.json_response({"object": "chat.completion", "choices": [choice], "usage": usage})

    app = web.Application()
    app.router.add_post("/v1/chat/completions", complete)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


def other_questions(answers: list[AnswerRow]) -> Callable[[Document], str]:
    """What the proposers said to the next question of the same benchmark, one proposer after the other."""
    by_question: dict[str, dict[str, str]] = {}
    for row in answers:
        if row["model"] in PROPOSERS and row["sample"] == 0:
            by_question.setdefault(row["prompt"], {})[row["model"]] = row["text"]
    questions = sorted(by_question, key=lambda q: hashlib.sha256(q.encode()).digest())
    following = dict(zip(questions, questions[1:] + questions[:1], strict=True))

    def answer(body: Document) -> str:
        return by_question[following[body["messages"][-1]["content"]]][body["model"]]

    return answer


def judged_answers(prompt: str) -> tuple[str, str]:
    """The two answers in a prompt made from the tiny world's `single` template."""
    lines = prompt.splitlines()
    first = next(line for line in lines if line.startswith("A: "))
    second = next(line for line in lines if line.startswith("B: "))
    return first.removeprefix("A: "), second.removeprefix("B: ")


def longest(body: Document) -> str:
    first, second = judged_answers(body["messages"][-1]["content"])
    return "[[A]]" if (len(first), first) > (len(second), second) else "[[B]]"


def coin(body: Document) -> str:
    """The same side of the pair in both orders, so that the toss counts."""
    first, second = judged_answers(body["messages"][-1]["content"])
    low, high = sorted((first, second))
    toss = hashlib.sha256(f"{low}\0{high}".encode()).digest()[0] & 1
    return "[[A]]" if (first == low) == bool(toss) else "[[B]]"


# Running and reading.


def run(document: Document, folder: Path, *until: str) -> MoAA:
    """`moaa run` of a document, from where it stands; raises CalledProcessError when it fails."""
    file = folder / f"{document['metadata']['name']}.yaml"
    file.write_text(yaml.safe_dump(document))
    options = ["--until", *until] if until else []
    command = [str(Path(sys.executable).with_name("moaa")), "run", str(file)]
    with (folder / f"{file.stem}.log").open("a") as log:
        subprocess.run([*command, "--workdir", str(folder / "work" / file.stem), *options], check=True, stdout=log)
    return load(file)


async def manifests(resource: MoAA) -> dict[str, StageManifest]:
    store = open_store(resource.spec.storage, StoreSettings())
    results: dict[str, StageResult] = {}
    found: dict[str, StageManifest] = {}
    for stage in build(resource).stages.values():
        identity = identify(stage, resource, results)
        manifest = await read_manifest(store, identity.path) if identity else None
        if manifest:
            results[stage.id] = manifest.result()
            found[stage.id] = manifest
    await store.close()
    return found


async def scores(resource: MoAA) -> Scores:
    store = open_store(resource.spec.storage, StoreSettings())
    try:
        return await read_scores(resource, store)
    finally:
        await store.close()


async def rows(resource: MoAA, manifest: StageManifest, table: str) -> list[Any]:
    store = open_store(resource.spec.storage, StoreSettings())
    try:
        return await read_table(store, manifest, table)
    finally:
        await store.close()


def student_folder(resource: MoAA, manifest: StageManifest) -> Path:
    root = Path(resource.spec.storage.uri.removeprefix("file://"))
    uri = manifest.outputs["model"].uri
    assert uri is not None
    return root / uri


async def ask_aggregator(prompts: list[PromptRow], url: str, resource: MoAA, file: Path) -> None:
    """The aggregator's own answers to the prompts, sampled as it is in the mixture, as conversations."""
    assert resource.spec.mixture is not None
    sampling = resource.spec.mixture.aggregator
    assert sampling is not None
    limit = asyncio.Semaphore(32)

    async with aiohttp.ClientSession() as session:

        async def ask(number: int, row: PromptRow) -> Document:
            body = {
                "model": "aggregator",
                "messages": row["messages"],
                "temperature": float(sampling.temperature),
                "top_p": float(sampling.top_p),
                "max_tokens": sampling.max_tokens,
                "seed": resource.spec.seed * 1_000_003 + number,
            }
            async with limit, session.post(f"{url}/chat/completions", json=body) as response:
                response.raise_for_status()
                text = (await response.json())["choices"][0]["message"]["content"].strip()
            return {"id": row["id"], "messages": [*row["messages"], {"role": "assistant", "content": text}]}

        answered = await asyncio.gather(*(ask(i, row) for i, row in enumerate(prompts)))
    # An empty answer cannot be trained on; the mixture's rows fail in the same case.
    kept = [row for row in answered if row["messages"][-1]["content"]]
    file.write_text("".join(json.dumps(row) + "\n" for row in kept))


@asynccontextmanager
async def teachers(folder: Path, world: Path = TINY) -> AsyncIterator[dict[str, str]]:
    """The four teachers of a world, each in a vLLM of its own; yields their base URLs. Logs go to `folder`."""
    processes: dict[str, asyncio.subprocess.Process] = {}
    urls: dict[str, str] = {}
    environment = {
        **os.environ,
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
    }
    try:
        for number, name in enumerate(TEACHERS):
            port = 18100 + number
            command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", f"{world}/models/{name}"]
            command += ["--served-model-name", name, "--max-model-len", "256", "--dtype", "float32", "--enforce-eager"]
            command += ["--host", "127.0.0.1", "--port", str(port), "--no-enable-chunked-prefill"]
            with (folder / f"teacher-{name}.log").open("wb") as log:
                processes[name] = await asyncio.create_subprocess_exec(
                    *command, env=environment, stdout=log, stderr=log
                )
            urls[name] = f"http://127.0.0.1:{port}/v1"
        for name, process in processes.items():
            await healthy(urls[name], process)
        yield urls
    finally:
        for process in processes.values():
            process.terminate()
        for process in processes.values():
            await process.wait()


async def healthy(url: str, process: asyncio.subprocess.Process) -> None:
    deadline = time.monotonic() + 600
    async with aiohttp.ClientSession() as session:
        while time.monotonic() < deadline and process.returncode is None:
            try:
                async with session.get(url.removesuffix("/v1") + "/health") as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(2)
    raise RuntimeError(f"{url} did not come up; see its log")


async def measure(seed: int, folder: Path, urls: Mapping[str, str], world: Path = TINY) -> Scores:
    """All scores of one seed in a world. What is done already is not repeated."""
    folder.mkdir(parents=True, exist_ok=True)
    document = main_resource(seed, folder, urls, world)
    resource = await asyncio.to_thread(run, document, folder)
    made = await manifests(resource)
    found = await scores(resource)

    answers = [
        r for r in await rows(resource, made["i0-evaluate"], "answers") if r["benchmark"] in (BENCHMARK, "selection")
    ]
    async with endpoint(other_questions(answers)) as url:
        control = await asyncio.to_thread(run, shuffled(document, url), folder, "i0-evaluate")
        found["mixture-shuffled"] = (await scores(control))["mixture"]

    prompts = take(await rows(resource, made["i0-stage-data"], "sft-0"), slice_rows(resource, Kind.GENERATE, 1)[0])
    own = folder / "own.jsonl"
    if not own.exists():
        await ask_aggregator(list(prompts), urls["aggregator"], resource, own)
    control = await asyncio.to_thread(run, own_answers(document, own), folder)
    found["sft-own"] = (await scores(control))["sft-1"]

    student = student_folder(resource, made["i1-sft"])
    for name, verdict in (("coin", coin), ("longest", longest)):
        async with endpoint(verdict) as url:
            control = await asyncio.to_thread(run, judged_by(document, name, url, student), folder)
        found[f"dpo-{name}"] = (await scores(control))["dpo-1"]

    joined = with_student(document, student_folder(resource, made["i1-dpo"]))
    control = await asyncio.to_thread(run, joined, folder, "i0-evaluate")
    found["mixture-2"] = (await scores(control))["mixture"]
    return found


async def measure_all(seeds: list[int], workdir: Path) -> list[Scores]:
    measured: list[Scores] = []
    async with AsyncExitStack() as stack:
        urls = await stack.enter_async_context(teachers(workdir))
        for seed in seeds:
            started = time.monotonic()
            measured.append(await measure(seed, workdir / f"seed-{seed}", urls))
            print(f"seed {seed}: {(time.monotonic() - started) / 60:.1f} minutes", flush=True)
            (workdir / "claims.json").write_text(json.dumps(measured))
    return measured


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--workdir", type=Path, default=Path("runs/claims"))
    options = parser.parse_args()
    workdir = options.workdir.resolve()
    workdir.mkdir(parents=True, exist_ok=True)
    measured = asyncio.run(measure_all(options.seeds, workdir))
    print("\nmean scores:")
    for name in measured[0]:
        means = [sum(s[name].values()) / len(s[name]) for s in measured]
        print(f"  {name:<18} {'  '.join(f'{m:.3f}' for m in means)}")
    print()
    for verdict in judge(TINY / "claims.yaml", measured):
        print(verdict)
    return 0


if __name__ == "__main__":
    sys.exit(main())
