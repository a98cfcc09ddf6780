"""Weights are found by one function and brought by one, and are what the run pinned or do not come."""

from pathlib import Path
from typing import Any

import pytest

from moaa.api import MoAA
from moaa.api.models import Endpoint, Model
from moaa.api.resource import Storage
from moaa.data.origin.buckets import Buckets
from moaa.data.origin.s3 import S3Origin
from moaa.errors import DataError, ServerError, StageError
from moaa.local.serving.catalogue import Catalogue
from moaa.plan.result import StageResult
from moaa.store.objects.directory import DirectoryStore
from moaa.weights.bring import Places, bring
from moaa.weights.find import ModelWeights, find
from moaa.weights.served import server_of
from tests.fake_s3 import FakeS3, serve
from tests.plan_helpers import resource, run_all, tree

FILES = {"config.json": "{}", "model.safetensors": "weights"}


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


def with_endpoint() -> MoAA:
    models: list[dict[str, Any]] = tree()["spec"]["models"]
    models[0] = {"name": "a", "endpoint": {"url": "https://models.example/v1", "model": "big", "maxModelLen": 4096}}
    return resource(spec__models=models)


def trained(owner: MoAA) -> dict[str, StageResult]:
    """Results of a whole run whose students lie in the store; i1-promote chose i1-dpo's."""
    results, _ = run_all(owner)
    for name in ("i1-sft", "i1-dpo"):
        made = results[name].outputs["model"].with_(uri=f"{results[name].path}/out/1/model")
        results[name] = results[name].with_(outputs={"model": made})
    return {**results, "i1-promote": results["i1-promote"].with_(outputs=results["i1-dpo"].outputs)}


def places(folder: Path, storage: Storage | None = None) -> Places:
    store = DirectoryStore(folder / "store")
    store.prepare()
    storage = storage or Storage(uri=f"file://{folder}/store")
    return Places(store=store, storage=storage, cache=folder / "weights", hub=folder / "hub")


def wanted(source: str, digest: str = "0" * 64) -> ModelWeights:
    return ModelWeights(digest=digest, model=Model(name="m", source=source))


def test_executors_find_the_same_weights_behind_every_name() -> None:
    owner = with_endpoint()
    results = trained(owner)
    for name in ("a", "b", "base", "@i1-sft", "@i1-dpo", "@i1-promote"):
        found, served = find(name, owner, results), server_of(name, owner, results)
        if isinstance(found, Endpoint):
            assert (name, served) == ("a", None)
        else:
            assert served is not None
            assert (served.digest, served.source, served.folder) == (found.digest, found.source, found.folder)


def test_a_commit_is_a_declared_models_and_no_students() -> None:
    owner = resource()
    results = trained(owner)
    commits = {"base": "c" * 40}
    declared, student = (find(name, owner, results, commits=commits) for name in ("base", "@i1-sft"))
    assert isinstance(declared, ModelWeights)
    assert isinstance(student, ModelWeights)
    assert (declared.commit, declared.is_on_hub) == ("c" * 40, True)
    assert (student.commit, student.is_on_hub, student.model.name) == (None, False, "base")
    with pytest.raises(StageError):
        find("@i9-sft", owner, results)


async def test_a_folder_that_has_changed_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    with pytest.raises(DataError, match=r"has no config\.json"):
        await bring(wanted(f"file://{tmp_path}/m"), places(tmp_path))
    (tmp_path / "m" / "config.json").write_text("{}")
    with pytest.raises(DataError, match=r"spec\.models m: .* is not what it was when the run resolved its models"):
        await bring(wanted(f"file://{tmp_path}/m"), places(tmp_path))


async def test_a_bucket_comes_as_far_as_it_is_wanted_and_as_it_was_pinned(tmp_path: Path) -> None:
    server = FakeS3(objects={f"m/{name}": text.encode() for name, text in FILES.items()})
    async with serve(server) as url:
        storage = Storage(uri="s3://bucket/run", endpoint=url, region="us-east-1")
        buckets = Buckets(storage)
        pinned = wanted("s3://bucket/m/", (await S3Origin("s3://bucket/m/", buckets.connect).pin(list)).digest)
        await buckets.close()
        some = await bring(pinned, places(tmp_path, storage), select=lambda name: name == "config.json")
        assert [file.name for file in some.iterdir()] == ["config.json"]
        whole = await bring(pinned, places(tmp_path, storage))
        assert {file.name: file.read_text() for file in whole.iterdir()} == FILES
        server.objects["m/model.safetensors"] = b"other weights"
        with pytest.raises(DataError, match="is not what it was"):
            await bring(pinned, places(tmp_path / "elsewhere", storage))


async def test_a_claim_cannot_be_brought(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"spec\.models m: pvc://claim/m exists only where Kubernetes mounts it"):
        await bring(wanted("pvc://claim/m"), places(tmp_path))


async def test_weights_that_do_not_come_are_a_servers_failure_and_do_not_end_a_local_run(tmp_path: Path) -> None:
    owner = resource(spec__storage={"uri": f"file://{tmp_path}/store"})
    results = trained(owner)
    catalogue = Catalogue(owner, store=places(tmp_path).store, cache=tmp_path / "cache", environment={})
    with pytest.raises(ServerError, match="no stage's manifest names this folder"):
        await catalogue.servers(["@i1-sft"], results)
