"""How long the pages of `moaa view` take over a store with 1,000,000 rows.

    python -m benchmarks.view [--rows 1000000] [--repeats 7] [--store DIR] [--write]

The store is synthetic: iteration 1 of `examples/tiny/moaa.yaml` with that many prompts generated, sampled and judged,
each table in shards as the stages cut them. Shards of a table are copies of one, under links to one file, so that the
disk holds little and the number of objects, manifests and rows is the real one; every object is read for itself. The
server runs in this process on loopback. A page is asked for the first time, and then again. The last line is JSON.
"""

import argparse
import asyncio
import hashlib
import json
import logging
import os
import platform
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from typing import Any

import aiohttp
import pyarrow as pa

from moaa.api import MoAA
from moaa.api.reading.load import load
from moaa.data.schemas import ANSWERS, CONVERSATIONS, JUDGEMENTS, PAIRS, RANKINGS, SAMPLES, SCORES
from moaa.plan.fingerprint import identify
from moaa.plan.graph import benchmarks, build
from moaa.plan.kinds.table import rows_per_shard
from moaa.plan.result import Output, StageResult
from moaa.plan.slices import pinned_sources, tables
from moaa.plan.stage import Kind, Stage
from moaa.run.records import run_id, write_resource
from moaa.store.objects.directory import DirectoryStore
from moaa.store.stages.manifest import ObjectRef, StageManifest
from moaa.store.stages.shards import write_manifest
from moaa.store.stages.tables import TableRows, encode
from moaa.view.server import serve
from moaa.view.site import Site

ROOT = Path(__file__).parents[1]
RESOURCE = ROOT / "examples/tiny/moaa.yaml"
QUESTIONS = 805
"""Of each benchmark, as AlpacaEval has."""
SAMPLES_A_PROMPT = 5
WORDS = (ROOT / "README.md").read_text().split()
Row = dict[str, Any]


def prose(chance: random.Random, words: int) -> str:
    return " ".join(chance.choices(WORDS, k=words))


def conversation(number: int, chance: random.Random) -> Row:
    proposals = [
        {"path": f"turn0/layer0/p{p}/s0", "model": f"proposer-{p}", "text": prose(chance, 200)} for p in range(4)
    ]
    return {
        "id": f"sft-{number}", "messages": _asked(number, chance, prose(chance, 220)), "proposals": proposals,
        "missing": 0, "absent": [], "shortened": 0, "wrote": ["the mixture"],
    }  # fmt: skip


def _asked(number: int, chance: random.Random, *answers: str) -> list[Row]:
    asked = [{"role": "user", "content": f"Question {number}: {prose(chance, 60)}?"}]
    return asked + [{"role": "assistant", "content": text} for text in answers]


def sample(number: int, chance: random.Random) -> Row:
    texts = [prose(chance, 200) for _ in range(SAMPLES_A_PROMPT)]
    return {"id": f"p-{number}", "messages": _asked(number, chance), "samples": texts}


def ranking(number: int, chance: random.Random) -> Row:
    comparisons = []
    for a, b in combinations(range(SAMPLES_A_PROMPT), 2):
        forward, backward = chance.randrange(2), chance.randrange(2)
        comparisons.append(
            {"a": a, "b": b, "criteria": ["Accuracy"], "chosen": True, "score": (forward + backward) / 2,
             "forward": forward, "backward": backward, "votes": []}
        )  # fmt: skip
    points = [chance.random() for _ in range(SAMPLES_A_PROMPT)]
    outcome = chance.choice(["pair", "tie"])
    return {**sample(number, chance), "points": points, "comparisons": comparisons, "outcome": outcome}


def said(row: Row, chance: random.Random) -> list[Row]:
    return [
        {"id": row["id"], "benchmark": "", "model": "", "sample": 0, "a": one["a"], "b": one["b"], "order": order,
         "role": "verdict", "judge": "judge", "verdict": chance.choice("AB"), "text": prose(chance, 60), "failure": "",
         "longer": None, "probability": None, "mass": None, "label": None}
        for one in row["comparisons"] for order in ("ab", "ba")
    ]  # fmt: skip


