"""The fake run of `report_world` in a real store: manifests and tables as the jobs write them."""

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa

from moaa.api import MoAA
from moaa.data.schemas import ANSWERS, CONVERSATIONS, JUDGEMENTS, PAIRS, RANKINGS, SCORES
from moaa.plan.fingerprint import identify
from moaa.plan.result import Output, StageResult
from moaa.plan.slices import tables
from moaa.plan.stage import Kind, Stage
from moaa.rows import JudgementRow
from moaa.run.view import RunView
from moaa.store.fencing import claim
from moaa.store.objects.directory import DirectoryStore
from moaa.store.stages.manifest import ObjectRef
from moaa.store.stages.shards import write_manifest
from moaa.store.stages.tables import TableRows, encode
from tests.unit.report_world import digest, judgements, pair_of, rankings

_FLOATS = ("epoch", "loss", "learning_rate", "grad_norm", "reward_accuracy", "reward_margin")
_COLUMNS: dict[str, pa.DataType] = {"step": pa.int64(), "tokens": pa.int64(), **dict.fromkeys(_FLOATS, pa.float64())}
CURVE = pa.schema(_COLUMNS)
SHARDS = 2


@dataclass(frozen=True)
class Filled:
    folder: Path
    store: DirectoryStore
    results: dict[str, StageResult]


async def fill(folder: Path, view: RunView, *, until: str | None = None) -> Filled:
    """Write the fake run into a store, each stage under its real identity; stop after stage `until`."""
    store = DirectoryStore(folder)
    results: dict[str, StageResult] = {}
    for stage_view in view.stages:
        stage = stage_view.stage
        identity = identify(stage, view.resource, results)
        assert identity is not None
        assert stage_view.manifest is not None
        await claim(store, identity.path, "00000")
        written = {
            name: [await _put(store, f"{identity.path}/out/1/{i:05d}-{name}.parquet", p, schema) for i, p in parts]
            for name, (parts, schema) in _tables_of(stage, view).items()
        }
        outputs = {name: Output(digest=digest(f"{name} of {stage.id}")) for name in _outputs_of(stage, view.resource)}
        manifest = stage_view.manifest.with_(
            inputs=identity.inputs, fingerprint=identity.fingerprint, document=dict(identity.document), attempt=1,
            outputs={**outputs, **{name: Output(digest=digest(name + stage.id)) for name in written},
                     **stage_view.manifest.outputs},
            tables=written,
        )  # fmt: skip
        results[stage.id] = (await write_manifest(store, identity.path, manifest)).result()
        if stage.id == until:
            break
    return Filled(folder, store, results)


async def _put(store: DirectoryStore, key: str, rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> ObjectRef:
    body = encode(TableRows(rows, schema)).body
    await store.put(key, body)
    return ObjectRef(key=key, size_bytes=len(body), sha256=hashlib.sha256(body).hexdigest())


Parts = Iterable[tuple[int, Sequence[Mapping[str, Any]]]]


def _tables_of(stage: Stage, view: RunView) -> dict[str, tuple[Parts, pa.Schema]]:
    said = (
        _split_said(judgements(view.resource, stage) if stage.kind in (Kind.JUDGE, Kind.EVALUATE) else []),
        JUDGEMENTS,
    )
    match stage.kind:
        case Kind.GENERATE:
            return {"conversations": (_split([_writable(r) for r in view.conversations[stage.id]]), CONVERSATIONS)}
        case Kind.SFT | Kind.DPO:
            empty = {"reward_accuracy": None, "reward_margin": None}
            return {"curve": (_split([{**empty, **row} for row in view.curves[stage.id]]), CURVE)}
        case Kind.JUDGE:
            ranked = rankings(stage.iteration)
            pairs = [pair_of(r) for r in ranked if r["outcome"] == "pair"]
            return {"rankings": (_split(ranked), RANKINGS), "pairs": (_split(pairs), PAIRS), "judgements": said}
        case Kind.EVALUATE:
            scores = view.scores[stage.id]
            answers = [
                {"benchmark": r["benchmark"], "model": r["model"], "id": r["id"], "sample": 0, "prompt": "ask",
                 "text": f"{r['model']} says", "gold": None, "score": r["score"]}
                for r in scores if int(r["id"][1:]) < 40
            ]  # fmt: skip
            return {"scores": (_split(scores), SCORES), "answers": (_split(answers), ANSWERS), "judgements": said}
    return {}


def copied(filled: Filled, folder: Path, *, until: str | None = None) -> Filled:
    """A store of its own with what `filled` holds, up to stage `until`: to be changed. Faster than to write it anew."""
    names = list(filled.results)
    kept = names[: names.index(until) + 1] if until else names
    shutil.copytree(filled.folder, folder, dirs_exist_ok=True)
    for name in names[len(kept) :]:
        shutil.rmtree(folder / filled.results[name].path)
    return Filled(folder, DirectoryStore(folder), {name: filled.results[name] for name in kept})


def _split(rows: Sequence[Mapping[str, Any]]) -> Parts:
    size = -(-len(rows) // SHARDS) or 1
    return [(i, rows[i * size : (i + 1) * size]) for i in range(SHARDS)]


def _split_said(rows: Sequence[JudgementRow]) -> Parts:
    """No comparison is torn apart: in a store, a shard has all rows of an item."""
    items = [list(said) for _, said in groupby(rows, key=lambda row: (row["model"], row["id"]))]
    size = -(-len(items) // SHARDS) or 1
    return [(i, [row for item in items[i * size : (i + 1) * size] for row in item]) for i in range(SHARDS)]


def _writable(row: Mapping[str, Any]) -> dict[str, Any]:
    """Without what UTF-8 cannot hold: such text never reaches a table."""
    text = json.dumps(row, ensure_ascii=False).encode("utf-8", "replace").decode()
    return dict(json.loads(text))


def _outputs_of(stage: Stage, world: MoAA) -> list[str]:
    """Outputs that later stages read and whose content the report does not."""
    named = [name for name, _ in tables(world)]
    return {
        Kind.RESOLVE: named,
        Kind.STAGE_DATA: named,
        Kind.SAMPLE: ["samples"],
        Kind.PROMOTE: ["scores", "gains"],
    }.get(stage.kind, [])
