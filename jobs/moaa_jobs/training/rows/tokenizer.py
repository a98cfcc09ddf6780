"""A model's tokenizer and the tokens that end its turns, as vLLM finds them, without importing torch where possible."""

from pathlib import Path
from typing import TYPE_CHECKING

from moaa.errors import DataError
from moaa.json_file import read_json_object

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_GENERIC = frozenset({"PreTrainedTokenizerFast", "TokenizersBackend"})
"""Classes that are wholly described by tokenizer.json. Others add behaviour of their own and need AutoTokenizer, whose
import costs about 9 s of CPU (it brings torch), this one's 1.3 s."""
PROBES = (
    "I am a helper.",
    "Two  spaces,\na line\n\n\tand a tab; don't WE'LL 3.14",
    "def f(x):\n    return x + 1\n",
    "你好,世界。 naïve café – 12345",
)
"""Texts that a tokenizer rebuilt as another kind takes apart otherwise, or loses parts of."""


def load_tokenizer(folder: Path, *, chat_template: str | None = None) -> "PreTrainedTokenizerBase":
    """The tokenizer of a model folder, with its chat template or the given one.

    Raises:
        DataError: there is no tokenizer that can be read, or the libraries that train and serve it would rebuild it as
            another than its tokenizer.json describes.
    """
    described = (folder / "tokenizer.json").is_file()
    try:
        if described and _tokenizer_class(folder) in _GENERIC:
            from transformers import PreTrainedTokenizerFast

            tokenizer: PreTrainedTokenizerBase = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
        else:
            from transformers import AutoTokenizer

            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            if described:
                _check_rebuilt(folder, tokenizer)
    # The tokenizers library raises plain Exception for a file that it cannot read.
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{folder}: no tokenizer can be read from it: {error}") from error
    if chat_template is not None:
        tokenizer.chat_template = chat_template
    return tokenizer


def _check_rebuilt(folder: Path, tokenizer: "PreTrainedTokenizerBase") -> None:
    """Compare with tokenizer.json itself. Raises DataError: a text gets other tokens, or is not what it was."""
    from tokenizers import Tokenizer

    described = Tokenizer.from_file(str(folder / "tokenizer.json"))
    for text in PROBES:
        wanted = described.encode(text, add_special_tokens=False).ids
        found = list(tokenizer(text, add_special_tokens=False)["input_ids"])
        # Settings beside tokenizer.json may say whether a text begins with a space: that is the first token only.
        if found[1:] in (wanted, wanted[1:]) or found in (wanted, wanted[1:]):
            continue
        kind = _tokenizer_class(folder) or type(tokenizer).__name__
        raise DataError(
            f"{folder}: its tokenizer_config.json says {kind}, and rebuilt as that its tokenizer is another than its "
            f"tokenizer.json describes: {text!r} becomes {len(found)} tokens that read "
            f"{tokenizer.decode(found)!r}, in place of {len(wanted)} that read {described.decode(wanted)!r}. Training "
            "and vLLM would both use the wrong one; write "
            '"tokenizer_class": "PreTrainedTokenizerFast" there, in a copy of the folder if it is not yours'
        )


def stop_ids(folder: Path, tokenizer: "PreTrainedTokenizerBase") -> frozenset[int]:
    """Ids that end a turn when vLLM serves the model: the tokenizer's eos_token, and eos_token_id of
    generation_config.json or, where there is no such file, of config.json.

    Raises:
        DataError: there is none, or one of the files cannot be read.
    """
    found: set[object] = {tokenizer.eos_token_id}
    generation = folder / "generation_config.json"
    if generation.is_file():
        found |= _listed(read_json_object(generation, remedy="mend the file"))
    elif (folder / "config.json").is_file():
        config = read_json_object(folder / "config.json", remedy="mend the file")
        text = config.get("text_config")
        found |= _listed(config) or (_listed(text) if isinstance(text, dict) else set())
    ids = frozenset(token for token in found if isinstance(token, int))
    if not ids:
        raise DataError(f"{folder}: names no end-of-turn token; set eos_token_id in generation_config.json")
    return ids


def _listed(settings: dict[str, object]) -> set[object]:
    listed = settings.get("eos_token_id")
    return set(listed) if isinstance(listed, list) else {listed} - {None}


def _tokenizer_class(folder: Path) -> object:
    file = folder / "tokenizer_config.json"
    return read_json_object(file, remedy="mend the file").get("tokenizer_class") if file.is_file() else None
