"""The weighted mean of two models' weights, tensor by tensor and in pieces: neither model is ever in memory.

Files are read and written as the safetensors format says: eight bytes with the length of a header, the header in JSON
(name → dtype, shape, begin and end of its bytes), the bytes. The library's reader gives numpy no bfloat16. Sums are in
float32 and rounded to the nearest even value, as torch does.

Source: Wortsman et al. 2022, arXiv 2109.01903 (WiSE-FT), the mean of a model before and after fine-tuning.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from moaa.errors import DataError
from moaa.weights.folder import read_config

PIECE = 1 << 22
"""Numbers held at a time: 16 MiB of float32 for each model."""
INDEX = "model.safetensors.index.json"
_TIED = "lm_head.weight"
"""A copy of the embedding where config.json ties the two; some exports hold it and some do not."""
_HEADER_LENGTH = 8

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Tensor:
    """Where one tensor's bytes lie."""

    file: Path
    dtype: str
    """As the format writes it: `BF16`."""
    shape: tuple[int, ...]
    start: int
    """First byte in the file."""
    size: int
    """Bytes."""


@dataclass(frozen=True)
class Averaged:
    tensors: int
    distance: float
    """How far the model moved: ‖after − before‖ ÷ ‖before‖, over all numbers."""


def average(before: Path, after: Path, folder: Path, *, share: float) -> Averaged:
    """Write `folder`: (1 − share) × before + share × after, in the dtypes and files of `after`, whose other files are
    copied. Whole numbers, such as positions, have to be equal.

    Raises:
        DataError: a model has no safetensors, the two have other tensors, or a number is not finite.
    """
    old, new = tensors_of(before), tensors_of(after)
    _check_alike(old, new, before, after)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    written = {tensor.file for tensor in new.values()}
    for file in sorted(after.iterdir()):
        if file.is_file() and not file.name.endswith(".safetensors") and not file.name.startswith("."):
            shutil.copyfile(file, folder / file.name)
    moved = weight = 0.0
    for file in sorted(written):
        of_file = sorted((t.start, name) for name, t in new.items() if t.file == file)
        with file.open("rb") as source, (folder / file.name).open("wb") as target:
            target.write(source.read(_begin(source)))
            for _, name in of_file:
                for was, now in _pieces(name, old[name], new[name]):
                    target.write(_DTYPES[new[name].dtype].encode(was + np.float32(share) * (now - was)))
                    moved += float(np.sum(np.square(now - was), dtype=np.float64))
                    weight += float(np.sum(np.square(was), dtype=np.float64))
                if new[name].dtype not in _DTYPES:
                    target.write(_same_bytes(name, old[name], new[name]))
    return Averaged(len(new), sqrt(moved / weight) if weight else 0.0)


def tensors_of(folder: Path) -> dict[str, Tensor]:
    """Tensors of a model by name, of the files that its index lists, or of model.safetensors.

    Raises:
        DataError: there are none, or a file is none of the format.
    """
    try:
        names = set(json.loads((folder / INDEX).read_text())["weight_map"].values())
    except FileNotFoundError:
        names = {"model.safetensors"}
    found: dict[str, Tensor] = {}
    for name in sorted(names):
        found |= _tensors(folder / name)
    return found


def _tensors(file: Path) -> Iterator[tuple[str, Tensor]]:
    try:
        with file.open("rb") as source:
            begin = _begin(source)
            source.seek(_HEADER_LENGTH)
            header: dict[str, Any] = json.loads(source.read(begin - _HEADER_LENGTH))
    except FileNotFoundError as error:
        raise DataError(
            f"{file}: is not there; only weights in safetensors can be averaged, so save the model as such"
        ) from error
    except ValueError as error:
        raise DataError(f"{file}: is no safetensors file ({error}); restore it") from error
    for name, entry in header.items():
        if name != "__metadata__":
            start, end = entry["data_offsets"]
            yield name, Tensor(file, entry["dtype"], tuple(entry["shape"]), begin + start, end - start)


