"""Golden values of what stages leave in a store: keys, ledger segments, manifests, tables, the iteration's record.

The stages of one iteration run through their jobs against a scripted endpoint, once a judge method, over a store in
memory. What trains is made up. Versions are left out; times, hosts and random marks are masked. So are size and digest
of Parquet objects, which belong to pyarrow's version; rows, schemas and digests of rows are kept.
"""

import asyncio
import io
import json
import tempfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from moaa.api import MoAA
from moaa.contract.job import StageJob, stage_job
from moaa.data.schemas import PROMPTS
from moaa.plan.fingerprint import identify
from moaa.plan.graph import build
from moaa.plan.ids import RESOLVE, STAGE_DATA
from moaa.plan.kinds.table import TRAINING
from moaa.plan.result import Output, StageResult
from moaa.plan.slices import tables
from moaa.plan.stage import Kind
from moaa.rows import PromptRow
from moaa.store.ledger.ledger import LedgerLimits
from moaa.store.stages.manifest import ObjectRef
from moaa.store.stages.shards import read_manifest, write_manifest
from moaa.store.stages.tables import TableRows
from moaa_jobs.runner.context import Context
from moaa_jobs.runner.manifest import PACKAGES, build_manifest
from moaa_jobs.runner.one_worker import publish
from moaa_jobs.runner.settings import JobSettings
from moaa_jobs.stages.evaluate import run as run_evaluate
from moaa_jobs.stages.generate import run as run_generate
from moaa_jobs.stages.judge import run as run_judge
from moaa_jobs.stages.promote import run as run_promote
from moaa_jobs.stages.sample import run as run_sample
from moaa_jobs.tell.progress import Progress
from tests.endpoint import serve
from tests.golden.book import digest, rounded
from tests.golden.resources import METHODS, benchmark, rich
from tests.store_helpers import MemoryStore

RUN = "default-small-local"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
RUNS = {
    Kind.GENERATE: run_generate,
    Kind.SAMPLE: run_sample,
    Kind.JUDGE: run_judge,
    Kind.EVALUATE: run_evaluate,
    Kind.PROMOTE: run_promote,
}
OF_A_METHOD = ("stages/judge/", "stages/evaluate/")
"""Where what a store holds depends on the judge's method; the rest is kept once."""
CHOICE = "Selected Criteria:\n1. Accuracy\n2. Depth\nExplanation:\nClarity matters less."


def resource(method: str) -> MoAA:
    """One iteration without weights from the Hub, whose tokenizers a job would ask for. What does not depend on the
    method (generate, sft, members) is there once."""
    models = [
        {"name": name, "source": f"s3://weights/{name}", "license": "mit", "serving": {"maxModelLen": 4096}}
        for name in ("a", "b", "far", "agg", "base", "eva")
    ]
    exact = {"name": "exact", "type": "ExactMatch", "source": "s3://data/exact.jsonl"}
    against = benchmark("base", method) | {"name": "against-base", "samples": 1}
    other = benchmark("model", method) | {"name": "against-model", "samples": 1}
    return rich(
        method,
        "exact",
        {
            "spec__iterations": 1,
            "spec__models": models,
            "spec__mixture__addStudent": False,
            "spec__data__sft": [{"source": "s3://data/sft.jsonl", "limit": 2}],
            "spec__data__preference": [{"source": "s3://data/preference.jsonl", "limit": 1}],
            "spec__evaluation": {
                "selection": [exact, against],
                "report": [other],
                "members": method == "Mixture",
                "bootstrap": 100,
            },
            **({} if method == "Mixture" else {"spec__training__sft": None, "spec__data__sft": []}),
        },
    )


def stages() -> dict[str, Any]:
    """By judge method: every object of the store and every request that was sent."""
    # On a machine that is busy a segment would be written because time has passed, and not at the end.
    unhurried = partial(LedgerLimits, flush_s=3600.0)
    with patch("moaa_jobs.runner.manifest.versions", dict), patch("moaa.store.ledger.ledger.LedgerLimits", unhurried):
        found = {method: asyncio.run(_run(resource(method))) for method in METHODS}
    for method in METHODS[1:]:
        objects = found[method]["objects"]
        found[method]["objects"] = {key: objects[key] for key in objects if key.startswith(OF_A_METHOD)}
    return {"versionsOf": " ".join(PACKAGES), "methods": found}


def scripted(body: dict[str, Any]) -> str:
    """Answers by model and seed; verdicts by a digest of what is shown."""
    content = body["messages"][-1]["content"]
    if content.startswith("CRITERIA"):
        return CHOICE
    said = digest(f"{body['model']} {content}")[:8]
    if content.startswith(("META", "SINGLE")):
        return f"{said}: [[{'A' if int(said, 16) % 2 else 'B'}]]"
    if content.startswith("3 * ") and body["model"] != "base":
        return "right"
    return f"{body['model']} {body['seed'] % 100 if body['temperature'] else ''} {said}".replace("  ", " ")


async def _run(owner: MoAA) -> dict[str, Any]:
    store, results = MemoryStore(), dict[str, StageResult]()
    with tempfile.TemporaryDirectory() as folder:
        async with serve(scripted) as endpoint:
            for stage in build(owner).stages.values():
                identity = identify(stage, owner, results)
                assert identity is not None
                names = [*stage.serves, stage.student or "base"]
                job = stage_job(identity, owner, results, run=RUN, endpoints={name: [endpoint.url] for name in names})
                await _carry_out(job, owner, store, Path(folder))
                manifest = await read_manifest(store, identity.path)
                assert manifest is not None
                results[stage.id] = manifest.result()
    requests = sorted(json.dumps(body, sort_keys=True) for body in endpoint.requests)
    return {
        "objects": {key: _object(key, body) for key, body in store.objects.items()},
        "requests": len(requests),
        "requestsDigest": digest("\n".join(requests)),
        "oneRequest": json.loads(requests[0]),
    }


