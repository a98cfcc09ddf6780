"""The command line and the environment of one vLLM server. Pure: nothing here starts or reads anything.

On a CPU, what makes a start cheap was measured with vLLM 0.32 on two cores (a 2-layer Llama, time to the first
completion, CPU seconds of all its processes): as it comes 68; with compiled bytecode kept 27, since each of its three
processes imports the same 2,000 modules; with the engine and its worker in one process 17.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from moaa.api.models import Serving
from moaa.local.bytecode import keep_bytecode

KV_CACHE_MIN_BYTES = 128 * 1024**2
KV_CACHE_MAX_BYTES = 4 * 1024**3
KV_CACHE_SEQUENCES = 16
"""Full-length conversations the cache of a CPU server holds, within the bounds above."""
BYTES_PER_VALUE = {"float32": 4, "float16": 2, "bfloat16": 2}
SECRET_PREFIXES = ("MOAA_SECRET_", "AWS_", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
"""Kept from servers: they read a local folder and need none."""
QUIET = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
"""A server reads a local folder and tells nobody."""

CPU_ENVIRONMENT = {
    # Unset, every server pins itself to core 0 and leaves the other cores idle.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
    # Worker inside the engine's process: a third of the imports and 600 MB less. vLLM avoids it on CPUs because it
    # could not set OpenMP's threads then; the two lines above have set them.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
}


def kv_cache_bytes(config: Mapping[str, object], max_model_len: int) -> int:
    """Size of a CPU server's cache: KV_CACHE_SEQUENCES full conversations, within bounds.

    `config` is the model's config.json; the maximum is taken when it does not tell the sizes.
    """
    text = config.get("text_config")
    sizes: Mapping[str, object] = text if isinstance(text, dict) else config
    layers, heads = sizes.get("num_hidden_layers"), sizes.get("num_attention_heads")
    kv_heads, hidden = sizes.get("num_key_value_heads", heads), sizes.get("hidden_size")
    match layers, heads, kv_heads, hidden:
        case int(), int(), int(), int():
            head_dim = sizes.get("head_dim")
            per_head = head_dim if isinstance(head_dim, int) else hidden // heads
            token = 2 * layers * kv_heads * per_head * BYTES_PER_VALUE[cpu_dtype(config)]
            wanted = token * max_model_len * KV_CACHE_SEQUENCES
            return min(max(wanted, KV_CACHE_MIN_BYTES), KV_CACHE_MAX_BYTES)
        case _:
            return KV_CACHE_MAX_BYTES


def cpu_dtype(config: Mapping[str, object]) -> str:
    """The weights' own type: "auto" would round float32 students to bfloat16, which few CPUs compute faster."""
    named = config.get("dtype") or config.get("torch_dtype")
    return named if isinstance(named, str) and named in BYTES_PER_VALUE else "bfloat16"


def command(
    folder: Path, *, served_name: str, serving: Serving, port: int, config: Mapping[str, object], python: str = ""
) -> list[str]:
    """How to start a server on 127.0.0.1:`port` for the model in `folder`; `config` is its config.json.

    The module is started instead of `vllm serve`, which looks up a distribution called `vllm` and so fails with builds
    under another name. `serving.args` come last and win.
    """
    arguments = [python or sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder)]
    arguments += ["--served-model-name", served_name, "--max-model-len", str(serving.max_model_len)]
    arguments += ["--host", "127.0.0.1", "--port", str(port), "--max-num-seqs", str(serving.max_concurrency)]
    arguments += ["--disable-uvicorn-access-log"]
    if serving.gpus:
        arguments += ["--tensor-parallel-size", str(serving.gpus)]
    else:
        # Compiled mode needs a C++ compiler and Python's headers and takes minutes; eager is enough on a CPU.
        arguments += ["--enforce-eager", "--dtype", cpu_dtype(config)]
        arguments += ["--kv-cache-memory-bytes", str(kv_cache_bytes(config, serving.max_model_len))]
        # A prompt prefilled in pieces makes vLLM 0.32 rewind the sampler of a request with a seed, which CPU samplers
        # cannot do: "CPU Generator does not use offset" ends the engine. All our requests have seeds.
        arguments += ["--no-enable-chunked-prefill"]
    return [*arguments, *serving.args]


def environment(inherited: Mapping[str, str], *, serving: Serving, gpus: Sequence[str], cache: Path) -> dict[str, str]:
    """The server's whole environment; `gpus` are the devices it may see."""
    env = {name: value for name, value in inherited.items() if not name.startswith(SECRET_PREFIXES)}
    env = keep_bytecode(env, cache=cache) | QUIET
    env["VLLM_CACHE_ROOT"] = inherited.get("VLLM_CACHE_ROOT", str(cache / "vllm"))
    env["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
    if serving.gpus == 0:
        env |= {name: inherited.get(name, value) for name, value in CPU_ENVIRONMENT.items()}
    return env
