"""The models a job may ask: what identifies them, how they are reached, and how long their prompts may be."""

import asyncio
import re
from dataclasses import replace
from pathlib import Path

from pydantic import SecretStr

from moaa.api.base import SecretKey
from moaa.api.file_uri import file_path
from moaa.api.models import Model
from moaa.asking.windows import Window, Windows
from moaa.client.target import Target, bearer, target_of
from moaa.client.tokens import window_of
from moaa.errors import ServerError, StoreError
from moaa.plan.budget.spent import Tokens, usd_of_calls
from moaa.plan.digests import answering_digest
from moaa.store.ledger.ledger import Worth
from moaa.store.ledger.segments import Entry
from moaa.weights import copies
from moaa_jobs.runner.context import Context
from moaa_jobs.runner.settings import secret_value

TOKENIZER = "tokenizer.json"
UNSAVED_USD = 1.0
"""What answers of endpoints may cost before the ledger makes them durable. Where a pod's disk goes with the pod, a kill
loses them and what is under way, which at many requests at once costs more."""
UNSAVED_TOKENS = 250_000
"""The same for an endpoint without a price: a dollar at $4 a million."""
_SENDABLE = re.compile(r"[!-~](?:[ -~]*[!-~])?")


def declared(context: Context, name: str) -> Model:
    """The declared model behind a name of `Stage.serves`; a student (`@stage`) is the declared student, trained."""
    spec = context.resource.spec
    return spec.model(spec.student if name.startswith("@") else name)


def targets(context: Context) -> list[Target]:
    """Where every model of the job is reached; one that is not served now has no URL.

    Raises:
        ServerError: an endpoint's key or secret header is declared but this process was not given it.
    """
    job = context.job
    found: list[Target] = []
    for name in job.models:
        model = declared(context, name)
        target = target_of(
            model,
            urls=job.endpoints.get(name, ()),
            served_name=job.served_names.get(name, name),
            headers=_headers(model),
            pods=context.settings.pods,
        )
        # A student is known by its stage, not by the declared name that target_of takes from the model.
        found.append(replace(target, model=name))
    return found


def worth_of(context: Context) -> Worth:
    """What an answer of each model is worth to the ledger. Models that we serve cost time, which it counts itself."""
    named = {name: declared(context, name) for name in context.job.models}

    def worth(entry: Entry) -> float:
        tokens = Tokens(entry.prompt_tokens, entry.completion_tokens)
        usd = usd_of_calls(named[entry.model], tokens)
        return sum(tokens) / UNSAVED_TOKENS if usd is None else float(usd) / UNSAVED_USD

    return worth


def answering_digests(context: Context) -> dict[str, str]:
    """What identifies every model of the job in the identity of its calls."""
    return {name: answering_digest(declared(context, name), digest) for name, digest in context.job.models.items()}


async def windows_of(context: Context) -> Windows:
    """Context windows by model. A tokenizer that cannot be had leaves bounds from characters, which cut earlier.

    Raises:
        StoreError: the Hub, or the store that has its copy, did not give a tokenizer; worth another attempt.
    """
    windows: dict[str, Window] = {}
    for name in context.job.models:
        model = declared(context, name)
        windows[name] = window_of(model, tokenizer=await _tokenizer(context, model))
    return windows


async def _tokenizer(context: Context, model: Model) -> Path | None:
    source = model.source or ""
    if source.startswith("file://"):
        file = file_path(source) / TOKENIZER
        return file if file.is_file() else None
    if source.startswith("hf://"):
        copy = await _copy_of(context, model)
        if copy is None:
            return await asyncio.to_thread(_from_hub, context, model)
        folder = context.settings.work_dir / "copies" / copy.digest[:32]
        file = await copies.take(context.store, copy, folder, select=lambda name: name == TOKENIZER) / TOKENIZER
        return file if file.is_file() else None
    return None


async def _copy_of(context: Context, model: Model) -> copies.Copy | None:
    """The store's copy of a declared model, where the run keeps one."""
    digest = context.job.models.get(model.name)
    if digest is None or not context.resource.spec.storage.holds_weights:
        return None
    return await copies.read(context.store, digest)


def _from_hub(context: Context, model: Model) -> Path | None:
    """Only tokenizer.json, a few MB; where to cut a prompt needs no pinned commit."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

    secret = secret_value(model.token_secret) if model.token_secret else None
    try:
        file = hf_hub_download(
            (model.source or "").removeprefix("hf://"),
            TOKENIZER,
            revision=model.revision,
            cache_dir=context.settings.work_dir / "hub",
            token=secret.get_secret_value() if secret else None,
        )
    except LocalEntryNotFoundError as error:
        raise StoreError(f"{model.source}: the Hub cannot be reached for its tokenizer.json: {error}") from error
    except EntryNotFoundError:
        return None
    except (HfHubHTTPError, OSError) as error:
        raise StoreError(f"{model.source}: the Hub did not give its tokenizer.json: {error}") from error
    return Path(str(file))


def _headers(model: Model) -> dict[str, SecretStr]:
    """The headers of every request to an endpoint."""
    endpoint = model.endpoint
    if endpoint is None:
        return {}
    found: dict[str, SecretStr] = {}
    if endpoint.secret is not None:
        found["Authorization"] = bearer(_secret(model, "secret", endpoint.secret))
    for i, header in enumerate(endpoint.headers):
        if header.secret is not None:
            found[header.name] = _secret(model, f"headers[{i}].secret", header.secret)
        else:
            found[header.name] = SecretStr(header.value or "")
    return found


def _secret(model: Model, field: str, secret: SecretKey) -> SecretStr:
    value = secret_value(secret)
    if value is None:
        raise ServerError(
            f"spec.models {model.name}: endpoint.{field} is declared but {secret.environment_variable} is not set; set "
            "it to the endpoint's API key"
        )
    if not _SENDABLE.fullmatch(value.get_secret_value()):
        raise ServerError(
            f"spec.models {model.name}: endpoint.{field}: {secret.environment_variable} holds a line break, a blank at "
            "an end or a character that no header can carry; set it to the key alone"
        )
    return value
