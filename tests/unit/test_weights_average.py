"""The mean of two models' weights: exact numbers in every dtype, in pieces, and what has no mean."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import moaa.weights.average as subject
from moaa.errors import DataError
from moaa.weights.average import average, tensors_of

Given = Mapping[str, tuple[str, Any]]
"""By name: dtype as the format writes it, and numbers; of BF16 the bits."""
_KINDS = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8"}


def write(folder: Path, tensors: Given, *, files: int = 1, config: Mapping[str, Any] | None = None) -> Path:
    """A model's folder of one file, or of several with an index."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config or {}))
    (folder / "tokenizer.json").write_text(f"of {folder.name}")
    placed: dict[str, str] = {}
    for number in range(files):
        name = "model.safetensors" if files == 1 else f"model-{number}.safetensors"
        part = {key: value for i, (key, value) in enumerate(tensors.items()) if i % files == number}
        body, header = b"", dict[str, Any]({"__metadata__": {"format": "pt"}})
        for key, (dtype, numbers) in part.items():
            array = np.asarray(numbers, _KINDS[dtype])
            header[key] = {
                "dtype": dtype,
                "shape": list(array.shape),
                "data_offsets": [len(body), len(body) + array.nbytes],
            }
            body += array.tobytes()
            placed[key] = name
        text = json.dumps(header).encode()
        (folder / name).write_bytes(len(text).to_bytes(8, "little") + text + body)
    if files > 1:
        (folder / subject.INDEX).write_text(json.dumps({"weight_map": placed}))
    return folder


def read(folder: Path, name: str) -> Any:
    tensor = tensors_of(folder)[name]
    body = tensor.file.read_bytes()[tensor.start : tensor.start + tensor.size]
    return np.frombuffer(body, _KINDS[tensor.dtype]).reshape(tensor.shape)


def bf16(value: float) -> int:
    """Bits of a number that bfloat16 holds."""
    bits = int(np.float32(value).view(np.uint32))
    assert bits & 0xFFFF == 0, value
    return bits >> 16


def test_a_mean_is_by_share_in_the_dtype_and_files_of_the_one_after(tmp_path: Path) -> None:
    before = write(tmp_path / "old", {"b": ("F32", [[8.0, 0.0]]), "a": ("F16", [1.0, 2.0])})
    after = write(tmp_path / "new", {"a": ("F32", [2.0, 4.0]), "b": ("F16", [[0.0, 8.0]])}, files=2)
    made = average(before, after, tmp_path / "out", share=0.25)
    assert read(tmp_path / "out", "a").tolist() == [1.25, 2.5]
    assert read(tmp_path / "out", "b").tolist() == [[6.0, 2.0]]
    assert {name: t.dtype for name, t in tensors_of(tmp_path / "out").items()} == {"a": "F32", "b": "F16"}
    assert (tmp_path / "out" / "tokenizer.json").read_text() == "of new"
    names = ["config.json", "model-0.safetensors", "model-1.safetensors", subject.INDEX, "tokenizer.json"]
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == sorted(names)
    assert made.tensors == 2
    assert made.distance == pytest.approx(((1 + 4 + 64 + 64) / (1 + 4 + 64)) ** 0.5)


def test_bfloat16_rounds_to_the_nearest_and_ties_to_even(tmp_path: Path) -> None:
    # Between 1 and 2 bfloat16 has steps of 2^-7. Halfway stands an odd multiple of 2^-8.
    step = 2.0**-7
    pairs = [(1.0, 1.0 + step), (1.0 + step, 1.0 + 2 * step), (1.0, 3.0), (-1.0, -1.0 - step)]
    before = write(tmp_path / "old", {"w": ("BF16", [bf16(x) for x, _ in pairs])})
    after = write(tmp_path / "new", {"w": ("BF16", [bf16(y) for _, y in pairs])})
    average(before, after, tmp_path / "out", share=0.5)
    assert read(tmp_path / "out", "w").tolist() == [bf16(x) for x in (1.0, 1.0 + 2 * step, 2.0, -1.0)]


