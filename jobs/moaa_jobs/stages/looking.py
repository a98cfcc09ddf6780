"""Check every model whose files resolve can see, before the first call.

Of a student it checks all that training rests on: file names, configuration and headers of its weights, tokenizer, chat
template, end tokens. Of a model that is only served it checks that its tokenizer is rebuilt as its tokenizer.json says,
and that its chat template renders a question. Models on a claim (pvc://) are not seen here.
"""

import asyncio
import fnmatch
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from moaa.api.file_uri import file_path
from moaa.api.models import Model
from moaa.api.training import Training
from moaa.conversation import Message
from moaa.data.origin import Origin
from moaa.data.origin.base import Listing, PinnedFile, StartReader
from moaa.errors import DataError, StoreError
from moaa.json_file import read_json_object
from moaa.rows import ConversationRow
from moaa_jobs.runner.settings import secret_value
from moaa_jobs.training.rows import adapters, student, thoughts
from moaa_jobs.training.rows.chat import QUESTION, Chat, open_chat
from moaa_jobs.training.rows.template import Template, TemplateRefuses, source_of
from moaa_jobs.training.rows.tokenizer import load_tokenizer
from moaa_jobs.training.rows.tokens import Failed, encode_conversation

logger = logging.getLogger(__name__)

_SMALL = ("*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken")
"""What tokenising and configuration need."""
_HEADER_GUESS_BYTES = 256 * 1024
"""Longer than the header of most files: one request is enough for them."""
_LEAST = "one-turn"
_SEVERAL: list[Message] = [
    {"role": "user", "content": "one"}, {"role": "assistant", "content": "first"},
    {"role": "user", "content": "two"}, {"role": "assistant", "content": "second"},
]  # fmt: skip
_TRIED: Mapping[str, list[Message]] = {
    _LEAST: _SEVERAL[:2],
    "several-turns": _SEVERAL,
    "system": [{"role": "system", "content": "be kind"}, *_SEVERAL],
    "line-break-first": [_SEVERAL[0], {"role": "assistant", "content": "\n\nfirst"}],
}
"""Conversations that are tried with a student."""
_OWN_TOKENIZERS = ("tekken.json", "tokenizer.model.v*")
"""Mistral's formats, which vLLM reads with a tokenizer and a template of its own."""
_OTHER_TOKENIZER_ARGS = ("--tokenizer", "--tokenizer-mode", "--trust-remote-code")
"""vLLM arguments by which a server takes another tokenizer than the folder's, or runs code of the folder."""


async def look(
    model: Model,
    origin: Origin,
    listing: Listing,
    cache: Path,
    *,
    is_student: bool,
    training: Training,
) -> str | None:
    """Look at a model with a source, as `listing` pins it; `cache` takes what must be downloaded. Returns what its
    configuration says it is (`model_type`), None where it has none. A student whose weights are averaged with what
    becomes of it needs them as safetensors, and one that `training` cannot hold in memory is refused.

    Raises:
        DataError: it cannot be trained as it is served, or not be served at all; the text says what to change.
        StoreError: a file did not arrive; worth another attempt.
    """
    names = frozenset(file.name for file in listing.files)
    name = f"spec.models {model.name}"
    folder = await _bring(model, origin, listing, cache)
    config = _json(folder / "config.json") if "config.json" in names else {}
    said = config.get("model_type")
    model_type = said if isinstance(said, str) else None
    if is_student:
        tensors = await _tensors(model, origin, listing, folder)
        contents = student.Contents(names, config, tensors)
        student.check(contents, name, reads_pickles=not _is_hub(model) and training.average is None)
        adapters.check_adapters(config, tensors, training, name)
        student.check_memory(config, training, name)
        chat = await asyncio.to_thread(open_chat, folder, model, thinking=training.thinking)
        if model.chat_template is None and "chat_template.json" in names:
            _check_processor(folder, source_of(chat.template.tokenizer, name), name)
        tried = await asyncio.to_thread(_try_rows, chat, name)
        logger.info(
            "student_checked model=%s ends_with=%r thinking=%s %s",
            model.name, chat.ending.text, chat.thinking.value, tried,
        )  # fmt: skip
        return model_type
    if _is_hub(model):
        student.check_safetensors(names, name)
    if _has_own_tokenizer(model, names):
        logger.info("tokenizer_not_checked model=%s: vLLM reads it in another way", model.name)
    elif model_type in student.RENDERED_BY_VLLM:
        _check_rendered(model, name)
    elif names & {"tokenizer.json", "tokenizer_config.json"}:
        await asyncio.to_thread(_check_served, folder, model, name)
    return model_type


def _try_rows(chat: Chat, name: str) -> str:
    """How small conversations fare: the number of sequences each becomes, or why it fails.

    Raises:
        DataError: one question and one answer cannot be trained.
    """
    told = []
    thought = f"{chat.opened}so\n{thoughts.closing_of(chat.opened)}\n" if chat.opened else ""
    for what, turns in _TRIED.items():
        messages = [
            Message(role=turn["role"], content=thought + turn["content"]) if turn["role"] == "assistant" else turn
            for turn in turns
        ]
        row: ConversationRow = {
            "id": what,
            "messages": messages,
            "proposals": [],
            "missing": 0,
            "absent": [],
            "shortened": 0,
            "wrote": [],
        }
        found = encode_conversation(chat, row, max_length=sys.maxsize)
        if isinstance(found, Failed):
            if what == _LEAST:
                raise DataError(
                    f"{name}: {found.reason}: a question and an answer cannot be trained as they are served "
                    f"({found.details}); give it another chatTemplate"
                )
            logger.warning("student_fails model=%s rows=%s reason=%s %s", name, what, found.reason, found.details)
        told.append(f"{what}={found.reason if isinstance(found, Failed) else len(found)}")
    return " ".join(told)


