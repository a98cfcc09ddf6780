"""A file:// URI means one path, the same wherever it is read, whatever characters its names have."""

from pathlib import Path

import pytest
import yaml

from moaa.api.file_uri import file_path, file_uri
from moaa.api.reading.load import load, load_text
from moaa.api.resource import Storage
from moaa.data.origin.local import LocalOrigin
from moaa.data.origin.open import open_origin
from moaa.errors import ResourceError
from moaa.store.objects.open import open_store
from moaa.store.objects.s3 import S3Store
from moaa_jobs.training.shared.storage import file_system
from tests.plan_helpers import tree

NAMES = ["exp#1", "exp?1", "exp%41", "exp 1", "é#?%"]


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("file:///a/b#1", "/a/b#1"),
        ("file:///a/b?x=1", "/a/b?x=1"),
        ("file:///a/b%231", "/a/b#1"),
        ("file:///a/b%2541", "/a/b%41"),
        ("file:///a/b%41", "/a/bA"),
        ("file:///a/100%", "/a/100%"),
    ],
)
def test_everything_after_the_scheme_is_the_path(uri: str, path: str) -> None:
    assert file_path(uri) == Path(path)


@pytest.mark.parametrize("name", NAMES)
def test_a_path_survives_its_uri(name: str) -> None:
    assert file_path(file_uri(Path("/x", name, "y"))) == Path("/x", name, "y")


def test_another_scheme_is_no_file() -> None:
    with pytest.raises(ValueError, match="is no file:// URI"):
        file_path("s3://bucket/x")


@pytest.mark.parametrize("name", NAMES)
def test_a_relative_store_lies_beside_its_file(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "moaa.yaml").write_text(
        yaml.safe_dump(tree(spec__storage__uri="file://./store", spec__data__sft__0__source="file://./sft.jsonl"))
    )
    spec = load(folder / "moaa.yaml").spec
    assert open_store(spec.storage).uri == (folder / "store").as_uri()
    assert file_system(spec.storage)[1] == str(folder / "store")
    (folder / "sft.jsonl").write_text("{}\n")
    origin = open_origin(spec.data.sft[0].source, revision=None, token=None, s3=lambda _: pytest.fail("no bucket here"))
    assert isinstance(origin, LocalOrigin)


async def test_sources_are_read_from_the_folder_they_name(tmp_path: Path) -> None:
    (tmp_path / "a#1.jsonl").write_text("{}\n")
    uri = file_uri(tmp_path / "a#1.jsonl")
    listing = await open_origin(uri, revision=None, token=None, s3=lambda _: pytest.fail("no bucket here")).pin(list)
    assert len(listing.files) == 1


def test_a_bucket_s_prefix_is_not_cut_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    storage = Storage(uri="s3://bucket/exp#1/x?y")
    store = open_store(storage)
    assert isinstance(store, S3Store)
    assert store.uri == storage.uri
    assert file_system(storage)[1] == "bucket/exp#1/x?y"


@pytest.mark.parametrize("encoded", ["%00", "%0A", "%7f"])
def test_encoded_control_characters_are_refused(encoded: str) -> None:
    with pytest.raises(ResourceError, match=r"spec\.storage\.uri.*control character"):
        load_text(yaml.safe_dump(tree(spec__storage__uri=f"file:///x{encoded}y")))