@pytest.mark.parametrize("size", [1, 7, 8, 9, 64])
def test_pieces_give_what_the_whole_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(subject, "PIECE", 8)
    rng = np.random.default_rng(size)
    old, new = rng.normal(size=(2, size)).astype("<f4")
    before = write(tmp_path / "old", {"w": ("F32", old), "v": ("F32", new)})
    after = write(tmp_path / "new", {"w": ("F32", new), "v": ("F32", old)})
    average(before, after, tmp_path / "out", share=0.3)
    assert np.array_equal(read(tmp_path / "out", "w"), old + np.float32(0.3) * (new - old))
    assert np.array_equal(read(tmp_path / "out", "v"), new + np.float32(0.3) * (old - new))


def test_equal_models_average_to_themselves_to_the_byte(tmp_path: Path) -> None:
    tensors = {"w": ("BF16", [bf16(0.1171875), bf16(-3.0)]), "n": ("I64", [3])}
    before, after = (write(tmp_path / name, tensors) for name in ("old", "new"))
    made = average(before, after, tmp_path / "out", share=0.7)
    assert made.distance == 0
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == (after / "model.safetensors").read_bytes()


W = {"w": ("F32", [1.0])}


@pytest.mark.parametrize(
    ("old", "new", "config", "said"),
    [
        pytest.param(W, {**W, "x": ("F32", [1.0])}, {}, "only one has the tensor x", id="more after"),
        pytest.param({**W, "x": ("F32", [1.0])}, W, {}, "only one has the tensor x", id="more before"),
        pytest.param(W, {"w": ("F32", [1.0, 2.0])}, {}, r"shape \(1,\) and \(2,\)", id="shape"),
        pytest.param(W, {"w": ("F32", [np.nan])}, {}, "not finite", id="not a number"),
        pytest.param({"n": ("I64", [1])}, {"n": ("I64", [2])}, {}, "have no mean", id="whole numbers"),
        pytest.param({"w": ("I64", [1])}, W, {}, "it has no mean", id="whole against broken numbers"),
        pytest.param({**W, "lm_head.weight": W["w"]}, W, {}, "lm_head", id="a head of its own"),
    ],
)
def test_what_has_no_mean_is_refused(tmp_path: Path, old: Given, new: Given, config: dict[str, Any], said: str) -> None:
    before, after = write(tmp_path / "old", old), write(tmp_path / "new", new, config=config)
    with pytest.raises(DataError, match=said):
        average(before, after, tmp_path / "out", share=0.5)


def test_a_tied_head_may_be_written_in_one_and_not_in_the_other(tmp_path: Path) -> None:
    before = write(tmp_path / "old", {**W, "lm_head.weight": W["w"]})
    after = write(tmp_path / "new", W, config={"tie_word_embeddings": True})
    assert average(before, after, tmp_path / "out", share=0.5).tensors == 1


def test_weights_in_another_format_are_named(tmp_path: Path) -> None:
    before, after = write(tmp_path / "old", W), write(tmp_path / "new", W)
    (before / "model.safetensors").rename(before / "pytorch_model.bin")
    with pytest.raises(DataError, match=r"only weights in safetensors can be averaged"):
        average(before, after, tmp_path / "out", share=0.5)
    (before / "model.safetensors").write_bytes(b"\x05\x00\x00\x00\x00\x00\x00\x00{oops")
    with pytest.raises(DataError, match="is no safetensors file"):
        average(before, after, tmp_path / "out", share=0.5)


def test_a_torn_file_is_no_shorter_mean(tmp_path: Path) -> None:
    before, after = (write(tmp_path / name, {"w": ("F32", [1.0, 2.0])}) for name in ("old", "new"))
    body = (before / "model.safetensors").read_bytes()
    (before / "model.safetensors").write_bytes(body[:-4])
    with pytest.raises(DataError, match="ends inside tensor w"):
        average(before, after, tmp_path / "out", share=0.5)
