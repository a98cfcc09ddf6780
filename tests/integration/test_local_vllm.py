"""One real vLLM on a CPU: started as the runner starts it, asked, killed and brought back, stopped without a trace."""

import asyncio
import hashlib
import os
import signal
import sysconfig
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from moaa.api.models import Serving
from moaa.local.options import cache_folder
from moaa.local.processes import guard
from moaa.local.processes.process import Guards
from moaa.local.serving.catalogue import VllmLaunch
from moaa.local.serving.machine import Capacity, Demand
from moaa.local.serving.pool import Pool
from moaa.local.serving.server import ServerSpec

torch = pytest.importorskip("torch")
pytest.importorskip("vllm")


@pytest.fixture(scope="module")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of two layers with a byte-level tokenizer and a chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tiny-llama")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: k for k, token in enumerate(["<s>", "</s>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    fast.chat_template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:"
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        bos_token_id=0,
        eos_token_id=1,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


async def complete(url: str, model: str, text: str = "Hi", **sampling: Any) -> dict[str, Any]:
    body = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 8, "temperature": 0}
    body |= sampling
    async with aiohttp.ClientSession() as session, session.post(f"{url}/chat/completions", json=body) as response:
        assert response.status == 200, await response.text()
        answer: dict[str, Any] = await response.json()
        return answer


async def test_vllm_serves_comes_back_after_kill_and_leaves_nothing(tiny_llama: Path, tmp_path: Path) -> None:
    before = guard.descendants(os.getpid())
    happened: list[tuple[str, dict[str, object]]] = []

    def notify(event: str, /, **fields: object) -> None:
        happened.append((event, fields))

    serving = Serving(gpus=0, max_model_len=512, max_concurrency=64)
    spec = ServerSpec("tiny", "tiny", tiny_llama, serving, Demand(2.0), startup_s=400.0)
    guards = Guards()
    async with asyncio.TaskGroup() as tasks:
        pool = Pool(
            Capacity(8.0),
            tasks=tasks,
            guards=guards,
            launch=VllmLaunch(cache=cache_folder(), inherited=os.environ),
            log_folder=tmp_path,
            notify=notify,
        )
        async with pool.lease([spec]) as lease:
            server = lease.servers["tiny"]
            answer = await complete(server.url, "tiny")
            assert answer["usage"]["completion_tokens"] >= 1
            # More prompt tokens at once than a step takes, from requests with seeds: ended the engine once.
            texts = [hashlib.sha512(str(k).encode()).hexdigest() * 2 for k in range(64)]
            flood = [complete(server.url, "tiny", text, seed=k, temperature=1) for k, text in enumerate(texts)]
            assert len(await asyncio.gather(*flood)) == 64
            below = guard.descendants(os.getpid(), skip=before)
            engine = max(below, key=lambda pid: int(Path(f"/proc/{pid}/statm").read_text().split()[1]))
            os.kill(engine, signal.SIGKILL)
            async with asyncio.timeout(400):
                while [event for event, _ in happened].count("server_ready") < 2:  # noqa: ASYNC110
                    await asyncio.sleep(0.2)
            assert (await complete(server.url, "tiny"))["choices"] == answer["choices"]
        below = guard.descendants(os.getpid(), skip=before)
        await pool.close()
    await guards.close()
    assert not set(below) & set(guard.process_table())
    seconds = [fields["seconds"] for event, fields in happened if event == "server_ready"]
    print(f"start-up: {seconds} s; python {sysconfig.get_python_version()}")
