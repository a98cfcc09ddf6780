"""`python -m moaa_jobs.fetch`: bring a model's weights to the folder of a server's pod, before vLLM starts.

What arrives is what the run pinned, or nothing does: a student is checked file by file against its manifest, an hf://
source is taken at the very commit whose digest the run has, an s3:// prefix must still have its digest. Weights on a
claim (pvc://) are mounted already; nobody has pinned them. The target is a link that is set when all is there, so a
restarted container goes on where it was. Options that depend on the model's config.json are written beside it.

Exit codes: 0 done; 64 the resource or a source is wrong; anything else is worth another try.
"""

import asyncio
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict

from moaa.contract.vllm import BringWeights, options_for
from moaa.data.hashing import digest_of
from moaa.errors import DataError, MoaaError, StoreError
from moaa.store.objects.open import StoreSettings, open_store
from moaa_jobs.runner.origins import Origins
from moaa_jobs.runner.settings import secret_value
from moaa_jobs.training.shared import weights
from moaa_jobs.training.shared.messages import Weights

logger = logging.getLogger("moaa_jobs.fetch")

EXIT_PERMANENT = 64
MAX_COMMITS = 10_000
"""Commits of a Hub repository that are looked through for the pinned one."""


class FetchSettings(BaseSettings):
    """What the pod says: MOAA_FETCH holds the task as JSON."""

    model_config = SettingsConfigDict(env_prefix="MOAA_", frozen=True, extra="ignore")

    fetch: BringWeights


async def bring(task: BringWeights) -> Path:
    """Bring the weights and write the options; returns the folder behind the target.

    Raises:
        DataError: the source is wrong, or is not what the run pinned.
        StoreError: a download failed, or did not end in time; worth another try.
    """
    target, options = Path(task.target), Path(task.options)
    try:
        async with asyncio.timeout(task.deadline_s):
            folder = await _folder(task, target.parent)
    except TimeoutError as error:
        raise StoreError(
            f"spec.models {task.model.name}: its weights did not arrive in {task.deadline_s} s; raise "
            "serving.startupMinutes if it only needs longer"
        ) from error
    options.parent.mkdir(parents=True, exist_ok=True)
    options.write_text(json.dumps(options_for(_config(folder, task), task.model.serving)))
    _link(target, folder)
    return folder


async def _folder(task: BringWeights, cache: Path) -> Path:
    if task.claim is not None:
        return Path(task.claim)
    store = open_store(task.storage, StoreSettings())
    try:
        return await weights.bring(await _pinned(task), store, task.storage, cache)
    finally:
        await store.close()


async def _pinned(task: BringWeights) -> Weights:
    """Where exactly the pinned weights are. Raises DataError: they are no longer there."""
    if task.folder is not None:
        return Weights(digest=task.digest, uri=f"{weights.STORE}{task.folder}")
    model = task.model
    source = model.source or ""
    origins = Origins(task.storage)
    try:
        origin = origins.open(
            source, revision=model.revision, secret=model.token_secret, field=f"spec.models {model.name}"
        )
        listing = await origin.pin(_everything)
    finally:
        await origins.close()
    if listing.revision is None:
        if listing.digest != task.digest:
            raise DataError(_gone(task))
        return Weights(digest=task.digest, uri=source)
    commit = listing.revision
    if not _is_pinned(task, commit):
        commit = await asyncio.to_thread(_older_commit, task)
    secret = model.token_secret.environment_variable if model.token_secret else None
    return Weights(digest=task.digest, uri=source, revision=commit, secret_variable=secret)


def _everything(names: Sequence[str]) -> list[str]:
    return list(names)


def _is_pinned(task: BringWeights, commit: str) -> bool:
    """As `resolve` makes the digest of an hf:// model."""
    return digest_of({"source": task.model.source, "commit": commit}) == task.digest


def _older_commit(task: BringWeights) -> str:
    """The branch has moved on since: the commit with the pinned digest. Raises DataError, StoreError."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    model = task.model
    secret = secret_value(model.token_secret) if model.token_secret else None
    api = HfApi(token=secret.get_secret_value() if secret else None)
    repository = (model.source or "").removeprefix("hf://")
    try:
        commits = api.list_repo_commits(repository, revision=model.revision)
    except (HfHubHTTPError, OSError) as error:
        raise StoreError(f"{model.source}: the Hub did not list its commits: {error}") from error
    for commit in commits[:MAX_COMMITS]:
        if _is_pinned(task, commit.commit_id):
            return commit.commit_id
    raise DataError(_gone(task))


def _gone(task: BringWeights) -> str:
    return (
        f"spec.models {task.model.name}: {task.model.source} is not what it was when the run resolved its models; put "
        "the files back, or give the new ones a place of their own and name that in source"
    )


def _config(folder: Path, task: BringWeights) -> dict[str, object]:
    try:
        config = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise DataError(
            f"spec.models {task.model.name}: config.json cannot be read ({error}); source must name a model's folder"
        ) from error
    if not isinstance(config, dict):
        raise DataError(f"spec.models {task.model.name}: config.json is not a JSON object; restore the model's folder")
    return config


def _link(target: Path, folder: Path) -> None:
    """Atomically: `target` is absent or leads to a whole folder."""
    if target.resolve() == folder.resolve():
        return
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(folder.resolve(), target_is_directory=True)
    temporary.replace(target)


def main() -> int:
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr, force=True
    )
    task = FetchSettings().fetch
    logger.info("weights_wanted model=%s digest=%s", task.model.name, task.digest[:12])
    try:
        folder = asyncio.run(bring(task))
    except MoaaError as error:
        permanent = isinstance(error, DataError)
        sys.stderr.write(json.dumps({"error": str(error), "permanent": permanent}) + "\n")
        return EXIT_PERMANENT if permanent else 1
    logger.info("weights_ready model=%s folder=%s", task.model.name, folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
