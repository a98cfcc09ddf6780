"""DeepSpeed's configuration, the workers' configuration, token tables and the manifest's figures."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pyarrow.fs as pafs
import pytest
from botocore.exceptions import ClientError
from pydantic import SecretStr

from moaa.api.models import Model
from moaa.api.resource import Storage
from moaa.api.training import Sft
from moaa.plan.result import Output
from moaa.plan.stage import Kind
from moaa.store.objects.s3_requests import S3Account, S3Limits, connect
from moaa.weights.find import ModelWeights
from moaa_jobs.training.driver.publish import figures
from moaa_jobs.training.rows import table as token_table
from moaa_jobs.training.rows.tokens import Encoded, EncodedPair
from moaa_jobs.training.shared.checkpoints import SavedState
from moaa_jobs.training.shared.messages import CurveRow, LoopConfig, LoopProgress, LoopResult, run_name
from moaa_jobs.training.shared.storage import file_system
from moaa_jobs.training.worker.deepspeed import scoring_config, training_config
from moaa_jobs.training.worker.memory import is_out_of_memory, out_of_memory
from tests.training_world import resource


def sft(**changes: Any) -> Sft:
    return Sft.model_validate({"precision": "FP32", **changes})


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
@pytest.mark.parametrize("on_gpu", [True, False])
def test_deepspeed_leaves_batch_fields_to_transformers(stage: int, on_gpu: bool) -> None:
    config = training_config(sft(zeroStage=stage), on_gpu=on_gpu)
    assert config["zero_optimization"]["stage"] == stage
    for name in ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps"):
        assert config[name] == "auto"
    assert config["zero_force_ds_cpu_optimizer"] is False
    assert config["zero_optimization"].get("overlap_comm", False) is (on_gpu and stage > 0)
    assert ("stage3_gather_16bit_weights_on_model_save" in config["zero_optimization"]) is (stage == 3)
    json.dumps(config)


def test_precision_is_one_of_two() -> None:
    assert training_config(sft(precision="BF16"), on_gpu=True)["bf16"] == {"enabled": True}
    assert training_config(sft(), on_gpu=False)["bf16"] == {"enabled": False}


@pytest.mark.parametrize(("stage", "scoring"), [(0, 0), (2, 0), (3, 3)])
def test_a_scoring_model_is_sharded_only_under_zero_3(stage: int, scoring: int) -> None:
    assert scoring_config(sft(zeroStage=stage))["zero_optimization"] == {"stage": scoring}


def loop_config(sft: dict[str, Any]) -> LoopConfig:
    return LoopConfig(
        resource=resource(Path("/store"), Path("/student"), sft=sft, dpo={}),
        kind=Kind.SFT,
        stage_path="stages/sft/a/b",
        run_name="b-1",
        attempt=1,
        student=ModelWeights(digest="0" * 64, model=Model(name="m", source="hf://owner/name"), commit="c"),
        tokens_key="stages/sft/a/b/checkpoints/b-1-tokens.arrow",
        tokens_digest="0" * 64,
    )


def test_workers_are_told_no_secret_and_no_path_of_the_driver(tmp_path: Path) -> None:
    config = loop_config({})
    assert LoopConfig.model_validate_json(config.model_dump_json()) == config
    assert config.spec is config.resource.spec.training.sft
    assert str(tmp_path) not in config.model_dump_json()


def test_token_tables_keep_rows_as_they_were(tmp_path: Path) -> None:
    rows = [Encoded("a", [5, 6, 7, 8], [(1, 2), (3, 4)]), Encoded("b", [9, 9], [(1, 2)])]
    table = token_table.sft_table(rows)
    file = tmp_path / "tokens.arrow"
    file.write_bytes(token_table.to_bytes(table))
    again = token_table.open_table(file)
    assert again.to_pylist() == table.to_pylist()
    assert token_table.row_lengths(again) == token_table.row_widths(again) == [4, 2]
    assert token_table.content_digest(again) == token_table.content_digest(table)
    assert token_table.content_digest(table) != token_table.content_digest(token_table.sft_table(rows[:1]))


def test_labels_are_the_trained_tokens_and_nothing_else() -> None:
    assert token_table.trained_labels([5, 6, 7, 8], [1, 2, 3, 4]) == [-100, 6, -100, 8]


def test_a_pair_counts_both_of_its_sequences() -> None:
    table = token_table.pair_table([EncodedPair("p", [1, 2, 3], [4, 5], [6])])
    assert token_table.row_lengths(table) == [9]
    assert token_table.row_widths(table) == [5]


@pytest.mark.parametrize(
    ("storage", "root"),
    [
        ({"uri": "file:///a/b"}, "/a/b"),
        ({"uri": "s3://bucket/a/b", "endpoint": "http://host:7070", "region": "us-east-1"}, "bucket/a/b"),
        ({"uri": "s3://bucket", "region": "us-east-1"}, "bucket"),
    ],
)
def test_ray_finds_the_store_where_moaa_does(storage: dict[str, str], root: str) -> None:
    filesystem, found = file_system(Storage.model_validate(storage))
    assert found == root
    assert filesystem.type_name == ("local" if storage["uri"].startswith("file") else "s3")


@pytest.mark.parametrize("given", ["resource", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_an_s3_server_is_found_however_it_is_given(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    storage = {"uri": "s3://bucket/a", "region": "eu-west-3"}
    if given == "resource":
        storage["endpoint"] = "http://host:7070"
    else:
        monkeypatch.setenv(given, "http://host:7070")
    filesystem, _ = file_system(Storage.model_validate(storage))
    assert filesystem == pafs.S3FileSystem(region="eu-west-3", endpoint_override="host:7070", scheme="http")


@pytest.fixture
def asked() -> Iterator[tuple[str, list[str]]]:
    """A server that holds nothing, and the paths it was asked for."""
    paths: list[str] = []

    class Empty(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            paths.append(self.path)
            self.send_response(404)
            self.end_headers()

        def do_GET(self) -> None:
            self.do_HEAD()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Empty) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", paths
        server.shutdown()
        thread.join()


def test_a_server_s_path_stands_before_every_bucket(
    asked: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, paths = asked
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    endpoint = f"{address}/storage/v1/s3/"
    filesystem, root = file_system(Storage(uri="s3://bucket/a", endpoint=endpoint, region="eu"))
    assert filesystem.get_file_info(f"{root}/b").type is pafs.FileType.NotFound
    key = SecretStr("x")
    client = connect(S3Account(endpoint=endpoint, access_key_id=key, secret_access_key=key), S3Limits())
    with pytest.raises(ClientError, match="404"):
        client.head_object(Bucket="bucket", Key="a/b")
    assert {paths[0], paths[-1]} == {"/storage/v1/s3/bucket/a/b"}


def test_a_folder_is_found_by_its_name_not_by_its_uri() -> None:
    assert file_system(Storage(uri="file:///a%20b/c"))[1] == "/a b/c"


def test_figures_average_the_end_of_the_curve() -> None:
    def row(step: int, loss: float) -> CurveRow:
        return CurveRow(
            step=step, epoch=1.0, loss=loss, learning_rate=0.1, grad_norm=1.0, tokens=step * 10,
            reward_accuracy=0.5, reward_margin=float(step),
        )  # fmt: skip

    curve = [row(1, 9.0), *(row(step, 2.0) for step in range(2, 12))]
    result = LoopResult(
        model=Output(digest="0" * 64), files=[], curve=curve, resumed_step=5, packed=True, seconds={"train": 3.5}
    )
    lost = row(1, float("nan"))
    assert not lost.is_sound
    assert figures(result.model_copy(update={"curve": [lost, *curve]})) == {**figures(result), "lost_steps": 1.0}
    looked = [row.model_copy(update={"eval_loss": 3.0 + abs(row.step - 6)}) for row in curve if row.step % 3 == 0]
    at_end = figures(result.model_copy(update={"curve": looked}))
    assert [at_end[name] for name in ("final_eval_loss", "best_eval_loss", "best_eval_step")] == [6.0, 3.0, 6.0]
    found = figures(result)
    assert "final_eval_loss" not in found, "nothing was held out"
    assert found["first_loss"] == 9.0
    assert found["final_loss"] == 2.0
    assert found["final_reward_margin"] == 6.5
    assert (found["resumed_step"], found["packing"], found["tokens"], found["seconds_train"]) == (5.0, 1.0, 110.0, 3.5)


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_what_is_not_finite_survives_a_round_trip(value: float) -> None:
    row = CurveRow(step=1, epoch=1.0, loss=2.0, learning_rate=0.1, grad_norm=value, tokens=9)
    saved = SavedState(done=3, curve=[row])
    again = SavedState.model_validate_json(saved.model_dump_json())
    assert repr(again) == repr(saved)
    progress = LoopProgress(phase="training", loss=value)
    assert repr(LoopProgress.model_validate_json(progress.model_dump_json())) == repr(progress)


def test_what_would_fit_is_named_the_cheapest_first() -> None:
    sft = {"zeroStage": 2, "microBatchSize": 2, "gradientCheckpointing": False, "precision": "FP32"}
    config = loop_config(sft)
    error = RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")
    assert is_out_of_memory(error)
    assert not is_out_of_memory(RuntimeError("connection closed by peer"))
    assert out_of_memory(error, config) == (
        "too little memory: CUDA out of memory. Tried to allocate 2.00 GiB. What takes less: gradientCheckpointing: "
        "true; microBatchSize below 2; zeroStage: 3; more workers than 2, or GPUs with more memory; "
        "maxLength below 64, which leaves out longer rows"
    )


def test_the_same_attempt_for_two_stores_has_two_names() -> None:
    """The fingerprint says nothing of the store, and each store counts its own attempts."""
    names = {run_name("abcd" * 16, 1, drawn) for drawn in ("0a0a0a", "0b0b0b")}
    assert len(names) == 2
    longest = f"/tmp/moaa-ray-{max(names)}/session_2026-12-31_23-59-59_999999_4194304/sockets/plasma_store"
    assert len(longest) < 107, "the kernel's limit for the path of a socket"
