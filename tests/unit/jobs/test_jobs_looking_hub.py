"""A student on the Hub: its headers are asked for, not its weights."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from moaa.api.models import Model
from moaa.api.training import Training
from moaa.data.origin.base import Listing, PinnedFile
from moaa.errors import DataError, StoreError
from moaa_jobs.stages.looking import look
from tests.model_folder import TENSORS, write_model

COMMIT = "c" * 40


class Hub:
    """An origin whose files lie in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fetched: list[str] = []

    async def pin(self, _select: object) -> Listing:
        files = [PinnedFile(file.name, file.stat().st_size, "git:x") for file in sorted(self.folder.iterdir())]
        return Listing(COMMIT, tuple(files))

    async def fetch(self, file: PinnedFile, revision: str | None, folder: Path) -> Path:
        assert revision == COMMIT
        self.fetched.append(file.name)
        (folder / file.name).write_bytes((self.folder / file.name).read_bytes())
        return folder / file.name


def headers(monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
    def get(_api: object, repo: str, *, revision: str | None) -> Any:
        assert (repo, revision) == ("o/m", COMMIT)
        if isinstance(answer, Exception):
            raise answer
        tensors = {name: SimpleNamespace(dtype=answer.get(name, "BF16"), shape=[1]) for name in answer}
        return SimpleNamespace(files_metadata={"model.safetensors": SimpleNamespace(tensors=tensors)})

    monkeypatch.setattr("huggingface_hub.HfApi.get_safetensors_metadata", get)


async def looked(tmp_path: Path) -> Hub:
    hub = Hub(write_model(tmp_path / "m"))
    model = Model(name="m", source="hf://o/m")
    await look(model, hub, await hub.pin(list), tmp_path / "cache", is_student=True, training=Training())
    return hub


async def test_weights_are_not_fetched_to_be_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    headers(monkeypatch, dict.fromkeys(TENSORS, "BF16"))
    hub = await looked(tmp_path)
    assert "tokenizer.json" in hub.fetched
    assert not [name for name in hub.fetched if name.endswith(".safetensors")]


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (dict.fromkeys(TENSORS[:-1], "BF16"), r"lm_head\.weight is not among its weights"),
        (dict.fromkeys(TENSORS, "F8_E4M3"), "is stored as F8_E4M3, quantised"),
    ],
    ids=["missing", "quantised"],
)
async def test_headers_on_the_hub_are_judged_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: dict[str, str], words: str
) -> None:
    headers(monkeypatch, found)
    with pytest.raises(DataError, match=words):
        await looked(tmp_path)


async def test_a_hub_that_does_not_answer_is_worth_another_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers(monkeypatch, OSError("reset"))
    with pytest.raises(StoreError, match="did not give the headers of its weights: reset"):
        await looked(tmp_path)