def pair(row: Row) -> Row:
    return {
        "id": row["id"], "messages": row["messages"], "chosen": row["samples"][0], "rejected": row["samples"][1],
        "chosen_points": 0.9, "rejected_points": 0.1,
    }  # fmt: skip


@dataclass(frozen=True)
class Shard:
    """Tables of one shard, of which all others are copies."""

    rows: int
    tables: Mapping[str, tuple[Sequence[Row], pa.Schema]]


def shard_of(kind: Kind, resource: MoAA, stage: Stage, chance: random.Random) -> Shard:
    """Raises ValueError: stages of this kind have no shards here."""
    if kind is Kind.EVALUATE:
        return _evaluated(resource, stage, chance)
    size = rows_per_shard(kind)
    match kind:
        case Kind.GENERATE:
            return Shard(size, {"conversations": ([conversation(i, chance) for i in range(size)], CONVERSATIONS)})
        case Kind.SAMPLE:
            return Shard(size, {"samples": ([sample(i, chance) for i in range(size)], SAMPLES)})
        case Kind.JUDGE:
            ranked = [ranking(i, chance) for i in range(size)]
            judged = [one for row in ranked for one in said(row, chance)]
            pairs = [pair(row) for row in ranked if row["outcome"] == "pair"]
            made = {"rankings": (ranked, RANKINGS), "pairs": (pairs, PAIRS), "judgements": (judged, JUDGEMENTS)}
            return Shard(size, made)
        case _:
            raise ValueError(f"{kind}: has no rows here")


def _evaluated(resource: MoAA, stage: Stage, chance: random.Random) -> Shard:
    model = "base" if stage.iteration == 0 else stage.id.rpartition("-")[2]
    answers: list[Row] = []
    scores: list[Row] = []
    for benchmark in benchmarks(resource.spec):
        for i in range(QUESTIONS):
            same = {"benchmark": benchmark.name, "model": model, "id": f"q{i}", "score": float(chance.random() < 0.5)}
            asked = {"sample": 0, "prompt": prose(chance, 40), "text": prose(chance, 200), "gold": None}
            unknown = dict.fromkeys(("baseline_length", "refused", "repeated", "detail"))
            answers.append({**same, **asked})
            scores.append({**same, "length": 900.0, **unknown})
    return Shard(len(answers), {"answers": (answers, ANSWERS), "scores": (scores, SCORES)})


