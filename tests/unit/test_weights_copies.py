"""A model of the Hub comes into the store once, whole or not at all, and from there to everybody."""

import asyncio
import hashlib
import logging
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import moaa.weights.copies as subject
from moaa.api.models import Model
from moaa.api.resource import Storage
from moaa.asking.windows import CharacterCounter
from moaa.data.origin.base import Listing, PinnedFile
from moaa.errors import DataError, StoreError
from moaa.store.objects.directory import DirectoryStore
from moaa.weights.bring import Places, bring
from moaa.weights.copies import CopyOrigin, Wanted, make, read, take
from moaa.weights.find import ModelWeights
from moaa.weights.hub import commit_digest
from moaa_jobs.runner.models import windows_of
from tests.model_folder import write_model
from tests.unit.data_bench import Bench

COMMIT, SOURCE = "c" * 40, "hf://owner/m"
DIGEST = commit_digest(SOURCE, COMMIT)
ROOT = f"stages/weights/{DIGEST[:32]}"
BROUGHT = {
    "config.json": b"{}",
    "model-1.safetensors": b"first half",
    "model-2.safetensors": b"other half",
    "sub/tokenizer.json": b"{ }",
}
FILES = {**BROUGHT, "pytorch_model.bin": b"the same again", "README.md": b"# m"}


def pinned(name: str, body: bytes) -> PinnedFile:
    if name.endswith((".safetensors", ".bin")):
        return PinnedFile(name, len(body), f"sha256:{hashlib.sha256(body).hexdigest()}")
    git = hashlib.sha1(b"blob %d\0%b" % (len(body), body)).hexdigest()
    return PinnedFile(name, len(body), f"git:{git}")


LISTING = Listing(COMMIT, tuple(pinned(name, body) for name, body in sorted(FILES.items())))


class Hub:
    """An origin that counts what it gives."""

    def __init__(self, files: dict[str, bytes] = FILES, *, ends_before: str = "") -> None:
        self.files = files
        self.ends_before = ends_before
        self.given: Counter[str] = Counter()

    async def pin(self, _select: object) -> Listing:
        return LISTING

    async def fetch(self, file: PinnedFile, revision: str | None, folder: Path) -> Path:
        assert revision == COMMIT
        if file.name == self.ends_before:
            raise StoreError("the line is cut")
        await asyncio.sleep(0)
        self.given[file.name] += 1
        (folder / file.name).parent.mkdir(parents=True, exist_ok=True)
        (folder / file.name).write_bytes(self.files[file.name])
        return folder / file.name


