"""Weights arrive as the run pinned them, or not at all."""

import json
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from moaa.api.base import SecretKey
from moaa.api.models import Model, Serving
from moaa.api.resource import Storage
from moaa.contract.weights import BringWeights
from moaa.data.origin.base import Listing, PinnedFile
from moaa.errors import DataError, MoaaError, StoreError
from moaa.plan.result import stage_path
from moaa.plan.stage import Kind
from moaa.store.fencing import claim
from moaa.store.objects.directory import DirectoryStore
from moaa.store.stages.folders import folder_digest, publish_folder
from moaa.store.stages.manifest import StageManifest
from moaa.store.stages.shards import write_manifest
from moaa.weights.hub import commit_digest
from moaa_jobs import fetch
from moaa_jobs.runner.origins import Origins
from tests.fake_s3 import FakeS3, serve

LLAMA = {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 128, "dtype": "float32"}
FILES = {"config.json": json.dumps(LLAMA), "model.safetensors": "weights", "sub/extra.json": "{}"}
COMMITS = ["c" * 40, "b" * 40, "a" * 40]


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


def task(tmp_path: Path, storage: Storage, digest: str, source: str, **more: Any) -> BringWeights:
    model = Model(name="m", source=source, serving=Serving(gpus=more.pop("gpus", 0), max_model_len=1024))
    (tmp_path / "model").mkdir(exist_ok=True)
    return BringWeights.model_validate(
        {
            "storage": storage,
            "model": model,
            "digest": digest,
            "target": str(tmp_path / "model" / "weights"),
            "options": str(tmp_path / "model" / "vllm.yaml"),
            "deadline_s": 60,
            **more,
        }
    )


def local(tmp_path: Path) -> Storage:
    return Storage(uri=f"file://{tmp_path}/store")


def write(folder: Path) -> Path:
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def listing() -> Listing:
    return Listing(None, tuple(PinnedFile(n, len(t), f"etag:{n}") for n, t in sorted(FILES.items())))


async def a_student(store: DirectoryStore, folder: Path) -> tuple[str, str]:
    """Published as training publishes it; its digest and its folder in the store."""
    path = stage_path(Kind.SFT, "1" * 64, "2" * 64)
    token = await claim(store, path, "train")
    output, refs = await publish_folder(store, path, token, folder, "model")
    now = datetime.now(UTC)
    manifest = StageManifest(
        stage="i1-sft",
        kind=Kind.SFT,
        iteration=1,
        run="r",
        inputs="1" * 64,
        fingerprint="2" * 64,
        attempt=token.attempt,
        document={},
        outputs={"model": output},
        files={"model": refs},
        started=now,
        finished=now,
        seconds=1,
    )
    await write_manifest(store, path, manifest)
    assert output.uri is not None
    return output.digest, output.uri


async def test_a_student_arrives_checked_against_its_manifest(tmp_path: Path) -> None:
    storage = local(tmp_path)
    store = DirectoryStore(tmp_path / "store")
    store.prepare()
    digest, folder = await a_student(store, write(tmp_path / "trained"))
    wanted = task(tmp_path, storage, digest, "s3://bucket/base", folder=folder)
    await fetch.bring(wanted)
    assert (Path(wanted.target) / "model.safetensors").read_text() == "weights"
    (tmp_path / "store" / folder / "model.safetensors").write_text("tampered")
    with pytest.raises(MoaaError, match=r"model\.safetensors"):
        await fetch.bring(wanted)


async def test_a_bucket_arrives_whole_and_a_second_start_downloads_nothing(tmp_path: Path) -> None:
    server = FakeS3(objects={f"small/{n}": t.encode() for n, t in FILES.items()})
    async with serve(server) as url:
        storage = Storage(uri="s3://bucket/run", endpoint=url, region="us-east-1")
        origins = Origins(storage)
        pinned = await origins.open("s3://bucket/small", revision=None, secret=None, field="x").pin(list)
        await origins.close()
        wanted = task(tmp_path, storage, pinned.digest, "s3://bucket/small")
        await fetch.bring(wanted)
        assert {n: (Path(wanted.target) / n).read_text() for n in FILES} == FILES
        before = len([r for r in server.requests if "safetensors" in r])
        await fetch.bring(wanted)
        assert len([r for r in server.requests if "safetensors" in r]) == before