async def make(folder: Path, rows: int) -> tuple[DirectoryStore, str]:
    """A store whose run has done iteration 1 up to its DPO; returns it and the run."""
    declared = load(RESOURCE)
    resource = declared.with_(spec=declared.spec.with_(storage={"uri": folder.as_uri()}))
    store, results, chance = DirectoryStore(folder), dict[str, StageResult](), random.Random(0)
    for stage in build(resource).stages.values():
        identity = identify(stage, resource, results)
        assert identity is not None, "stages before it are done"
        written: dict[str, list[ObjectRef]] = {}
        counts: dict[str, int] = {}
        if stage.kind in (Kind.GENERATE, Kind.SAMPLE, Kind.JUDGE, Kind.EVALUATE):
            shard = shard_of(stage.kind, resource, stage, chance)
            copies = 1 if stage.kind is Kind.EVALUATE else -(-rows // shard.rows)
            for name, (some, schema) in shard.tables.items():
                written[name] = await _copies(folder, store, f"{identity.path}/out/1", name, some, schema, copies)
                counts[name] = copies * len(some)
        named = [*written, *_others(stage, resource)]
        outputs = {name: Output(digest=_digest(stage.id + name), rows=counts.get(name, rows)) for name in named}
        moment = datetime(2026, 11, 1, tzinfo=UTC)
        manifest = StageManifest(
            stage=stage.id, kind=stage.kind, iteration=stage.iteration, run=run_id(resource), inputs=identity.inputs,
            fingerprint=identity.fingerprint, attempt=1, document=dict(identity.document), outputs=outputs,
            tables=written, rows_in=max(counts.values(), default=0), started=moment, finished=moment, seconds=60.0,
            models={model.name: _digest(model.name) for model in resource.spec.models},
        )  # fmt: skip
        results[stage.id] = (await write_manifest(store, identity.path, manifest)).result()
        if stage.kind is Kind.EVALUATE and stage.id.endswith("-dpo"):
            break
    await write_resource(store, run_id(resource), resource)
    return store, run_id(resource)


def _others(stage: Stage, resource: MoAA) -> list[str]:
    """Outputs that later stages read and no page here does."""
    staged = [name for name, _ in (*tables(resource), *pinned_sources(resource))]
    named = {Kind.RESOLVE: staged, Kind.STAGE_DATA: staged, Kind.SFT: ["model"], Kind.DPO: ["model"]}
    return named.get(stage.kind, [])


async def _copies(
    folder: Path, store: DirectoryStore, prefix: str, name: str, rows: Sequence[Row], schema: pa.Schema, copies: int
) -> list[ObjectRef]:
    body = encode(TableRows(rows, schema)).body
    digest, first = hashlib.sha256(body).hexdigest(), f"{prefix}/00000-{name}.parquet"
    await store.put(first, body)
    keys = [f"{prefix}/{number:05d}-{name}.parquet" for number in range(copies)]
    for key in keys[1:]:  # a file system takes 65,000 links and more to one file
        os.link(folder / first, folder / key)
    return [ObjectRef(key=key, size_bytes=len(body), sha256=digest) for key in keys]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def pages(run: str, rows: int) -> dict[str, str]:
    """What is measured, by name."""
    judge, generate = f"/run/{run}/stage/i1-judge", f"/run/{run}/stage/i1-generate"
    middle = rows // 2 // rows_per_shard(Kind.JUDGE)
    a, b = f"{run}~i0-evaluate~base", f"{run}~i1-evaluate-dpo~dpo"
    return {
        "all runs": "/",
        "a run": f"/run/{run}",
        "a stage": judge,
        "conversations, first page": f"{generate}/conversations",
        "a conversation": f"{generate}/conversations/{rows // 2 // rows_per_shard(Kind.GENERATE)}/100",
        "rankings, first page": f"{judge}/rankings",
        "rankings, in the middle": f"{judge}/rankings?part={middle}",
        "rankings, last page": f"{judge}/rankings?part={-(-rows // rows_per_shard(Kind.JUDGE)) - 1}&row=-50",
        "a ranking with all judges' words": f"{judge}/rankings/{middle}/10",
        "judgements, first page": f"{judge}/judgements",
        "search: outcome": f"{judge}/rankings?outcome=tie",
        "search: orders disagree": f"{judge}/rankings?disagree=orders&outcome=pair",
        "search: no such outcome": f"{judge}/rankings?outcome=small-margin",
        "search: text that is nowhere": f"{generate}/conversations?text=xyzzy",
        "what changed": f"/compare?a={a}&b={b}",
        "one question": f"/compare/question?a={a}&b={b}&benchmark={{benchmark}}&id=q7",
    }


@dataclass(frozen=True)
class Timed:
    first_s: float
    p50_s: float
    max_s: float
    note: str


async def measure(store: DirectoryStore, run: str, rows: int, repeats: int) -> dict[str, Timed]:
    site = Site(store)
    runner, address = await serve(site, host="127.0.0.1", port=0, hosts=())
    begun = time.perf_counter()
    await site.read_ahead()
    took = time.perf_counter() - begun
    found = {"reading ahead, as the server starts": Timed(took, took, took, "no page")}
    benchmark = benchmarks(load(RESOURCE).spec)[0].name
    try:
        async with aiohttp.ClientSession() as session:
            for name, path in pages(run, rows).items():
                times, text = [], ""
                for _ in range(repeats + 1):
                    begun = time.perf_counter()
                    async with session.get(address.rstrip("/") + path.format(benchmark=benchmark)) as answer:
                        text = await answer.text()
                        answer.raise_for_status()
                    times.append(time.perf_counter() - begun)
                looked = text.partition('data-looked="')[2].partition('"')[0]
                note = f"looked at {int(looked):,} rows" if "Looked at" in text else ""
                found[name] = Timed(times[0], statistics.median(times[1:]), max(times), note)
                p50 = found[name].p50_s
                print(f"{name:36} first {times[0]:6.3f}  p50 {p50:6.3f}  max {max(times):6.3f}  {note}", flush=True)
    finally:
        await runner.cleanup()
    return found


def report(found: Mapping[str, Timed], rows: int, repeats: int, commit: str) -> str:
    lines = [f"| {name} | {t.first_s:.3f} | {t.p50_s:.3f} | {t.max_s:.3f} | {t.note} |" for name, t in found.items()]
    made_with = f"Python {platform.python_version()}, pyarrow {version('pyarrow')}, aiohttp {version('aiohttp')}"
    load_average = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    verdicts = SAMPLES_A_PROMPT * (SAMPLES_A_PROMPT - 1)
    return f"""\
# Pages of `moaa view` over {rows:,} rows, {datetime.now(UTC):%Y-%m-%d}

`python -m benchmarks.view --rows {rows} --repeats {repeats} --write` at commit {commit};
{made_with}, {os.cpu_count()} CPUs ({platform.machine()}),
load average {load_average} when it ended. {rows:,} prompts generated, sampled {SAMPLES_A_PROMPT} times and judged
({verdicts} verdicts a prompt), in shards as the stages cut them; the shards of a table are copies. Seconds from the
request to the last byte, on loopback: the first request, then {repeats} more. When it starts, the server reads the
newest run's manifests beside the first requests; here before them.

| page | first | p50 | max | |
|---|--:|--:|--:|---|
{chr(10).join(lines)}

A search ends after 0.4 s and says how far it came; a browser goes on by itself. Not measured: S3, disks that are not
cached, several readers at once, drawing in the browser.
"""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=int, default=1_000_000)
    options.add_argument("--repeats", type=int, default=7)
    options.add_argument("--store", type=Path, help="an empty folder to make the store in (default: a temporary one)")
    options.add_argument("--write", action="store_true", help="put the table beside this file; needs a clean commit")
    asked = options.parse_args()
    logging.basicConfig()
    commit = _commit() if asked.write else ""
    with tempfile.TemporaryDirectory(prefix="moaa-benchmark-", dir=asked.store) as folder:
        store, run = asyncio.run(make(Path(folder), asked.rows))
        found = asyncio.run(measure(store, run, asked.rows, asked.repeats))
    if asked.write:
        target = Path(__file__).with_name(f"view_{datetime.now(UTC):%Y%m}.md")
        target.write_text(report(found, asked.rows, asked.repeats, commit))
    slowest = max((one for one in found.values() if one.note != "no page"), key=lambda one: one.max_s)
    print(json.dumps({"rows": asked.rows, "pages": len(found), "max_s": round(slowest.max_s, 3),
                      "p50_s": {name: round(one.p50_s, 3) for name, one in found.items()}}))  # fmt: skip


def _commit() -> str:
    """Raises SystemExit: something is not committed, so that the figures would be of no version."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], capture_output=True, text=True, check=True, cwd=ROOT).stdout.strip()

    if git("status", "--porcelain"):
        raise SystemExit("commit first: the page names the version that was measured")
    return git("rev-parse", "--short=12", "HEAD")


if __name__ == "__main__":
    main()