class Remote(DirectoryStore):
    """A store whose objects have to be downloaded, and that says which were."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.downloads: list[str] = []
        self.ends_before = ""

    def local_path(self, key: str) -> None:
        """Not on this machine."""

    async def download(self, key: str, file: Path) -> None:
        name = key.removeprefix(f"{ROOT}/out/")
        if name == self.ends_before:
            raise StoreError("the line is cut")
        self.downloads.append(name)
        await super().download(key, file)


def remote(folder: Path) -> Remote:
    return Remote(folder / "store")


def wanted(hub: Hub) -> Wanted:
    return Wanted(SOURCE, DIGEST, hub, LISTING)


def quiet(_arrived: int, _total: int) -> None:
    """Nobody looks."""


async def copied(folder: Path, store: DirectoryStore) -> subject.Copy:
    return await make(wanted(Hub()), store, folder / "scratch", quiet)


def contents(folder: Path) -> dict[str, bytes]:
    files = (file for file in folder.rglob("*") if file.is_file() and not file.name.startswith(".moaa"))
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


async def test_a_model_is_copied_once_without_what_nobody_loads(tmp_path: Path) -> None:
    store, hub, told = remote(tmp_path), Hub(), list[tuple[int, int]]()
    copy = await make(wanted(hub), store, tmp_path / "scratch", lambda *arrived: told.append(arrived))
    assert hub.given == dict.fromkeys(BROUGHT, 1)
    assert contents(tmp_path / "store" / ROOT / "out") == BROUGHT
    assert contents(tmp_path / "scratch") == {}, "what is in the store has no room here"
    size = sum(map(len, BROUGHT.values()))
    assert (told[0], told[-1], copy.size_bytes) == ((0, size), (size, size), size)
    assert await make(wanted(hub), store, tmp_path / "scratch", quiet) == copy == await read(store, DIGEST)
    assert hub.given == dict.fromkeys(BROUGHT, 1)


@pytest.mark.parametrize("name", list(BROUGHT))
async def test_an_attempt_that_ends_anywhere_is_gone_on_with_file_by_file(tmp_path: Path, name: str) -> None:
    store, first, second = remote(tmp_path), Hub(ends_before=name), Hub()
    with pytest.raises(StoreError, match="the line is cut"):
        await make(wanted(first), store, tmp_path / "scratch", quiet)
    assert await read(store, DIGEST) is None
    there = set(contents(tmp_path / "store" / ROOT / "out"))
    await make(wanted(second), store, tmp_path / "elsewhere", quiet)
    assert set(second.given) == BROUGHT.keys() - there
    assert contents(tmp_path / "store" / ROOT / "out") == BROUGHT


async def test_two_attempts_at_once_leave_one_copy(tmp_path: Path) -> None:
    store = remote(tmp_path)
    made = await asyncio.gather(*(make(wanted(Hub()), store, tmp_path / name, quiet) for name in ("a", "b")))
    assert made[0] == made[1] == await read(store, DIGEST)


async def test_a_file_that_was_removed_from_the_copy_comes_again(tmp_path: Path) -> None:
    store, hub = remote(tmp_path), Hub()
    copy = await copied(tmp_path, store)
    await store.delete(f"{ROOT}/out/model-1.safetensors")
    assert await make(wanted(hub), store, tmp_path / "scratch", quiet) == copy
    assert hub.given == {"model-1.safetensors": 1}


@pytest.mark.parametrize("name", ["config.json", "model-2.safetensors"])
async def test_a_file_that_came_otherwise_than_it_was_pinned_does_not_get_in(tmp_path: Path, name: str) -> None:
    store = remote(tmp_path)
    hub = Hub({**FILES, name: FILES[name].swapcase() + b"?"})
    with pytest.raises(DataError, match=rf"hf://owner/m: {name} has (git|sha256):.* and was pinned as (git|sha256):"):
        await make(wanted(hub), store, tmp_path / "scratch", quiet)
    assert name not in contents(tmp_path / "store")
    assert contents(tmp_path / "scratch").keys() <= BROUGHT.keys() - {name}


async def test_a_disk_without_room_is_told_before_anything_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = Hub()
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=19))
    with pytest.raises(
        StoreError, match=r"hf://owner/m: 2 of its files lie on this disk at a time .* free; give it mo"
    ):
        await make(wanted(hub), remote(tmp_path), tmp_path / "scratch", quiet)
    assert not hub.given
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=20))
    await make(wanted(hub), remote(tmp_path), tmp_path / "scratch", quiet)


def places(folder: Path, store: DirectoryStore, **storage: Any) -> Places:
    told = Storage.model_validate({"uri": "s3://bucket/run", **storage})
    return Places(store=store, storage=told, cache=folder / "cache", hub=folder / "hub")


WEIGHTS = ModelWeights(digest=DIGEST, model=Model(name="m", source=SOURCE), commit=COMMIT)


async def test_servers_and_trainings_take_the_copy_and_ask_no_hub(tmp_path: Path) -> None:
    store = remote(tmp_path)
    await copied(tmp_path, store)
    for _ in range(2):
        assert contents(await bring(WEIGHTS, places(tmp_path, store))) == BROUGHT
    assert sorted(store.downloads) == sorted(BROUGHT), "a server that starts again has them"
    some = await bring(WEIGHTS, places(tmp_path, store), select=lambda name: not name.endswith(".safetensors"))
    assert contents(some).keys() == {"config.json", "sub/tokenizer.json"}


async def test_a_copy_in_a_folder_is_served_where_it_lies(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    await copied(tmp_path, store)
    told = {"uri": f"file://{tmp_path}/store", "weights": "Store"}
    assert await bring(WEIGHTS, places(tmp_path, store, **told)) == tmp_path / "store" / ROOT / "out"


async def test_a_server_that_was_ended_goes_on_where_it_was(tmp_path: Path) -> None:
    store, target = remote(tmp_path), tmp_path / "model"
    copy = await copied(tmp_path, store)
    target.mkdir()
    (target / "model-2.safetensors").write_bytes(BROUGHT["model-2.safetensors"])
    (target / "config.json").write_bytes(b"[]")  # as long, but not it
    (target / ".model-1.safetensors.0badc0de.partial").write_bytes(b"half of")
    store.ends_before = "sub/tokenizer.json"
    with pytest.raises(StoreError, match="the line is cut"):
        await take(store, copy, target)
    assert not (target / ".model-1.safetensors.0badc0de.partial").exists(), "nobody will go on with it"
    store.ends_before = ""
    assert contents(await take(store, copy, target)) == BROUGHT
    assert "model-2.safetensors" not in store.downloads


async def test_two_processes_that_want_one_folder_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moaa.store.stages.partial._LOOK_S", 0)
    store = remote(tmp_path)
    copy = await copied(tmp_path, store)
    await asyncio.gather(*(take(store, copy, tmp_path / "model") for _ in range(2)))
    assert sorted(store.downloads) == sorted(BROUGHT)


async def test_a_damaged_copy_is_never_loaded(tmp_path: Path) -> None:
    store = remote(tmp_path)
    copy = await copied(tmp_path, store)
    await store.put(f"{ROOT}/out/model-1.safetensors", b"FIRST HALF")
    with pytest.raises(StoreError, match=r"model-1\.safetensors"):
        await take(store, copy, tmp_path / "model")
    await store.put(f"{ROOT}/manifest.json", b"{")
    with pytest.raises(StoreError, match=r"manifest\.json: is damaged, or of another version .* remove it"):
        await bring(WEIGHTS, places(tmp_path, store))


@pytest.mark.parametrize(
    ("storage", "warns"),
    [({}, True), ({"weights": "Hub"}, False), ({"uri": "file:///x"}, False), ({"weights": "Store"}, True)],
    ids=["bucket", "hub", "folder", "store"],
)
async def test_without_a_copy_the_hub_is_read_and_said_where_a_copy_was_due(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    storage: dict[str, str],
    warns: bool,
) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(tmp_path / "snapshot"))
    with caplog.at_level(logging.WARNING):
        assert await bring(WEIGHTS, places(tmp_path, remote(tmp_path), **storage)) == tmp_path / "snapshot"
    assert ("weights_not_in_store model=m source=hf://owner/m" in caplog.text) is warns


async def test_what_looks_at_a_model_reads_the_copy(tmp_path: Path) -> None:
    store = remote(tmp_path)
    origin = CopyOrigin(store, await copied(tmp_path, store), LISTING)
    (tmp_path / "look").mkdir()
    files = {file.name: file for file in LISTING.files}
    assert (await origin.fetch(files["sub/tokenizer.json"], COMMIT, tmp_path / "look")).read_bytes() == b"{ }"
    assert await origin.start(files["model-1.safetensors"], 5) == b"first"
    assert await origin.start(files["model-1.safetensors"], 500) == b"first half"
    with pytest.raises(StoreError, match=r"the copy of the model lacks README\.md"):
        await origin.fetch(files["README.md"], COMMIT, tmp_path / "look")


async def test_a_job_cuts_prompts_by_the_tokenizer_of_the_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = (write_model(tmp_path / "m") / "tokenizer.json").read_bytes()
    bench = Bench(
        tmp_path,
        models=[{"name": "m", "source": SOURCE}, *({"name": n, "source": "pvc://c/f"} for n in ("volume", "judge"))],
        student="m",
        storage={"uri": f"file://{tmp_path}/store", "weights": "Store"},
    )
    files = {"tokenizer.json": tokenizer}
    listing = Listing(COMMIT, (pinned("tokenizer.json", tokenizer),))
    context = bench.context("i0-resolve")
    asked = replace(context, job=context.job.with_(models={"m": DIGEST}))
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_, **__: str(tmp_path / "nowhere"))
    await make(Wanted(SOURCE, DIGEST, Hub(files), listing), bench.store, tmp_path / "scratch", quiet)
    settings = context.settings.model_copy(update={"work_dir": tmp_path / "work"})
    counter = (await windows_of(replace(asked, settings=settings)))["m"].counter
    assert not isinstance(counter, CharacterCounter)
