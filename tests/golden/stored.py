"""Golden values of what lies in a store beside stages, of tables' columns, of the report and the CRD."""

import asyncio
import hashlib
import json
import re
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from moaa.api.crd.definition import crd_yaml
from moaa.data.pins import PINNED_FILES, PINNED_MODELS
from moaa.data.prepare import TableSource, prepare
from moaa.data.reading.shapes import Use
from moaa.data.schemas import ANSWERS, CONVERSATIONS, PAIRS, PROMPTS, RANKINGS, SAMPLES, SCORES
from moaa.plan.stage import Kind
from moaa.report.schema import Summary
from moaa.report.summary import summarise
from moaa.run.records import Attempt, iteration_record, run_id, write_attempt, write_iteration, write_resource
from moaa_jobs.stages.promote import GAINS
from moaa_jobs.training.driver.publish import CURVE_SCHEMA
from moaa_jobs.training.rows.table import PAIR_SCHEMA, SFT_SCHEMA
from tests.golden.book import digest, rounded
from tests.golden.plan import walk
from tests.golden.resources import rich
from tests.golden.stages import document
from tests.store_helpers import MemoryStore
from tests.unit.report_world import finished_run, not_started, run_in_progress

SCHEMAS = {
    "prompts": PROMPTS,
    "conversations": CONVERSATIONS,
    "samples": SAMPLES,
    "rankings": RANKINGS,
    "pairs": PAIRS,
    "answers": ANSWERS,
    "scores": SCORES,
    "gains": GAINS,
    "curve": CURVE_SCHEMA,
    "pinned files": PINNED_FILES,
    "pinned models": PINNED_MODELS,
    "tokens of sft": SFT_SCHEMA,
    "tokens of dpo": PAIR_SCHEMA,
}


def schemas() -> dict[str, Any]:
    """Columns in order, with their types and whether they may be empty."""
    return {name: [_column(field) for field in schema] for name, schema in SCHEMAS.items()}


def _column(field: "pa.Field[Any]") -> str:
    return f"{field.name}: {field.type}{'' if field.nullable else ' not null'}"


SOURCES: Mapping[str, tuple[Use, list[dict[str, Any]]]] = {
    "sft-0": (
        Use.MIXTURE,
        [
            {
                "id": 7,
                "messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "one"}],
                "answer": "1",
            }
        ],
    ),
    "sft-1": (Use.GIVEN, [{"conversations": [{"from": "human", "value": "two"}, {"from": "gpt", "value": "2"}]}]),
    "sft-2": (Use.GIVEN, [{"instruction": "five", "input": "of six", "output": "5"}]),
    "sft-3": (Use.MIXTURE, [{"prompt": text} for text in ("three", " TWO", "tides of the sea follow", "four", "five")]),
    "preference-0": (
        Use.PREFERENCE,
        [{"chosen": [{"role": "user", "content": "three"}, {"role": "assistant", "content": "3"}]}],
    ),
    "eval-held": (
        Use.EXACT_MATCH,
        [{"prompt": "Explain how the tides of the sea follow the moon", "answer": "a"}, {"prompt": "x", "answer": "b"}],
    ),
}


def prepared() -> dict[str, Any]:
    """Ids and order of the rows of every shape of source, duplicates and contaminated rows dropped."""
    with tempfile.TemporaryDirectory() as folder:
        sources = []
        for name, (use, records) in SOURCES.items():
            file = Path(folder) / f"{name}.jsonl"
            file.write_text("".join(json.dumps(record) + "\n" for record in records))
            sources.append(TableSource(name, use, ((file, file.name),)))
        with prepare(sources, seed=11, ngram=5, folder=Path(folder), on_rows=lambda _: None) as made:
            return {table.name: {"counts": table.account.figures(), "rows": list(table.rows())} for table in made}


def records() -> dict[str, Any]:
    """What the runner writes: the resource, an attempt, an open and a closed iteration."""
    return asyncio.run(_records())


async def _records() -> dict[str, Any]:
    store, owner = MemoryStore(), rich("Mixture", "base")
    results, _ = walk(owner)
    run = "default-small-local"
    attempt = Attempt(
        stage="i1-judge",
        kind=Kind.JUDGE,
        fingerprint="f" * 64,
        started=datetime(2026, 1, 1, 1, 2, 3, 456789, tzinfo=UTC),
        seconds=12.5,
        job_seconds=10.25,
        outcome="Waiting",
        exit_code=75,
        servers=("a",),
        waiting={"b": 3},
    )
    await write_resource(store, run, owner)
    await write_attempt(store, run, attempt)
    as_json = owner.model_dump(mode="json", by_alias=True)
    still_open = {name: r for name, r in results.items() if name != "i2-promote"}
    for number, known in ((1, results), (2, still_open)):
        await write_iteration(store, run_id(owner), iteration_record(number, known, as_json))
    return {
        _without_token(key): {"sha256": "<random name>" if "attempts" in key else digest(body), **document(body)}
        for key, body in store.objects.items()
    }


def _without_token(key: str) -> str:
    """An attempt's key ends in random characters."""
    return f"{key[: -len('01234567.json')]}<8>.json" if "/attempts/" in key else key


def crd() -> dict[str, Any]:
    """A digest; the text itself is in the chart."""
    return {"sha256": hashlib.sha256(crd_yaml().encode()).hexdigest()}


def summary() -> dict[str, Any]:
    """summary.json: of a finished run its lines, of others and of the schema digests."""
    views = {"in progress": run_in_progress(), "not started": not_started()}
    return {
        "finished": _text(summarise(finished_run())).splitlines(),
        **{name: digest(_text(summarise(view))) for name, view in views.items()},
        "fields": _fields(),
    }


def _text(made: Summary) -> str:
    """As it is written, but for the last digits of fractions."""
    return re.sub(r"\d+\.\d{9,}(?:e-\d+)?", lambda found: str(rounded(float(found[0]))), made.to_json())


def _fields() -> dict[str, str]:
    """Of every object in the document."""
    schema = Summary.model_json_schema(by_alias=True)
    objects = {"Summary": schema, **schema["$defs"]}
    return {name: " ".join(part["properties"]) for name, part in objects.items() if "properties" in part}
