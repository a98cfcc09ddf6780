"""A checkpoint exists when its manifest does, and only one whose files are all there is gone on from."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.fs as pafs
import pytest

from moaa.store.objects.directory import DirectoryStore
from moaa_jobs.training.shared.checkpoints import (
    CheckpointManifest,
    bring_checkpoint,
    find_resume,
    needed_by,
    remove_checkpoints,
    write_manifest,
)
from moaa_jobs.training.shared.messages import Resume

STAGE = "stages/sft/in/fp/checkpoints"


async def save(
    store: DirectoryStore, run: str, step: int, *, workers: int = 2, files: int = 2, listed: int = 2
) -> None:
    folder = f"{STAGE}/{run}/step-{step:06d}"
    for i in range(files):
        await store.put(f"{folder}/global_step{step}/f{i}.pt", b"x" * (i + 1))
    manifest = CheckpointManifest(
        step=step, workers=workers, zero_stage=2, files={f"global_step{step}/f{i}.pt": i + 1 for i in range(listed)}
    )
    await store.put(f"{folder}.json", manifest.model_dump_json().encode())


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    store = DirectoryStore(tmp_path)
    store.prepare()
    return store


async def test_nothing_to_resume_at_first(store: DirectoryStore) -> None:
    assert await find_resume(store, STAGE, workers=2, zero_stage=2) is None


async def test_the_newest_complete_one_of_any_attempt_is_taken(store: DirectoryStore) -> None:
    await save(store, "fp-1", 10)
    await save(store, "fp-2", 5)
    await save(store, "fp-3", 15, files=1)
    await store.put(f"{STAGE}/fp-4/step-000020/global_step20/f0.pt", b"no manifest")
    found = await find_resume(store, STAGE, workers=2, zero_stage=2)
    assert found == Resume(folder="fp-1/step-000010", step=10)


async def test_a_truncated_file_makes_a_checkpoint_incomplete(store: DirectoryStore) -> None:
    await save(store, "fp-1", 5)
    await save(store, "fp-1", 10)
    await store.put(f"{STAGE}/fp-1/step-000010/global_step10/f1.pt", b"x")
    found = await find_resume(store, STAGE, workers=2, zero_stage=2)
    assert found is not None
    assert found.step == 5


async def test_an_unreadable_manifest_is_passed_over(store: DirectoryStore) -> None:
    await save(store, "fp-1", 5)
    await store.put(f"{STAGE}/fp-1/step-000010.json", b"{")
    found = await find_resume(store, STAGE, workers=2, zero_stage=2)
    assert found is not None
    assert found.step == 5


@pytest.mark.parametrize(("workers", "zero_stage"), [(4, 2), (2, 3)])
async def test_another_split_of_the_optimiser_gives_weights_only(
    store: DirectoryStore, workers: int, zero_stage: int, caplog: pytest.LogCaptureFixture
) -> None:
    await save(store, "fp-1", 5)
    found = await find_resume(store, STAGE, workers=workers, zero_stage=zero_stage)
    assert found == Resume(folder="fp-1/step-000005", step=5, weights_only=True)
    assert "resume_weights_only step=5" in caplog.text


async def test_a_finished_stage_keeps_no_checkpoints(store: DirectoryStore) -> None:
    await save(store, "fp-1", 5)
    await store.put("stages/sft/in/fp/manifest.json", b"{}")
    await remove_checkpoints(store, STAGE)
    assert [found.key async for found in store.list("")] == ["stages/sft/in/fp/manifest.json"]


def test_a_machine_needs_shared_files_and_its_own_ranks_parts() -> None:
    names = [
        "model.safetensors",
        "rng_state_1.pth",
        "global_step5/zero_pp_rank_0_mp_rank_00_optim_states.pt",
        "global_step5/bf16_zero_pp_rank_12_mp_rank_00_optim_states.pt",
        "global_step5/mp_rank_00_model_states.pt",
    ]
    exact = [[n for n in names if needed_by(n, ranks, weights_only=False)] for ranks in (range(12, 16), range(2))]
    assert exact == [names[3:], [names[1], names[2], names[4]]]
    assert [name for name in names if needed_by(name, range(2), weights_only=True)] == [names[0]]


@pytest.mark.parametrize(
    ("weights_only", "brought"),
    [
        (False, {"moaa-state.json", "global_step5/zero_pp_rank_1_mp_rank_00_optim_states.pt"}),
        (True, {"moaa-state.json", "model.safetensors"}),
    ],
)
async def test_only_what_is_needed_is_brought(
    store: DirectoryStore, tmp_path: Path, weights_only: bool, brought: set[str]
) -> None:
    for name in (
        "moaa-state.json",
        "model.safetensors",
        "global_step5/zero_pp_rank_0_mp_rank_00_optim_states.pt",
        "global_step5/zero_pp_rank_1_mp_rank_00_optim_states.pt",
    ):
        await store.put(f"{STAGE}/run-1/step-000005/{name}", name.encode())
    target = tmp_path / "resume"
    await bring_checkpoint(store, f"{STAGE}/run-1/step-000005", target, ranks=range(1, 2), weights_only=weights_only)
    assert {f.relative_to(target).as_posix() for f in target.rglob("*") if f.is_file()} == brought
    assert all((target / name).read_text() == name for name in brought)


def report(files: dict[str, int]) -> dict[str, Any]:
    return {"step": 5, "workers": 2, "zero_stage": 3, "files": files}


def test_the_manifest_lists_the_files_of_all_ranks(tmp_path: Path) -> None:
    folder = tmp_path / "step-000005"
    folder.mkdir()
    (folder / "a").write_bytes(b"1")
    (folder / "b").write_bytes(b"22")
    checkpoint: Any = SimpleNamespace(filesystem=pafs.LocalFileSystem(), path=str(folder))
    write_manifest(checkpoint, [report({"a": 1}), report({"b": 2})])
    manifest = CheckpointManifest.model_validate_json((tmp_path / "step-000005.json").read_bytes())
    assert manifest == CheckpointManifest(step=5, workers=2, zero_stage=3, files={"a": 1, "b": 2})
    assert sorted(file.name for file in tmp_path.iterdir()) == ["step-000005", "step-000005.json"]


def test_no_manifest_for_a_file_that_did_not_arrive_whole(tmp_path: Path) -> None:
    folder = tmp_path / "step-000005"
    folder.mkdir()
    (folder / "a").write_bytes(b"1")
    checkpoint: Any = SimpleNamespace(filesystem=pafs.LocalFileSystem(), path=str(folder))
    with pytest.raises(RuntimeError, match="1 of 2 files did not arrive whole, first b"):
        write_manifest(checkpoint, [report({"a": 1}), report({"b": 2})])
    assert not (tmp_path / "step-000005.json").exists()
