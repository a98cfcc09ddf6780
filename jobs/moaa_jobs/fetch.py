"""`python -m moaa_jobs.fetch`: bring a model's weights to the folder of a server's pod, before vLLM starts.

Either exactly what the run pinned arrives, or nothing: a student is checked file by file against its manifest, an hf://
source is taken at the very commit whose digest the run has, an s3:// prefix must still have its digest. Weights on a
claim (pvc://) are mounted already and not pinned. The target is a link that is set when all is there, so a restarted
container goes on where it was. Options that depend on the model's config.json are written beside it.

It ends with Exit.PERMANENT when the resource or a source is wrong.
"""

import asyncio
import json
import logging
import sys
from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict

from moaa.contract import environment
from moaa.contract.answers import last_line
from moaa.contract.exits import TRY_AGAIN, Exit
from moaa.contract.vllm import options_for
from moaa.contract.weights import BringWeights
from moaa.errors import DataError, MoaaError, StoreError
from moaa.store.objects.open import StoreSettings, open_store
from moaa.weights import bring as bringing
from moaa.weights import folder
from moaa.weights.bring import Places
from moaa.weights.find import ModelWeights
from moaa_jobs.runner.origins import hub_token

logger = logging.getLogger("moaa_jobs.fetch")


class FetchSettings(BaseSettings):
    """What the pod says: MOAA_FETCH holds the task as JSON."""

    model_config = SettingsConfigDict(env_prefix=environment.PREFIX, frozen=True, extra="ignore")

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
            found = await _folder(task, target.parent)
    except TimeoutError as error:
        raise StoreError(
            f"spec.models {task.model.name}: its weights did not arrive in {task.deadline_s} s; raise "
            "serving.startupMinutes if it only needs longer"
        ) from error
    options.parent.mkdir(parents=True, exist_ok=True)
    options.write_text(json.dumps(options_for(_config(found, task), task.model.serving)))
    folder.link(target, found)
    return found


async def _folder(task: BringWeights, cache: Path) -> Path:
    if task.claim is not None:
        return Path(task.claim)
    wanted = ModelWeights(digest=task.digest, model=task.model, folder=task.folder)
    store = open_store(task.storage, StoreSettings())
    try:
        token = hub_token(wanted)
        places = Places(store=store, storage=task.storage, cache=cache, hub=cache / "hub", token=token)
        return await bringing.bring(wanted, places)
    finally:
        await store.close()


def _config(where: Path, task: BringWeights) -> dict[str, object]:
    try:
        return folder.read_config(where)
    except DataError as error:
        raise DataError(f"spec.models {task.model.name}: {error}") from error


def main() -> int:
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr, force=True
    )
    task = FetchSettings().fetch
    logger.info("weights_wanted model=%s digest=%s", task.model.name, task.digest[:12])
    try:
        found = asyncio.run(bring(task))
    except MoaaError as error:
        permanent = isinstance(error, DataError)
        sys.stderr.write(last_line(str(error), permanent=permanent))
        return Exit.PERMANENT if permanent else TRY_AGAIN
    logger.info("weights_ready model=%s folder=%s", task.model.name, found)
    return Exit.DONE


if __name__ == "__main__":
    sys.exit(main())
