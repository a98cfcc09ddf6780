"""The student's tokenizer and the tokens that end its turns, without importing torch where that can be avoided."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from moaa.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_GENERIC = frozenset({"PreTrainedTokenizerFast", "TokenizersBackend"})
"""Classes that are wholly described by tokenizer.json. Others add behaviour of their own and need AutoTokenizer, whose
import costs about 9 s of CPU (it brings torch), this one's 1.3 s."""


def load_tokenizer(folder: Path) -> "PreTrainedTokenizerBase":
    """The tokenizer of a model folder, chat template included.

    Raises:
        DataError: there is no tokenizer that can be read, or it has no chat template.
    """
    try:
        if (folder / "tokenizer.json").is_file() and _tokenizer_class(folder) in _GENERIC:
            from transformers import PreTrainedTokenizerFast

            tokenizer: PreTrainedTokenizerBase = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
        else:
            from transformers import AutoTokenizer

            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{folder}: no tokenizer can be read from it: {error}") from error
    if not tokenizer.chat_template:
        raise DataError(
            f"{folder}: its tokenizer has no chat template; add chat_template.jinja or choose a chat model as student"
        )
    return tokenizer


def stop_ids(folder: Path, tokenizer: "PreTrainedTokenizerBase") -> frozenset[int]:
    """Ids that end a turn when the model is served: eos_token_id of generation_config.json and of the tokenizer.

    Raises:
        DataError: there is none.
    """
    found = {tokenizer.eos_token_id}
    file = folder / "generation_config.json"
    if file.is_file():
        listed = _read(file).get("eos_token_id")
        found |= set(listed) if isinstance(listed, list) else {listed}
    ids = frozenset(token for token in found if isinstance(token, int))
    if not ids:
        raise DataError(f"{folder}: names no end-of-turn token; set eos_token_id in generation_config.json")
    return ids


def _tokenizer_class(folder: Path) -> object:
    file = folder / "tokenizer_config.json"
    return _read(file).get("tokenizer_class") if file.is_file() else None


def _read(file: Path) -> dict[str, object]:
    value = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(value, dict):
        raise DataError(f"{file}: must hold a JSON object")
    return value
