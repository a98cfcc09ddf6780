"""Stored log-probabilities belong to tokens: equal ones are read, others scored again."""

from pathlib import Path

import pytest

from moaa.errors import StoreError
from moaa.store.objects.directory import DirectoryStore
from moaa_jobs.training.worker import ref_logps

FOLDER = "stages/dpo/a/b/checkpoints/ref-logps"


async def stored(folder: Path, rows: list[int]) -> DirectoryStore:
    """Two rows of tokens "d1", of which `rows` were scored."""
    store = DirectoryStore(folder)
    store.prepare()
    key = ref_logps.part_key(FOLDER, "b-1", 0)
    await ref_logps.write_part(store, key, rows, [(-1.0 - row, -2.0 - row) for row in rows])
    await ref_logps.write_manifest(store, FOLDER, ref_logps.RefLogpsManifest(tokens_digest="d1", rows=2, parts=[key]))
    return store


async def test_a_later_attempt_reads_what_belongs_to_its_tokens(tmp_path: Path) -> None:
    store = await stored(tmp_path, [1, 0])
    assert await ref_logps.read(store, FOLDER, tokens_digest="d1", rows=2) == ([-1.0, -2.0], [-2.0, -3.0])


async def test_other_tokens_are_scored_anew_beside_them(tmp_path: Path) -> None:
    store = await stored(tmp_path, [0, 1])
    assert await ref_logps.read(store, FOLDER, tokens_digest="d2", rows=2) is None
    part = ref_logps.part_key(FOLDER, "b-2", 0)
    await ref_logps.write_part(store, part, [0], [(-5.0, -6.0)])
    await ref_logps.write_manifest(store, FOLDER, ref_logps.RefLogpsManifest(tokens_digest="d2", rows=1, parts=[part]))
    assert await ref_logps.read(store, FOLDER, tokens_digest="d2", rows=1) == ([-5.0], [-6.0])
    assert await ref_logps.read(store, FOLDER, tokens_digest="d1", rows=2) == ([-1.0, -2.0], [-2.0, -3.0])


async def test_parts_that_lack_rows_are_an_error(tmp_path: Path) -> None:
    store = await stored(tmp_path, [0])
    with pytest.raises(StoreError, match=r"ref-logps/d1\.json: its parts lack rows"):
        await ref_logps.read(store, FOLDER, tokens_digest="d1", rows=2)
