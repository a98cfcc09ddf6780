"""Training data as datasets that `datasets.load_dataset` reads and TRL trains on unchanged.

Column names and shapes are those of TRL's conversational language-modelling (`messages`) and preference (`prompt`,
`chosen`, `rejected`) formats (https://huggingface.co/docs/trl/dataset_formats).
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from moaa.plan.stage import Kind
from moaa.rows import ConversationRow, PairRow
from moaa.run.view import RunView, StageView
from moaa.store.objects.base import Store
from moaa.store.stages.shards import iter_table

_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
_PLACE: list[tuple[str, pa.DataType]] = [("id", pa.string()), ("iteration", pa.int32())]


@dataclass(frozen=True)
class Dataset:
    """One kind of training data of a run."""

    title: str
    source: Kind
    """Of the stages that wrote it."""
    table: str
    trains: Kind
    """Of the stage that reads it."""
    schema: pa.Schema
    row: Callable[[Any], Mapping[str, Any]]


def _conversation(row: ConversationRow) -> Mapping[str, Any]:
    return {"messages": row["messages"]}


def _pair(row: PairRow) -> Mapping[str, Any]:
    return {
        "prompt": row["messages"],
        "chosen": [{"role": "assistant", "content": row["chosen"]}],
        "rejected": [{"role": "assistant", "content": row["rejected"]}],
        "score_chosen": row["chosen_points"],
        "score_rejected": row["rejected_points"],
    }


SFT = Dataset(
    "conversations for supervised fine-tuning",
    Kind.GENERATE,
    "conversations",
    Kind.SFT,
    pa.schema([*_PLACE, ("messages", _MESSAGES)]),
    _conversation,
)
PAIRS = Dataset(
    "preference pairs",
    Kind.JUDGE,
    "pairs",
    Kind.DPO,
    pa.schema(
        [
            *_PLACE,
            ("prompt", _MESSAGES),
            ("chosen", _MESSAGES),
            ("rejected", _MESSAGES),
            ("score_chosen", pa.float64()),
            ("score_rejected", pa.float64()),
        ]
    ),
    _pair,
)


def written_by(view: RunView, dataset: Dataset) -> list[StageView]:
    """The finished stages whose rows the dataset has, in order of iterations."""
    return [s for s in view.stages if s.stage.kind is dataset.source and s.manifest is not None and not s.is_outdated]


async def write_table(store: Store, dataset: Dataset, stage: StageView, folder: Path) -> int:
    """Write one stage's rows to `data/train-i<iteration>.parquet` below `folder`, shard by shard; returns their number.

    Raises:
        StoreError: a shard is missing or differs.
        OSError: the file cannot be written.
    """
    assert stage.manifest is not None, "only finished stages have tables"
    path = _file(folder, stage)
    path.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with pq.ParquetWriter(path, dataset.schema, compression="zstd") as file:
        async for rows in iter_table(store, stage.manifest, dataset.table):
            place = {"iteration": stage.stage.iteration}
            shaped = [{"id": r["id"], **place, **dataset.row(cast(Any, r))} for r in rows]
            await asyncio.to_thread(file.write_table, pa.Table.from_pylist(shaped, schema=dataset.schema))
            written += len(shaped)
    return written


def rows_in(folder: Path, stages: Sequence[StageView]) -> dict[str, int]:
    """Rows that `write_table` has left in `folder`, by stage. Raises OSError: a file is not there."""
    return {stage.stage.id: pq.read_metadata(_file(folder, stage)).num_rows for stage in stages}


def _file(folder: Path, stage: StageView) -> Path:
    return folder / "data" / f"train-i{stage.stage.iteration}.parquet"