async def _carry_out(job: StageJob, owner: MoAA, store: MemoryStore, folder: Path) -> None:
    settings = JobSettings(job=folder / "job.json", work_dir=folder, rows_in_flight=4)
    context = Context(job, owner, store, folder, Progress(job.stage, None), settings)
    if job.kind in RUNS:
        await RUNS[job.kind](job, context)
    elif job.stage == STAGE_DATA:
        made = {name: TableRows(_rows(name), PROMPTS) for name, _ in tables(owner)}
        first = next(iter(made))
        await publish(context, iter([made]), main_table=first, started=NOW, rows_in=len(made[first].rows))
    else:
        await _make_up(job, owner, store)


def _rows(table: str) -> list[PromptRow]:
    """Two prompts of a table, one of the benchmark that is only reported; one can be answered exactly, if not by the
    first student."""
    numbers = (2,) if table == "eval-against-model" else (2, 3)
    answer = "right" if table.startswith("eval-") else None
    return [
        PromptRow(id=f"{table}-{i}", messages=[{"role": "user", "content": f"{i} * {table}"}], answer=answer)
        for i in numbers
    ]


async def _make_up(job: StageJob, owner: MoAA, store: MemoryStore) -> None:
    """resolve and training: what later stages read of them."""
    result = StageResult(stage=job.stage, kind=job.kind, inputs=job.inputs, fingerprint=job.fingerprint)
    outputs = {name: Output(digest=digest(f"{job.stage} {name}")) for name, _ in tables(owner)}
    files: dict[str, list[ObjectRef]] = {}
    if job.kind in TRAINING:
        key = f"{result.path}/out/1/model/config.json"
        outputs = {"model": Output(digest=digest(f"{job.stage} model"), uri=f"{result.path}/out/1/model")}
        files = {"model": [ObjectRef(key=key, size_bytes=2, sha256=digest("{}"))]}
    models = {model.name: digest(model.name) for model in owner.spec.models} if job.stage == RESOLVE else None
    manifest = build_manifest(
        job, owner, attempt=1, outputs=outputs, files=files, models=models, started=NOW, seconds=1.5
    )
    await write_manifest(store, result.path, manifest)


def _object(key: str, body: bytes) -> Any:
    for ending, read in _READERS.items():
        if key.endswith(ending):
            return read(body)
    raise AssertionError(f"an object of an unknown kind: {key}")


def document(body: bytes) -> dict[str, Any]:
    """A JSON object: how it is laid out, its fields in their order, and its values."""
    found = json.loads(body)
    layouts = {
        "compact": {"separators": (",", ":")},
        "spaced": {},
        "indent 1": {"indent": 1},
        "indent 2": {"indent": 2},
    }
    layout = [
        name
        for name, how in layouts.items()
        if json.dumps(found, ensure_ascii=False, **how).encode() == body  # type: ignore[arg-type]
    ]
    return {"layout": layout, "fields": " ".join(found), "values": _masked(found)}


MASKED = ("started", "finished", "seconds", "claimed", "host", "pid", "nonce", "writer")


def _masked(value: Any) -> Any:
    if isinstance(value, list):
        return [_masked(item) for item in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"key", "sizeBytes", "sha256"} and value["key"].endswith(".parquet"):
        return {"key": value["key"], "sizeBytes": "<size>", "sha256": "<digest>"}
    masked = {key: "<masked>" if key in MASKED else _masked(item) for key, item in value.items()}
    if "document" in masked:
        masked["document"] = digest(json.dumps(masked["document"], sort_keys=True))  # whole in documents.json
    return masked


def _segment(body: bytes) -> dict[str, Any]:
    """A ledger segment: its header's fields, and its lines; those of one row may come in any order."""
    header, *lines = zstandard.ZstdDecompressor().decompress(body).decode().split("\n")
    assert lines.pop() == "", "every line ends with a line break"
    return {
        "header": _masked(json.loads(header)),
        "hasChecksum": zstandard.get_frame_parameters(body).has_checksum,
        "calls": sorted(_call(json.loads(line)) for line in lines),
        "firstLine": min(lines, default=None),
        "linesDigest": digest("\n".join(sorted(lines))),
    }


def _call(entry: dict[str, Any]) -> str:
    """An entry or a pin in short."""
    what = f"pinned to {entry['chain']}" if "chain" in entry else f"{entry['model']}: {entry['answer']['text'][:24]}"
    return f"{entry['row']} {entry['path']} {entry['key'][:12]} {what}"


def _table(body: bytes) -> dict[str, Any]:
    file = pq.ParquetFile(io.BytesIO(body))
    return {
        "schema": _schema(file.schema_arrow),
        "compression": file.metadata.row_group(0).column(0).compression if file.metadata.num_row_groups else None,
        "rows": [json.dumps(rounded(row), ensure_ascii=False) for row in file.read().to_pylist()],
    }


def _schema(schema: pa.Schema) -> list[str]:
    return [str(field) for field in schema]


_READERS: Mapping[str, Callable[[bytes], Any]] = {
    ".json": document,
    ".jsonl.zst": _segment,
    ".parquet": _table,
}
