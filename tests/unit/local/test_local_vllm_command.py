"""What vLLM is told, and what a server may see."""

import json
import sys
from pathlib import Path

import pytest

from moaa.api.models import Model, ModelKind, Serving
from moaa.contract import vllm as serving
from moaa.local.processes.bytecode import keep_bytecode
from moaa.local.serving import vllm
from moaa.weights.served import served_name

LLAMA = {
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "hidden_size": 128,
    "dtype": "float32",
}


def command(how: Serving) -> list[str]:
    return vllm.command(Path("/models/m"), served_name="m", serving=how, port=8123, config=LLAMA)


def test_cpu_server_runs_eagerly_with_the_weights_own_type() -> None:
    assert command(Serving(gpus=0, max_model_len=1024, max_concurrency=8)) == [
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", "/models/m"),
        *("--host", "127.0.0.1", "--port", "8123"),
        *("--dtype", "float32", "--kv-cache-memory-bytes", str(serving.KV_CACHE_MIN_BYTES)),
        *("--served-model-name", "m", "--max-model-len", "1024"),
        *("--max-num-seqs", "8", "--disable-uvicorn-access-log", "--generation-config", "vllm"),
        *("--enforce-eager", "--no-enable-chunked-prefill"),
    ]


def test_gpu_server_is_split_over_its_gpus_and_left_to_itself_otherwise() -> None:
    arguments = command(Serving(gpus=4))
    assert arguments[arguments.index("--tensor-parallel-size") + 1] == "4"
    assert not {"--enforce-eager", "--dtype", "--kv-cache-memory-bytes"} & set(arguments)


def test_a_server_over_machines_is_a_pipeline_of_them() -> None:
    told = serving.arguments(Serving(gpus=16, nodes=2), served_name="m")
    assert told[told.index("--pipeline-parallel-size") + 1] == "2"
    assert told[told.index("--tensor-parallel-size") + 1] == "8"
    assert "--pipeline-parallel-size" not in command(Serving(gpus=16))


@pytest.mark.parametrize("gpus", [0, 2])
def test_sampling_that_the_models_file_has_is_left_out_unless_asked_for(gpus: int) -> None:
    told = command(Serving(gpus=gpus, args=["--generation-config", "auto"]))
    assert [told[i + 1] for i, text in enumerate(told) if text == "--generation-config"] == ["vllm", "auto"]


def test_a_given_chat_template_and_its_arguments_are_told() -> None:
    model = Model(
        name="m",
        source="file:///m",
        chat_template="{{ 'a\nb' }}",
        chat_template_args={"enable_thinking": False, "n": 2},
    )
    told = vllm.command(
        Path("/m"), served_name="m", serving=Serving(), port=1, config={}, chat=serving.chat_arguments(model)
    )
    assert told[told.index("--chat-template") + 1] == "{{ 'a\nb' }}"
    assert told[told.index("--chat-template-content-format") + 1] == "string"
    assert json.loads(told[told.index("--default-chat-template-kwargs") + 1]) == {"enable_thinking": False, "n": 2}
    assert serving.chat_arguments(Model(name="m", source="file:///m")) == []


def test_a_reward_model_is_served_for_pooling() -> None:
    reward = Model(name="m", source="file:///m", kind=ModelKind.REWARD)
    told = vllm.command(
        Path("/m"), served_name="m", serving=Serving(), port=1, config={}, chat=serving.chat_arguments(reward)
    )
    assert told[told.index("--runner") + 1] == "pooling"
    path, body, held = serving.first_request(ModelKind.REWARD, "m")
    assert (path, held) == ("/pooling", "data")
    assert "max_tokens" not in body


def test_own_arguments_come_last_and_so_win() -> None:
    assert command(Serving(gpus=0, args=["--dtype", "bfloat16"]))[-2:] == ["--dtype", "bfloat16"]


def test_cache_holds_the_wanted_conversations_within_bounds() -> None:
    # 2 (key, value) × 2 layers × 2 heads × 32 values × 4 bytes = 1 KiB a token
    assert serving.kv_cache_bytes(LLAMA, 8192) == 1024 * 8192 * serving.KV_CACHE_SEQUENCES
    assert serving.kv_cache_bytes(LLAMA, 128) == serving.KV_CACHE_MIN_BYTES
    assert serving.kv_cache_bytes(LLAMA, 10**7) == serving.KV_CACHE_MAX_BYTES
    assert (
        serving.kv_cache_bytes({"text_config": LLAMA, "dtype": "float32"}, 8192)
        == 1024 * 8192 * serving.KV_CACHE_SEQUENCES
    )
    assert serving.kv_cache_bytes({}, 8192) == serving.KV_CACHE_MAX_BYTES


def test_server_sees_no_secret_and_only_its_gpus(tmp_path: Path) -> None:
    inherited = {"PATH": "/bin", "MOAA_SECRET_HUB_TOKEN": "s", "AWS_SECRET_ACCESS_KEY": "s", "HF_TOKEN": "s"}
    env = vllm.environment(inherited, serving=Serving(gpus=2), gpus=["2", "3"], cache=tmp_path)
    assert "s" not in env.values()
    assert env["CUDA_VISIBLE_DEVICES"] == "2,3"
    assert env["PATH"] == "/bin"
    assert env["HF_HUB_OFFLINE"] == env["VLLM_NO_USAGE_STATS"] == "1"
    assert env["VLLM_USE_FLASHINFER_SAMPLER"] == "0", "it is compiled at start, which needs CUDA's toolkit"


def test_cpu_settings_yield_to_those_of_the_user(tmp_path: Path) -> None:
    env = vllm.environment({"OMP_NUM_THREADS": "8"}, serving=Serving(gpus=0), gpus=[], cache=tmp_path)
    assert env["OMP_NUM_THREADS"] == "8"
    assert env["VLLM_CPU_OMP_THREADS_BIND"] == "nobind"


@pytest.mark.parametrize(
    ("inherited", "kept"),
    [({"PYTHONDONTWRITEBYTECODE": "1"}, True), ({}, False)],
    ids=["where-sources-stay-clean", "beside-sources"],
)
def test_bytecode_is_always_kept_somewhere(tmp_path: Path, inherited: dict[str, str], kept: bool) -> None:
    env = keep_bytecode(inherited, cache=tmp_path)
    assert "PYTHONDONTWRITEBYTECODE" not in env
    assert env.get("PYTHONPYCACHEPREFIX") == (str(tmp_path / "bytecode") if kept else None)


def test_served_names_are_fit_for_files_and_requests() -> None:
    assert [served_name(name) for name in ("qwen2-72b", "@i1-sft")] == ["qwen2-72b", "student-i1-sft"]
