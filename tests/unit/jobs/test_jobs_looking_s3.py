"""A student in a bucket: of its weights only the headers are read, and all is judged as in a folder."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from moaa.api.models import Model
from moaa.api.training import Training
from moaa.data.origin.s3 import S3Origin
from moaa.errors import DataError
from moaa.store.objects.s3_requests import Requests, S3Account, S3Limits, connect
from moaa_jobs.stages.looking import look
from moaa_jobs.training.rows import student
from tests.fake_s3 import FakeS3, serve
from tests.model_folder import TENSORS, write_model, write_tensors

HALVES = {"model-1.safetensors": TENSORS[:9], "model-2.safetensors": TENSORS[9:]}
BIG = 64 * 1024
"""Bytes of a tensor: the headers are a small part of a file."""


@dataclass
class World:
    fake: FakeS3
    url: str
    folder: Path
    read: dict[str, int] = field(default_factory=dict)
    """Bytes that were asked for, by file."""

    async def looked(self, *, is_student: bool = True) -> None:
        self.fake.objects = {f"m/{file.name}": file.read_bytes() for file in self.folder.iterdir()}
        key = SecretStr("x")
        client = connect(S3Account(self.url, "r", key, key), S3Limits())
        client.meta.events.register("before-call.s3.GetObject", self._count)
        requests = Requests(client, "bucket", S3Limits(tries=2, first_delay_s=0.0))
        origin = S3Origin("s3://bucket/m", lambda _: requests)
        model = Model(name="m", source="s3://bucket/m")
        cache = self.folder.parent / "cache"
        await look(model, origin, await origin.pin(list), cache, is_student=is_student, training=Training())

    def _count(self, *, params: dict[str, Any], **_: object) -> None:
        name = str(params["url_path"]).rpartition("/")[2]
        _, _, last = params["headers"].get("Range", "").partition("-")
        self.read[name] = int(last) + 1 if last else len(self.fake.objects[f"m/{name}"])


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    fake = FakeS3()
    async with serve(fake) as url:
        yield World(fake, url, write_model(tmp_path / "m", size=BIG))


async def test_weights_are_not_fetched_to_be_looked_at(world: World) -> None:
    await world.looked()
    whole = len(world.fake.objects["m/model.safetensors"])
    assert world.read["model.safetensors"] < whole / 4
    assert world.read["tokenizer.json"] == len(world.fake.objects["m/tokenizer.json"])


async def test_a_long_header_is_read_to_its_end(world: World) -> None:
    many = [*TENSORS, *(f"model.layers.0.self_attn.{'x' * 400}{i}.bias" for i in range(1000))]
    write_tensors(world.folder / "model.safetensors", tensors=many)
    await world.looked()
    assert world.read["model.safetensors"] > 400_000


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({"tensors": TENSORS[:-1]}, r"lm_head\.weight is not among its weights"),
        ({"dtype": "F8_E4M3"}, "is stored as F8_E4M3, quantised"),
    ],
    ids=["missing", "quantised"],
)
async def test_headers_in_a_bucket_are_judged_alike(world: World, weights: dict[str, object], words: str) -> None:
    write_tensors(world.folder / "model.safetensors", **weights)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=words):
        await world.looked()


async def test_a_file_that_is_cut_short_is_named(world: World) -> None:
    file = world.folder / "model.safetensors"
    for body in (file.read_bytes()[:-1], b"not", b"", b"{" * 100):
        file.write_bytes(body)
        with pytest.raises(DataError, match=r"s3://bucket/m/model\.safetensors: .*copy it again"):
            await world.looked()


async def test_every_file_of_an_index_is_looked_at(world: World) -> None:
    (world.folder / "model.safetensors").unlink()
    for name, tensors in HALVES.items():
        write_tensors(world.folder / name, tensors=tensors, size=BIG)
    listed = {tensor: name for name, tensors in HALVES.items() for tensor in tensors}
    index = world.folder / student.INDEX
    index.write_text(json.dumps({"weight_map": listed}))
    await world.looked()
    assert set(HALVES) <= set(world.read)
    write_tensors(world.folder / "model-2.safetensors", tensors=HALVES["model-2.safetensors"][:-1], size=BIG)
    with pytest.raises(DataError, match=r"lists lm_head\.weight, which no file holds"):
        await world.looked()


async def test_the_template_of_a_student_in_a_bucket_is_looked_at(world: World) -> None:
    write_model(world.folder, template="{{ messages[0].content }}")
    with pytest.raises(DataError, match=r"spec\.models m: its chat template"):
        await world.looked()


async def test_a_served_model_s_tokenizer_and_template_are_looked_at(world: World) -> None:
    await world.looked(is_student=False)
    assert "model.safetensors" not in world.read
    write_model(world.folder, template="{{ raise_exception('no chat') }}")
    with pytest.raises(DataError, match="its chat template does not render a question"):
        await world.looked(is_student=False)
