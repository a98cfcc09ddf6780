"""How both executors start vLLM.

What bears on answers is the same on a laptop and on a cluster, since both take it from here. Ports, probes and
processes are each executor's own.
"""

import json
from collections.abc import Mapping, Sequence
from typing import assert_never

from moaa.api.models import Model, ModelKind, Serving

MODULE = "vllm.entrypoints.openai.api_server"
"""Started instead of `vllm serve`, which looks up a distribution called `vllm` and so fails with builds under another
name."""
CLI = "vllm.entrypoints.cli.main"
"""`vllm` itself. Machines of a server that do not answer requests run its `serve --headless`, which MODULE does not
know."""
KV_CACHE_MIN_BYTES = 128 * 1024**2
KV_CACHE_MAX_BYTES = 4 * 1024**3
KV_CACHE_SEQUENCES = 16
"""Full-length conversations the cache of a CPU server holds, within the bounds above."""
BYTES_PER_VALUE = {"float32": 4, "float16": 2, "bfloat16": 2}

ENVIRONMENT = {
    # A server reads a local folder and sends no usage reports.
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    # On GPUs it would be compiled at start, with CUDA's toolkit, which machines need not have; and requests that carry
    # a seed, as all of ours do, are sampled without it.
    "VLLM_USE_FLASHINFER_SAMPLER": "0",
}
"""Of every server."""

CPU_ENVIRONMENT = {
    # Unset, every server pins itself to core 0 and leaves the other cores idle.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
    # Worker inside the engine's process: a third of the imports and 600 MB less. vLLM avoids it on CPUs because it
    # could not set OpenMP's threads then; the two lines above have set them.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
}


def chat_arguments(model: Model) -> list[str]:
    """Arguments that make a server answer as the model's kind does, with the chat template from the resource and the
    template's arguments."""
    told = kind_arguments(model.kind)
    if model.chat_template is not None:
        # As texts, which is what training renders; by default vLLM guesses from the template whether to pass parts.
        told += ["--chat-template", model.chat_template, "--chat-template-content-format", "string"]
    if model.chat_template_args:
        told += ["--default-chat-template-kwargs", json.dumps(model.chat_template_args, sort_keys=True)]
    return told


def kind_arguments(kind: ModelKind) -> list[str]:
    """Arguments that make a server answer as models of that kind do; none where vLLM does so by itself."""
    match kind:
        case ModelKind.CHAT:
            return []
        case ModelKind.REWARD:
            return ["--runner", "pooling"]
        case _:
            assert_never(kind)


def first_request(kind: ModelKind, served_name: str) -> tuple[str, dict[str, object], str]:
    """What proves that a server answers: path, JSON body, and which field the response then holds."""
    asked = {"role": "user", "content": "Hello"}
    match kind:
        case ModelKind.CHAT:
            return "/v1/chat/completions", {"model": served_name, "messages": [asked], "max_tokens": 1}, "choices"
        case ModelKind.REWARD:
            said = {"role": "assistant", "content": "Hello"}
            return "/pooling", {"model": served_name, "messages": [asked, said]}, "data"
        case _:
            assert_never(kind)


def arguments(serving: Serving, *, served_name: str, chat: Sequence[str] = ()) -> list[str]:
    """Arguments that do not depend on the weights or on where the server runs. `serving.args` come last and win.

    `chat` is what `chat_arguments` gave.
    """
    fixed = ["--served-model-name", served_name, "--max-model-len", str(serving.max_model_len)]
    fixed += ["--max-num-seqs", str(serving.max_concurrency), "--disable-uvicorn-access-log", *chat]
    # By default vLLM gives every request that leaves them out the top_k, min_p and penalties of the model's
    # generation_config.json, which no resource declares and which differ from model to model. With `vllm` it takes none
    # of them; the file's eos_token_id (Llama 3's <|eom_id|>, Gemma's <end_of_turn>) ends answers all the same, being
    # read apart (vLLM 0.32: ModelConfig.try_get_generation_config, and get_diff_sampling_param for the others).
    fixed += ["--generation-config", "vllm"]
    if serving.gpus:
        if serving.nodes > 1:
            fixed += ["--pipeline-parallel-size", str(serving.nodes)]
        return [*fixed, "--tensor-parallel-size", str(serving.gpus // serving.nodes), *serving.args]
    # Compiled mode needs a C++ compiler and Python's headers and takes minutes; eager is enough on a CPU.
    # A prompt prefilled in pieces makes vLLM 0.32 rewind the sampler of a request with a seed, which CPU samplers
    # cannot do: "CPU Generator does not use offset" ends the engine. All our requests have seeds.
    return [*fixed, "--enforce-eager", "--no-enable-chunked-prefill", *serving.args]


def options_for(config: Mapping[str, object], serving: Serving) -> dict[str, str]:
    """Options that follow from the model's config.json: none on GPUs, where vLLM finds them itself."""
    if serving.gpus:
        return {}
    return {"dtype": cpu_dtype(config), "kv-cache-memory-bytes": str(kv_cache_bytes(config, serving.max_model_len))}


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
