"""Stored log-probabilities belong to tokens and a reference model; a kill loses the part that was not yet written."""

from pathlib import Path
from typing import Any

import pytest

from moaa.api.training import Dpo
from moaa.errors import StoreError
from moaa.store.objects.directory import DirectoryStore
from moaa_jobs.training.worker import ref_logps

FOLDER = "stages/dpo/a/ref-logps/k"


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    store = DirectoryStore(tmp_path)
    store.prepare()
    return store


def scored(*rows: int, shift: float = 0.0) -> ref_logps.Scored:
    return {row: (-1.0 - row - shift, -2.0 - row - shift) for row in rows}


async def test_parts_count_once_a_manifest_names_them(store: DirectoryStore) -> None:
    await ref_logps.write_part(store, FOLDER, scored(1, 0))
    assert await ref_logps.read(store, FOLDER, rows=3) is None
    assert await ref_logps.left(store, FOLDER, rows=3) == [2]
    await ref_logps.write_part(store, FOLDER, scored(2))
    assert await ref_logps.left(store, FOLDER, rows=3) == []
    await ref_logps.finish(store, FOLDER)
    assert await ref_logps.read(store, FOLDER, rows=3) == ((-1.0, -2.0, -3.0), (-2.0, -3.0, -4.0))


async def test_an_older_attempt_changes_nothing_that_was_read(store: DirectoryStore) -> None:
    await ref_logps.write_part(store, FOLDER, scored(0, 1))
    await ref_logps.finish(store, FOLDER)
    before = await ref_logps.read(store, FOLDER, rows=2)
    await ref_logps.write_part(store, FOLDER, scored(0, 1, shift=9.0))
    await ref_logps.write_part(store, FOLDER, scored(1, shift=9.0))
    await ref_logps.finish(store, FOLDER)
    assert await ref_logps.read(store, FOLDER, rows=2) == before


async def test_parts_that_lack_rows_are_an_error(store: DirectoryStore) -> None:
    await ref_logps.write_part(store, FOLDER, scored(0))
    await ref_logps.finish(store, FOLDER)
    with pytest.raises(StoreError, match=r"k/manifest\.json: its parts lack 1 of 2 rows, the first 1"):
        await ref_logps.read(store, FOLDER, rows=2)


BASE: dict[str, Any] = {
    "stage_path": "stages/dpo/a/b", "spec": Dpo(), "tokens_digest": "t", "ref_model": "m", "packed": True,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "shared"),
    [
        ({"stage_path": "stages/dpo/a/c"}, True),
        ({"spec": Dpo.model_validate({"beta": "0.5", "learningRate": "1e-6", "loss": "IPO"})}, True),
        ({"stage_path": "stages/dpo/other/b"}, False),
        ({"spec": Dpo.model_validate({"precision": "FP32"})}, False),
        ({"tokens_digest": "u"}, False),
        ({"ref_model": "n"}, False),
        ({"packed": False}, False),
    ],
    ids=["another stage", "another loss", "other pairs", "precision", "tokens", "ref_model", "packing"],
)
def test_stages_share_what_depends_on_nothing_else(changed: dict[str, Any], shared: bool) -> None:
    base = ref_logps.folder_of(**BASE)
    assert base.startswith("stages/dpo/a/ref-logps/")
    assert (ref_logps.folder_of(**BASE | changed) == base) is shared
