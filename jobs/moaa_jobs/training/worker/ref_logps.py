"""Log-probabilities of every pair under the reference model: computed once, before training, and durable.

Every worker scores its part of the rows and stores it; one object, put only if absent under the digest of the encoded
rows, then names all parts. A restarted worker or a new attempt that finds it reads instead of computing. Rows that
another version of the tokenizer library encodes differently are scored again. The values are sums over an answer's
tokens, end-of-turn token included, in float32.
"""

import io
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import torch
from pydantic import BaseModel, ConfigDict

from moaa.errors import AlreadyExists, NotFound, StoreError
from moaa.store.objects.base import Store
from moaa_jobs.training.rows.order import widest_first
from moaa_jobs.training.rows.table import row_widths

RefLogps = tuple[list[float], list[float]]
"""Of chosen and of rejected, by row index."""
_COLUMNS: list[tuple[str, pa.DataType]] = [("row", pa.int32()), ("chosen", pa.float32()), ("rejected", pa.float32())]
_SCHEMA = pa.schema(_COLUMNS)


class RefLogpsManifest(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    tokens_digest: str
    rows: int
    parts: list[str]


def part_rows(widths: Sequence[int], *, rank: int, workers: int) -> list[int]:
    """The rows one worker scores: every `workers`-th by width, so that parts weigh the same and little is padded."""
    return widest_first(range(len(widths)), widths)[rank::workers]


async def read(store: Store, folder: str, *, tokens_digest: str, rows: int) -> RefLogps | None:
    """What an earlier worker or attempt stored, or None.

    Raises:
        StoreError: a part lacks rows.
    """
    try:
        manifest = RefLogpsManifest.model_validate_json(await store.get(_manifest_key(folder, tokens_digest)))
    except NotFound:
        return None
    chosen: list[float | None] = [None] * rows
    rejected: list[float | None] = [None] * rows
    for key in manifest.parts:
        part = pa.ipc.open_file(pa.BufferReader(await store.get(key))).read_all()
        for row, c, r in zip(*(part.column(name).to_pylist() for name in _SCHEMA.names), strict=True):
            chosen[row], rejected[row] = c, r
    if len(scored := [(c, r) for c, r in zip(chosen, rejected, strict=True) if c is not None and r is not None]) < rows:
        key = _manifest_key(folder, tokens_digest)
        raise StoreError(f"{store.uri}/{key}: its parts lack rows; delete it to score the pairs again")
    return [c for c, _ in scored], [r for _, r in scored]


async def write_part(store: Store, key: str, rows: Sequence[int], values: Sequence[tuple[float, float]]) -> None:
    table = pa.table(
        {"row": list(rows), "chosen": [c for c, _ in values], "rejected": [r for _, r in values]}, schema=_SCHEMA
    )
    buffer = io.BytesIO()
    with pa.ipc.new_file(buffer, _SCHEMA) as writer:
        writer.write_table(table)
    await store.put(key, buffer.getvalue())


async def write_manifest(store: Store, folder: str, manifest: RefLogpsManifest) -> None:
    """Make these parts count, unless another attempt's do already."""
    try:
        await store.put_if_absent(_manifest_key(folder, manifest.tokens_digest), manifest.model_dump_json().encode())
    except AlreadyExists:
        return


def part_key(folder: str, run_name: str, rank: int) -> str:
    return f"{folder}/{run_name}-{rank}.arrow"


def _manifest_key(folder: str, tokens_digest: str) -> str:
    return f"{folder}/{tokens_digest}.json"


def score(
    model: Any,
    table: pa.Table,
    collate: Callable[[list[dict[str, list[int]]]], dict[str, torch.Tensor]],
    *,
    rank: int,
    workers: int,
    batch_size: int,
    device: torch.device,
    report: Callable[[int, int], None],
) -> tuple[list[int], list[tuple[float, float]]]:
    """This rank's rows and their (chosen, rejected) log-probabilities. Every rank makes the same number of passes.

    `report` hears of batches done and batches in all.
    """
    rows = part_rows(row_widths(table), rank=rank, workers=workers)
    largest = -(-table.num_rows // workers)
    passes = -(-largest // batch_size)
    values: list[tuple[float, float]] = []
    for i in range(passes):
        # A rank that has run out of rows scores its first again, to keep step with the others.
        part = rows[i * batch_size : (i + 1) * batch_size]
        batch = {name: tensor.to(device) for name, tensor in collate([{"rows": part or [0]}]).items()}
        sums = answer_logps(model, batch)
        chosen, rejected = sums.float().cpu().chunk(2)
        if part:
            values += zip(chosen.tolist(), rejected.tolist(), strict=True)
        report(i + 1, passes)
    return rows, values


@torch.no_grad()
def answer_logps(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Summed log-probabilities of the answers' tokens, chosen first: shape (2B,).

    `model` has TRL's fused LM head, the very one that computes the policy's: at step 0 both are equal bit for bit.
    """
    labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)
    output = model(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        labels=labels,
        use_cache=False,
        fused_lm_head=True,
    )
    sums: torch.Tensor = output.log_probs.sum(dim=1)
    return sums