def _check_processor(folder: Path, template: str, name: str) -> None:
    """Raises DataError: a processor beside the tokenizer has a template of its own, which vLLM would prefer."""
    if _json(folder / "chat_template.json").get("chat_template") != template:
        raise DataError(
            f"{name}: chat_template.json holds another chat template than the tokenizer: it would be served with the "
            "one and trained with the other; say which (chatTemplate)"
        )


def _check_served(folder: Path, model: Model, name: str) -> None:
    """Raises DataError: the server of a model would read other tokens, or answer no chat."""
    tokenizer = load_tokenizer(folder, chat_template=model.chat_template)
    source_of(tokenizer, name)
    asked: list[Message] = [{"role": "user", "content": QUESTION}]
    try:
        Template(tokenizer, model.chat_template_args).text(asked, generation_prompt=True)
    except TemplateRefuses as error:
        raise DataError(
            f"{name}: its chat template does not render a question: {error}; give it a chatTemplate"
        ) from error


def _check_rendered(model: Model, name: str) -> None:
    """Raises DataError: the model is given a chat template, or arguments of one, that its server never reads."""
    for field, given in (("chatTemplate", model.chat_template), ("chatTemplateArgs", model.chat_template_args)):
        if given:
            raise DataError(
                f"{name}: {field} has no effect: vLLM renders this model's conversations by itself; remove it. How "
                "long it thinks is a field of the request: extraBody: {reasoning_effort: low}"
            )
    logger.info("template_not_checked model=%s: vLLM renders its conversations by itself", model.name)


def _has_own_tokenizer(model: Model, names: frozenset[str]) -> bool:
    told = {arg.partition("=")[0].replace("_", "-") for arg in model.serving.args}
    mistral = any(fnmatch.fnmatch(file, pattern) for file in names for pattern in _OWN_TOKENIZERS)
    return mistral or not told.isdisjoint(_OTHER_TOKENIZER_ARGS)


def _is_hub(model: Model) -> bool:
    return (model.source or "").startswith("hf://")


async def _bring(model: Model, origin: Origin, listing: Listing, cache: Path) -> Path:
    """A folder with the small files, as pinned."""
    if (model.source or "").startswith("file://"):
        return file_path(model.source or "")
    cache.mkdir(parents=True, exist_ok=True)
    for file in listing.files:
        if any(fnmatch.fnmatch(file.name, pattern) for pattern in _SMALL):
            await origin.fetch(file, listing.revision, cache)
    return cache


async def _tensors(
    model: Model, origin: Origin, listing: Listing, folder: Path
) -> Mapping[str, student.Tensor | None] | None:
    """Names of the weights' tensors, with types where headers can be read; None: they cannot be known from here."""
    files = {file.name: file for file in listing.files}
    is_safe = not files.keys().isdisjoint(("model.safetensors", student.INDEX))
    listed: dict[str, str] | None = None
    if student.INDEX in files:
        listed = student.indexed(_json(folder / student.INDEX), files.keys(), f"spec.models {model.name}")
    if not is_safe:
        return None
    if isinstance(origin, StartReader):
        names = ["model.safetensors"] if listed is None else sorted(set(listed.values()))
        found = await _headers([files[name] for name in names], origin, model.source or "")
    else:
        found = await asyncio.to_thread(_from_hub, model, listing.revision)
    if listed is not None and (gone := sorted(listed.keys() - found)):
        raise DataError(
            f"{model.source}: {student.INDEX} lists {gone[0]}, which no file holds; restore the folder's weights"
        )
    return found


async def _headers(files: Sequence[PinnedFile], origin: StartReader, source: str) -> dict[str, student.Tensor | None]:
    """Raises DataError, StoreError: a file is broken, or did not arrive."""
    tensors: dict[str, student.Tensor | None] = {}
    for file in files:
        where = f"{source.rstrip('/')}/{file.name}"
        start = await origin.start(file, _HEADER_GUESS_BYTES)
        end = student.header_bytes(start, where)
        if end > len(start) and file.size_bytes > len(start):
            start = await origin.start(file, end)
        tensors |= student.read_header(start, file.size_bytes, where)
    return tensors


def _from_hub(model: Model, revision: str | None) -> dict[str, student.Tensor | None]:
    """By range requests: headers only. Raises StoreError."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, NotASafetensorsRepoError, SafetensorsParsingError

    secret = secret_value(model.token_secret) if model.token_secret else None
    api = HfApi(token=secret.get_secret_value() if secret else None)
    try:
        metadata = api.get_safetensors_metadata((model.source or "").removeprefix("hf://"), revision=revision)
    except (NotASafetensorsRepoError, SafetensorsParsingError) as error:
        raise DataError(f"{model.source}: its safetensors cannot be read: {error}; choose another revision") from error
    except (HfHubHTTPError, OSError) as error:
        raise StoreError(f"{model.source}: the Hub did not give the headers of its weights: {error}") from error
    return {
        tensor: student.Tensor(str(found.dtype), tuple(found.shape))
        for file in metadata.files_metadata.values()
        for tensor, found in file.tensors.items()
    }


def _json(file: Path) -> dict[str, object]:
    """Raises DataError: it is no JSON object."""
    return read_json_object(file, remedy="mend the file")