async def test_a_bucket_that_has_changed_is_refused(tmp_path: Path) -> None:
    async with serve(FakeS3(objects={f"small/{n}": t.encode() for n, t in FILES.items()})) as url:
        storage = Storage(uri="s3://bucket/run", endpoint=url, region="us-east-1")
        with pytest.raises(DataError, match=r"spec\.models m: s3://bucket/small is not what it was .* put the files"):
            await fetch.bring(task(tmp_path, storage, "0" * 64, "s3://bucket/small"))
    assert not (tmp_path / "model" / "weights").exists()


async def test_options_follow_from_the_models_configuration(tmp_path: Path) -> None:
    folder = write(tmp_path / "claim")
    for gpus, expected in ((0, {"dtype": "float32"}), (1, {})):
        wanted = task(tmp_path, local(tmp_path), "0" * 64, "pvc://c/f", claim=str(folder), gpus=gpus)
        assert await fetch.bring(wanted) == folder
        options = json.loads(Path(wanted.options).read_text())
        assert options.items() >= expected.items()
        assert ("kv-cache-memory-bytes" in options) is (gpus == 0)
        assert (Path(wanted.target) / "config.json").is_file()


async def test_a_claim_without_a_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "claim").mkdir()
    with pytest.raises(DataError, match=r"spec\.models m: .*config\.json: cannot be read as JSON .*No such file"):
        await fetch.bring(task(tmp_path, local(tmp_path), "0" * 64, "pvc://c/f", claim=str(tmp_path / "claim")))


async def test_weights_that_do_not_come_in_time_are_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def late(*_: object) -> Path:
        raise TimeoutError

    monkeypatch.setattr(fetch, "_folder", late)
    with pytest.raises(StoreError, match=r"did not arrive in 60 s; raise serving\.startupMinutes"):
        await fetch.bring(task(tmp_path, local(tmp_path), "0" * 64, "pvc://c/f"))


def hub(monkeypatch: pytest.MonkeyPatch, commits: list[str]) -> list[tuple[str, str]]:
    """A repository whose branch is at the first of COMMITS and has these; what is downloaded of it."""

    async def pin(*_: object) -> Listing:
        return Listing(COMMITS[0], listing().files)

    taken: list[tuple[str, str]] = []

    def snapshot(repository: str, *, revision: str, cache_dir: Path, **_: object) -> str:
        taken.append((repository, revision))
        return str(write(cache_dir / revision))

    known = [SimpleNamespace(commit_id=commit) for commit in commits]
    monkeypatch.setattr("moaa.data.origin.hub.HubOrigin.pin", pin)
    monkeypatch.setattr("huggingface_hub.HfApi.list_repo_commits", lambda *_, **__: known)
    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    return taken


@pytest.mark.parametrize("commit", COMMITS)
async def test_a_hub_model_is_taken_at_the_commit_of_its_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commit: str
) -> None:
    taken = hub(monkeypatch, COMMITS)
    wanted = task(tmp_path, local(tmp_path), commit_digest("hf://owner/m", commit), "hf://owner/m")
    await fetch.bring(wanted)
    assert taken == [("owner/m", commit)]
    assert (Path(wanted.target) / "model.safetensors").is_file()


async def test_a_commit_that_is_gone_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = hub(monkeypatch, [])
    with pytest.raises(DataError, match="is not what it was when the run resolved"):
        await fetch.bring(task(tmp_path, local(tmp_path), "0" * 64, "hf://owner/m"))
    assert not taken


async def test_a_token_that_is_declared_and_not_given_is_named(tmp_path: Path) -> None:
    model = Model(name="m", source="hf://owner/m", token_secret=SecretKey(name="hub", key="token"))
    wanted = task(tmp_path, local(tmp_path), "0" * 64, "hf://owner/m").with_(model=model)
    with pytest.raises(DataError, match=r"spec\.models m\.tokenSecret: MOAA_SECRET_HUB_TOKEN is not set"):
        await fetch.bring(wanted)


def test_the_command_says_on_its_last_line_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "claim").mkdir()
    wanted = task(tmp_path, local(tmp_path), "0" * 64, "pvc://c/f", claim=str(tmp_path / "claim"))
    monkeypatch.setenv("MOAA_FETCH", wanted.model_dump_json(by_alias=True, exclude_defaults=True))
    assert fetch.main() == 64
    last = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert last["permanent"] is True
    write(tmp_path / "claim")
    assert fetch.main() == 0


def test_an_s3_digest_is_that_of_names_tags_and_sizes() -> None:
    assert listing().digest == folder_digest({n: f"etag:{n} {len(t)}" for n, t in FILES.items()})
