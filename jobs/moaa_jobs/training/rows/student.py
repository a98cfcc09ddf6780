"""Check what a student's folder must hold without reading its weights: configuration, file names, headers.

The library that loads weights draws a missing tensor at random; it would be trained and served as the model's own. So
missing tensors are refused here, before a GPU is held, as far as names tell: for common architectures every tensor is
known by name, for others only those that all have. Loading checks the rest (`model.load_model`).
"""

import fnmatch
import json
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moaa.api.training import Training
from moaa.errors import DataError
from moaa.plan.forecast.fits import hopeless

logger = logging.getLogger(__name__)

INDEX = "model.safetensors.index.json"
_PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
_WEIGHTS = (".safetensors", ".bin", ".gguf", ".pt", ".pth")
_FLOATS = frozenset({"F64", "F32", "F16", "BF16"})
_MAX_HEADER_BYTES = 100_000_000
"""As the safetensors library."""
_LAYER = (
    "input_layernorm.weight", "self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight",
    "self_attn.o_proj.weight", "mlp.gate_proj.weight", "mlp.up_proj.weight", "mlp.down_proj.weight",
    "post_attention_layernorm.weight",
)  # fmt: skip
_SANDWICH = (*_LAYER, "pre_feedforward_layernorm.weight", "post_feedforward_layernorm.weight")
_FUSED = (
    "input_layernorm.weight", "self_attn.qkv_proj.weight", "self_attn.o_proj.weight", "mlp.gate_up_proj.weight",
    "mlp.down_proj.weight", "post_attention_layernorm.weight",
)  # fmt: skip
_NORMS_OF_HEADS = ("self_attn.q_norm.weight", "self_attn.k_norm.weight")
_KNOWN: Mapping[str, tuple[tuple[str, ...], bool]] = {
    "llama": (_LAYER, False),
    "mistral": (_LAYER, False),
    "qwen2": (_LAYER, False),
    "qwen3": ((*_LAYER, *_NORMS_OF_HEADS), False),
    "granite": (_LAYER, False),
    "gemma": (_LAYER, True),
    "gemma2": (_SANDWICH, True),
    "gemma3_text": ((*_SANDWICH, *_NORMS_OF_HEADS), True),
    "phi3": (_FUSED, False),
}
"""By model_type: the tensors of every layer, and whether lm_head is the embedding where config.json does not say."""
_NEEDLESS = ("lm_head.weight", "*.bias", "*rotary_emb.inv_freq")
"""May be there: a head that is tied, biases where the configuration has them, tables that older versions stored."""

RENDERED_BY_VLLM = frozenset({"gpt_oss"})
"""By model_type: vLLM has code of its own for these in place of a chat template, whatever template they are given."""


@dataclass(frozen=True)
class Tensor:
    dtype: str
    """As safetensors names it: BF16."""
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Contents:
    """What is known of a model's folder."""

    names: frozenset[str]
    """Of its files, relative."""
    config: Mapping[str, object]
    """config.json."""
    tensors: Mapping[str, Tensor | None] | None
    """By name, with what its file's header says where that was read; None: not even the names are known."""


def check(contents: Contents, name: str, *, reads_pickles: bool) -> None:
    """Refuse what cannot be trained. `name` is the model's in errors; `reads_pickles`: `.bin` files are brought too.

    Raises:
        DataError: weights are missing, unexpected, quantised, an adapter's, or need code of their own.
    """
    check_files(contents.names, name, reads_pickles=reads_pickles)
    if contents.config.get("model_type") in RENDERED_BY_VLLM:
        raise DataError(
            f"{name}: vLLM renders the conversations of a {contents.config['model_type']} model by itself and reads no "
            "chat template, so that it cannot be trained as it is served; choose another student (this one may "
            "propose, aggregate and judge)"
        )
    quantised = _quantisation(contents.config)
    if quantised:
        raise DataError(
            f"{name}: config.json says its weights are quantised ({quantised}), and training needs them as they were "
            "before; give the model's unquantised folder as source"
        )
    _check_native(contents.config, name)
    if contents.tensors is not None:
        _check_tensors(contents.tensors, contents.config, name)


def check_files(names: Collection[str], name: str, *, reads_pickles: bool) -> None:
    """Raises DataError: there is no whole model, or none in a form that is brought."""
    if "adapter_config.json" in names:
        raise DataError(
            f"{name}: is an adapter (adapter_config.json), not a whole model; merge it into its base model and "
            "give that folder as source"
        )
    if "config.json" not in names:
        raise DataError(f"{name}: has no config.json; source must name a model's folder")
    # Beside them Mistral's repositories hold the same again as consolidated.safetensors, which is never loaded.
    wanted = {"model.safetensors", INDEX} | (set(_PICKLES) if reads_pickles else set())
    if wanted.isdisjoint(names):
        found = sorted({f"*{Path(file).suffix}" for file in names if Path(file).suffix in _WEIGHTS})
        there = f"only {', '.join(found)}" if found else "no weights"
        raise DataError(
            f"{name}: has no model.safetensors ({there}); convert its weights (transformers: save_pretrained) and "
            "give that folder as source"
        )


def _quantisation(config: Mapping[str, object]) -> str | None:
    text = config.get("text_config")
    for part in (config, text if isinstance(text, dict) else {}):
        for key in ("quantization_config", "compression_config"):
            found = part.get(key)
            if found:
                return str(found.get("quant_method", key)) if isinstance(found, dict) else key
    return None


