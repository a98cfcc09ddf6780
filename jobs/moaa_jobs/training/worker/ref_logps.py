"""Log-probabilities of every pair under the reference model: computed once, before training, and durable.

They lie beside the stages that learn from the same pairs, under a digest of all they depend on (`folder_of`), so that
a stage of another loss or learning rate reads them. Workers store what they have scored in parts as they go; a kill
loses the last `PART_ROWS` of each worker. Once the parts hold every row, a manifest names them. Parts and manifest are
put only if absent, so that no older attempt changes what another has read. The values are sums over an answer's tokens,
end-of-turn token included, in float32.
"""

import hashlib
import io
import json
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import torch
from accelerate.utils import send_to_device
from pydantic import BaseModel, ConfigDict

from moaa.api.training import Dpo
from moaa.errors import AlreadyExists, NotFound, StoreError
from moaa.store.objects.base import Store
from moaa_jobs.training.worker.losses import PairCollator, RefLogps, answer_logps

PART_ROWS = 512
"""Rows that a worker scores between two parts."""
_COLUMNS: list[tuple[str, pa.DataType]] = [("row", pa.int32()), ("chosen", pa.float32()), ("rejected", pa.float32())]
_SCHEMA = pa.schema(_COLUMNS)
Scored = dict[int, tuple[float, float]]
"""Of chosen and of rejected, by row index."""


class RefLogpsManifest(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    parts: list[str]


def folder_of(stage_path: str, spec: Dpo, *, tokens_digest: str, ref_model: str, packed: bool) -> str:
    """Where a stage finds them: beside the stages of the same pairs (`stages/dpo/<inputs>/<fingerprint>`).

    `tokens_digest` is of the encoded rows, `ref_model` of the weights. Precision and packing round otherwise.
    """
    depends = json.dumps([tokens_digest, ref_model, spec.precision, packed])
    return f"{stage_path.rpartition('/')[0]}/ref-logps/{hashlib.sha256(depends.encode()).hexdigest()[:32]}"


async def read(store: Store, folder: str, *, rows: int) -> RefLogps | None:
    """What an earlier worker, attempt or stage stored; None where its parts are not yet whole.

    Raises:
        StoreError: the named parts lack rows.
    """
    try:
        manifest = RefLogpsManifest.model_validate_json(await store.get(_manifest_key(folder)))
    except NotFound:
        return None
    scored = await _read_parts(store, manifest.parts)
    if missing := _missing(scored, rows):
        raise StoreError(
            f"{store.uri}/{_manifest_key(folder)}: its parts lack {len(missing)} of {rows} rows, the first "
            f"{missing[0]}; delete it to score them again"
        )
    chosen, rejected = zip(*(scored[row] for row in range(rows)), strict=True)
    return chosen, rejected


async def left(store: Store, folder: str, *, rows: int) -> list[int]:
    """Rows that no stored part holds."""
    return _missing(await _read_parts(store, await _parts(store, folder)), rows)


async def write_part(store: Store, folder: str, scored: Scored) -> None:
    """Under a name that says which rows it holds. Nothing is written where they are stored already."""
    rows = list(scored)
    columns = {"row": rows, "chosen": [scored[row][0] for row in rows], "rejected": [scored[row][1] for row in rows]}
    buffer = io.BytesIO()
    with pa.ipc.new_file(buffer, _SCHEMA) as writer:
        writer.write_table(pa.table(columns, schema=_SCHEMA))
    name = hashlib.sha256(repr(rows).encode()).hexdigest()[:32]
    await _put_once(store, f"{folder}/parts/{name}.arrow", buffer.getvalue())


async def finish(store: Store, folder: str) -> None:
    """Make the stored parts count, unless another attempt's do already."""
    manifest = RefLogpsManifest(parts=await _parts(store, folder))
    await _put_once(store, _manifest_key(folder), manifest.model_dump_json().encode())


async def _put_once(store: Store, key: str, body: bytes) -> None:
    try:
        await store.put_if_absent(key, body)
    except AlreadyExists:
        return


async def _parts(store: Store, folder: str) -> list[str]:
    return sorted([entry.key async for entry in store.list(f"{folder}/parts/")])


async def _read_parts(store: Store, keys: Sequence[str]) -> Scored:
    """Where two parts hold a row, the later key counts."""
    found: Scored = {}
    for key in keys:
        part = pa.ipc.open_file(pa.BufferReader(await store.get(key))).read_all()
        for row, c, r in zip(*(part.column(name).to_pylist() for name in _SCHEMA.names), strict=True):
            found[row] = (c, r)
    return found


def _missing(scored: Scored, rows: int) -> list[int]:
    return [row for row in range(rows) if row not in scored]


def _manifest_key(folder: str) -> str:
    return f"{folder}/manifest.json"


@torch.no_grad()
def score(
    model: Any,
    bins: Sequence[list[int]],
    collate: PairCollator,
    *,
    rank: int,
    workers: int,
    device: torch.device,
    keep: Callable[[Scored], None],
    report: Callable[[int, int], None],
) -> None:
    """Score every `workers`-th bin of rows. Every rank makes the same number of passes.

    `model` has the fused LM head of the policy: at step 0 both give the same values, but for rounding. `keep` gets the
    (chosen, rejected) log-probabilities in parts; `report` hears of passes done and passes in all.
    """
    mine = bins[rank::workers]
    passes = -(-len(bins) // workers)
    scored: Scored = {}
    for i in range(passes):
        # A rank that has run out of bins scores the first of all again, to keep step with the others.
        rows = mine[i] if i < len(mine) else bins[0]
        sums, _ = answer_logps(model, send_to_device(collate([{"rows": rows}]), device))
        if i < len(mine):
            chosen, rejected = sums.float().cpu().chunk(2)
            scored |= dict(zip(rows, zip(chosen.tolist(), rejected.tolist(), strict=True), strict=True))
        if len(scored) >= PART_ROWS or (scored and i == passes - 1):
            keep(scored)
            scored = {}
        report(i + 1, passes)
