"""When a checkpoint exists, and which one a run goes on from.

Every rank's part of a checkpoint reaches `<stage>/checkpoints/<run name>/step-<n>/`, uploaded while training goes on.
A checkpoint exists when `<run name>/step-<n>.json` beside it does: Ray Train's controller writes that manifest once all
ranks have reported, and only if storage holds every file the ranks wrote, with its size. A new attempt goes on from
the manifest with the highest step of any attempt whose files are all there; within an attempt Ray Train's own record of
complete checkpoints serves a restarted worker group.

Checkpoints are scratch of one stage: never an output, kept two at a time, and removed when the stage is done.
"""

import logging
import re
import time
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from moaa.errors import NotFound
from moaa.store.objects.base import Store
from moaa.store.objects.tasks import map_bounded
from moaa_jobs.training.shared.messages import CurveRow, Resume

if TYPE_CHECKING:
    from ray.train import Checkpoint

logger = logging.getLogger(__name__)

FILES_AT_ONCE = 4
"""Downloads of a resume that run side by side, each in several parts."""
KEEP = 2
"""Complete checkpoints an attempt keeps; the one before the newest serves if a crash meets the newest's manifest."""
SAVED_STATE = "moaa-state.json"
BEST = "best"
"""A checkpoint's folder with the best weights so far, where the resource keeps them."""
_MANIFEST = re.compile(r"(?P<folder>[^/]+/step-(?P<step>\d{6,}))\.json$")
_RANK_FILE = re.compile(r"(?:zero_pp_rank_|rng_state_)(?P<rank>\d+)")


class CheckpointManifest(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    step: int
    workers: int
    zero_stage: int
    files: dict[str, int]
    """Size in bytes by name relative to the checkpoint's folder."""


class SavedState(BaseModel):
    """What a checkpoint carries besides the trainer's own files (`SAVED_STATE` in its folder)."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    done: int = 0
    """Steps before the trainer's own step 0: what earlier attempts did whose weights alone were taken over."""
    curve: list[CurveRow] = []
    """Every step so far, those of earlier attempts included."""


def folder_name(step: int) -> str:
    return f"step-{step:06d}"


async def find_resume(store: Store, checkpoints: str, *, workers: int, zero_stage: int) -> Resume | None:
    """The newest complete checkpoint of any attempt, or None when there is none.

    One that was written by another number of workers, or with its optimiser split in another way, gives its weights
    only: ZeRO's optimiser parts fit only the split they were made for.
    """
    sizes = {found.key: found.size_bytes async for found in store.list(f"{checkpoints}/")}
    candidates = sorted(
        ((int(match["step"]), match["folder"]) for key in sizes if (match := _MANIFEST.search(key))), reverse=True
    )
    for step, folder in candidates:
        manifest = await _read(store, f"{checkpoints}/{folder}.json")
        if manifest is None:
            continue
        missing = [n for n, size in manifest.files.items() if sizes.get(f"{checkpoints}/{folder}/{n}") != size]
        if missing:
            logger.warning("checkpoint_incomplete folder=%s missing=%d first=%s", folder, len(missing), missing[0])
            continue
        same = (manifest.workers, manifest.zero_stage) == (workers, zero_stage)
        if not same:
            logger.warning(
                "resume_weights_only step=%d workers=%d->%d zero=%d->%d: the optimiser starts afresh",
                step, manifest.workers, workers, manifest.zero_stage, zero_stage,
            )  # fmt: skip
        return Resume(folder=folder, step=step, weights_only=not same)
    return None


async def _read(store: Store, key: str) -> CheckpointManifest | None:
    try:
        return CheckpointManifest.model_validate_json(await store.get(key))
    except (NotFound, ValidationError) as error:
        logger.warning("checkpoint_manifest_unreadable key=%s error=%s", key, type(error).__name__)
        return None


async def remove_checkpoints(store: Store, checkpoints: str) -> None:
    """Delete what the attempts of a finished stage left. Manifests first, so that none ever names missing files."""
    keys = [found.key async for found in store.list(f"{checkpoints}/")]
    for key in sorted(keys, key=lambda key: not _MANIFEST.search(key)):
        await store.delete(key)


def needed_by(file: str, ranks: Iterable[int], *, weights_only: bool) -> bool:
    """Whether a machine with these ranks needs a checkpoint's file to go on: for the weights alone those of the model,
    else what DeepSpeed has written for all and for its own ranks. The model's weights for serving stand beside; the
    best ones are rank 0's."""
    if file.startswith(f"{BEST}/"):
        return 0 in set(ranks)
    if weights_only:
        return "/" not in file and not _RANK_FILE.search(file)
    match = _RANK_FILE.search(file)
    return not fnmatch(file, "model*.safetensors*") and (match is None or int(match["rank"]) in set(ranks))


async def bring_checkpoint(
    store: Store, checkpoint: str, target: Path, *, ranks: Iterable[int], weights_only: bool
) -> None:
    """Download what a machine with these ranks needs of the checkpoint under the key `checkpoint` into `target`. Files
    come side by side, and large ones in parts side by side.

    Raises:
        StoreError: the store failed.
    """
    started, mine = time.monotonic(), set(ranks)
    names = {found.key.removeprefix(f"{checkpoint}/"): found.size_bytes async for found in store.list(f"{checkpoint}/")}
    wanted = {name: size for name, size in names.items() if needed_by(name, mine, weights_only=weights_only)}

    async def fetch(name: str) -> None:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        await store.download(f"{checkpoint}/{name}", target / name)

    await map_bounded(wanted, fetch, at_once=FILES_AT_ONCE)
    mib, seconds = sum(wanted.values()) / 2**20, time.monotonic() - started
    logger.info(
        "checkpoint_brought files=%d of=%d mib=%.0f seconds=%.1f mib_per_s=%.0f",
        len(wanted), len(names), mib, seconds, mib / max(seconds, 1e-3),
    )  # fmt: skip


def write_manifest(checkpoint: "Checkpoint", metrics: list[dict[str, Any]]) -> None:
    """Make a stored checkpoint exist. Called where every rank's upload is known to have ended.

    `metrics` are the ranks' reports: `files` (sizes by name), and in each the same step, workers and zero_stage.

    Raises:
        RuntimeError: storage lacks a file or holds another size; the run must not count on this checkpoint.
    """
    import pyarrow.fs as pafs

    expected = {name: size for report in metrics for name, size in report["files"].items()}
    filesystem, root = checkpoint.filesystem, checkpoint.path.rstrip("/")
    found = filesystem.get_file_info(pafs.FileSelector(root, recursive=True))
    stored = {info.path[len(root) + 1 :]: info.size for info in found if info.type is pafs.FileType.File}
    wrong = [name for name, size in expected.items() if stored.get(name) != size]
    if wrong:
        raise RuntimeError(f"{root}: {len(wrong)} of {len(expected)} files did not arrive whole, first {wrong[0]}")
    first = metrics[0]
    manifest = CheckpointManifest(
        step=first["step"], workers=first["workers"], zero_stage=first["zero_stage"], files=expected
    )
    # A directory shows a file while it is being written; S3 shows only whole objects, and its renames are copies.
    is_local = isinstance(filesystem, pafs.LocalFileSystem)
    written = f"{root}.json.part" if is_local else f"{root}.json"
    with filesystem.open_output_stream(written) as out:
        out.write(manifest.model_dump_json().encode())
    if is_local:
        filesystem.move(written, f"{root}.json")