def _check_native(config: Mapping[str, object], name: str) -> None:
    """A folder with code of its own is fine where the library knows the architecture itself."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    kind = config.get("model_type")
    if kind not in CONFIG_MAPPING_NAMES:
        where = "only to code in its own folder (auto_map), which is never run"
        known = where if "auto_map" in config else "to no code of transformers here"
        raise DataError(
            f"{name}: its architecture (model_type {kind!r}) is known {known}; choose a model whose architecture "
            "transformers has, or correct config.json"
        )
    if config.get("is_encoder_decoder") is True:
        raise DataError(
            f"{name}: config.json says is_encoder_decoder, and only models that go on with their own text are trained "
            "here; choose a decoder"
        )


def check_memory(config: Mapping[str, object], training: Training, name: str) -> None:
    """Refuse a student that the GPUs of `training` cannot hold, as far as their memory is told.

    Raises:
        DataError: weights, gradients and optimiser alone need more than a GPU has; the text says what would fit.
    """
    try:
        problem = hopeless(config, training, name)
    except DataError as error:
        logger.info("memory_not_estimated %s", error)
        return
    if problem is not None:
        raise DataError(problem)


def _check_tensors(tensors: Mapping[str, Tensor | None], config: Mapping[str, object], name: str) -> None:
    packed = sorted(
        tensor
        for tensor, found in tensors.items()
        if found and found.dtype not in _FLOATS and tensor.endswith("weight")
    )
    if packed:
        raise DataError(
            f"{name}: {packed[0]} is stored as {tensors[packed[0]].dtype}, quantised; "  # type: ignore[union-attr]
            "give the model's unquantised folder as source"
        )
    missing, unexpected = _compared(frozenset(tensors), config)
    if missing:
        raise DataError(
            f"{name}: {_some(missing)} not among its weights, and loading would draw random numbers in their place; "
            "restore the folder's weights"
        )
    if unexpected:
        raise DataError(
            f"{name}: {_some(unexpected)} among its weights, which its config.json knows nothing of; correct "
            "config.json or the weights"
        )


def _some(tensors: Collection[str]) -> str:
    first = ", ".join(sorted(tensors)[:3])
    if len(tensors) == 1:
        return f"{first} is"
    return f"{first} are" if len(tensors) <= 3 else f"{first} and {len(tensors) - 3} more are"


def _compared(found: frozenset[str], config: Mapping[str, object]) -> tuple[set[str], set[str]]:
    """Missing names and unknown names, for architectures that are known."""
    layers, known = config.get("num_hidden_layers"), _KNOWN.get(str(config.get("model_type")))
    if known is None or not isinstance(layers, int):
        return set(), set()
    of_layer, tied_by_default = known
    # Without its head, a model may have been saved without the first part of each name too.
    bare = {tensor.removeprefix("model.") for tensor in found}
    wanted = {f"layers.{layer}.{tensor}" for layer in range(layers) for tensor in of_layer}
    wanted |= {"embed_tokens.weight", "norm.weight"}
    if not config.get("tie_word_embeddings", tied_by_default):
        wanted.add("lm_head.weight")
    extra = {tensor for tensor in bare - wanted if not any(fnmatch.fnmatch(tensor, one) for one in _NEEDLESS)}
    return wanted - bare, extra


def header_bytes(start: bytes, file: str) -> int:
    """Where the header of a safetensors file ends, by its first 8 bytes. Raises DataError: it is no such file."""
    length = int.from_bytes(start[:8], "little")
    if len(start) < 8 or length > _MAX_HEADER_BYTES:
        raise DataError(f"{file}: is no safetensors file ({_told(start, length)}); copy it again")
    return 8 + length


def _told(start: bytes, length: int) -> str:
    return f"{len(start)} bytes" if len(start) < 8 else f"a header of {length} bytes"


def read_header(start: bytes, size_bytes: int, file: str) -> dict[str, Tensor | None]:
    """Tensors by name, from the beginning of a safetensors file of that size.

    Raises:
        DataError: the file is cut short or broken.
    """
    end = header_bytes(start, file)
    try:
        header: dict[str, Any] = json.loads(start[8:end])
    except ValueError as error:
        raise DataError(f"{file}: is no safetensors file ({error}); copy it again") from error
    header.pop("__metadata__", None)
    whole = end + max((described["data_offsets"][1] for described in header.values()), default=0)
    if size_bytes != whole:
        raise DataError(f"{file}: has {size_bytes} bytes where its header says {whole}; copy it again")
    return {tensor: Tensor(d["dtype"], tuple(d["shape"])) for tensor, d in header.items()}


def check_safetensors(names: Collection[str], name: str) -> None:
    """Of a model that is only served, from the Hub. Raises DataError: nothing of its weights would be brought."""
    if not any(file.endswith(".safetensors") for file in names):
        raise DataError(
            f"{name}: has no safetensors, and of the Hub nothing else is brought; give a folder with its weights as "
            "source, or another revision"
        )


def indexed(index: Mapping[str, object], names: Collection[str], name: str) -> dict[str, str]:
    """The file of every tensor, as an index lists them. Raises DataError: a file that it names is not there."""
    listed = index.get("weight_map")
    if not isinstance(listed, dict):
        raise DataError(f"{name}: {INDEX} has no weight_map; restore the file")
    gone = sorted({str(file) for file in listed.values()} - set(names))
    if gone:
        raise DataError(f"{name}: {INDEX} names {gone[0]}, which is not there; restore the folder's weights")
    return {str(tensor): str(file) for tensor, file in listed.items()}