def _begin(file: BinaryIO) -> int:
    """Where the tensors' bytes begin; the file is at its beginning before and after."""
    file.seek(0)
    length = int.from_bytes(file.read(_HEADER_LENGTH), "little")
    file.seek(0)
    return _HEADER_LENGTH + length


def _check_alike(old: Mapping[str, Tensor], new: Mapping[str, Tensor], before: Path, after: Path) -> None:
    surplus = old.keys() - new.keys()
    if read_config(after).get("tie_word_embeddings"):
        surplus -= {_TIED}
    if lacking := sorted((new.keys() - old.keys()) | surplus):
        raise DataError(
            f"{before} and {after}: only one has the tensor {lacking[0]} ({len(lacking)} such in all); models of "
            "different shape cannot be averaged, so leave training.average out"
        )
    for name, tensor in new.items():
        if old[name].shape != tensor.shape:
            raise DataError(
                f"{before} and {after}: tensor {name} has shape {old[name].shape} and {tensor.shape}; models of "
                "different shape cannot be averaged, so leave training.average out"
            )


def _pieces(name: str, old: Tensor, new: Tensor) -> Iterator[tuple[Floats, Floats]]:
    """Both tensors' numbers, PIECE at a time; nothing for tensors of whole numbers.

    Raises:
        DataError: a number is not finite, or the dtypes do not go together.
    """
    if new.dtype not in _DTYPES:
        return
    if old.dtype not in _DTYPES:
        raise DataError(f"{old.file}: tensor {name} is {old.dtype} and was trained as {new.dtype}; it has no mean")
    was, now = _DTYPES[old.dtype], _DTYPES[new.dtype]
    left = new.size // now.size
    with old.file.open("rb") as first, new.file.open("rb") as second:
        first.seek(old.start)
        second.seek(new.start)
        while left > 0:
            number = min(left, PIECE)
            left -= number
            pair = was.decode(first.read(number * was.size)), now.decode(second.read(number * now.size))
            if len(pair[0]) != number or len(pair[1]) != number:
                raise DataError(f"{old.file} or {new.file}: ends inside tensor {name}; restore it")
            if not all(np.isfinite(numbers).all() for numbers in pair):
                raise DataError(f"{old.file} or {new.file}: tensor {name} holds a number that is not finite")
            yield pair


def _same_bytes(name: str, old: Tensor, new: Tensor) -> bytes:
    found = []
    for tensor in (old, new):
        with tensor.file.open("rb") as source:
            source.seek(tensor.start)
            found.append(source.read(tensor.size))
    if old.dtype != new.dtype or found[0] != found[1]:
        raise DataError(
            f"{old.file} and {new.file}: tensor {name} ({new.dtype}) differs, and numbers of this kind have no mean; "
            "leave training.average out"
        )
    return found[1]


@dataclass(frozen=True)
class _Dtype:
    size: int
    """Bytes of a number."""
    decode: Callable[[bytes], Floats]
    encode: Callable[[Floats], bytes]


def _from_bf16(body: bytes) -> Floats:
    """A bfloat16 is the upper half of a float32."""
    return (np.frombuffer(body, "<u2").astype("<u4") << 16).view("<f4")


def _to_bf16(numbers: Floats) -> bytes:
    """To the nearest, ties to even."""
    bits = numbers.astype("<f4").view("<u4")
    nearest: npt.NDArray[np.uint16] = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")
    return nearest.tobytes()


def _plain(dtype: str) -> _Dtype:
    return _Dtype(
        np.dtype(dtype).itemsize,
        lambda body: np.frombuffer(body, dtype).astype(np.float32),
        lambda numbers: numbers.astype(dtype).tobytes(),
    )


_DTYPES: Mapping[str, _Dtype] = {
    "F32": _plain("<f4"),
    "F16": _plain("<f2"),
    "BF16": _Dtype(2, _from_bf16, _to_bf16),
}
