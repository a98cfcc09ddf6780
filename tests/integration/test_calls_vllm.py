"""What the client believes of vLLM, asked of vLLM: its errors, its seeds, its usage, a template without system role."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
import pytest_asyncio

pytest.importorskip("vllm")

from moaa.api.models import Serving
from moaa.asking.caller import Choice
from moaa.client.letters import LetterRequest
from moaa.client.pool.clients import Clients
from moaa.client.pool.policy import Policy
from moaa.client.request import ChatRequest, Dialect
from moaa.client.target import Target
from moaa.client.tokens import load_counter
from moaa.conversation import Message
from moaa.errors import CallError, ServerError
from moaa.local.serving import vllm

MODEL = Path(__file__).parents[2] / "examples" / "tiny" / "models" / "student"
CONTEXT = 256
END = 77
"""A token that the model's generation_config.json names as another end of answers."""
TEMPLATE = """\
{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}\
{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}assistant:"""

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(420)]


def ask(
    text: str, *, system: str | None = None, max_tokens: int = 8, temperature: str = "1", seed: int = 1
) -> ChatRequest:
    messages = [Message(role="user", content=text)]
    if system is not None:
        messages.insert(0, Message(role="system", content=system))
    return ChatRequest(messages, Decimal(temperature), Decimal(1), max_tokens, seed)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny student with sampling of its own in generation_config.json: every answer of it would be greedy."""
    folder = tmp_path_factory.mktemp("model")
    for file in MODEL.iterdir():
        (folder / file.name).symlink_to(file)
    (folder / "generation_config.json").unlink(missing_ok=True)
    own = {"eos_token_id": [2, END], "top_k": 1, "repetition_penalty": 1.8, "temperature": 0.1, "max_new_tokens": 3}
    (folder / "generation_config.json").write_text(json.dumps(own))
    return folder


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def target(model: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Target]:
    folder = tmp_path_factory.mktemp("vllm")
    template = folder / "template.jinja"
    template.write_text(TEMPLATE)
    serving = Serving(gpus=0, max_model_len=CONTEXT, args=["--chat-template", str(template)])
    port = free_port()
    config = json.loads((MODEL / "config.json").read_text())
    arguments = vllm.command(model, served_name="tiny", serving=serving, port=port, config=config)
    env = vllm.environment(os.environ, serving=serving, gpus=(), cache=folder)
    log = folder / "server.log"
    with log.open("wb") as output:
        server = await asyncio.create_subprocess_exec(
            *arguments, env=env, stdout=output, stderr=output, start_new_session=True
        )
    try:
        made = Target("tiny", (f"http://localhost:{port}/v1",), "tiny", 16)
        # The client itself waits for the server to come up, as it does for one that restarts.
        async with Clients([made], policy=Policy(reconnect_s=300.0, backoff_max_s=1.0)) as clients:
            try:
                await clients.complete("tiny", ask("ready?"), affinity="r")
            except ServerError:
                pytest.fail(log.read_text()[-4000:])
        yield made
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        async with asyncio.timeout(60):
            await server.wait()


async def test_equal_seeds_give_equal_answers_and_others_do_not(target: Target) -> None:
    async with Clients([target]) as clients:
        one, again, other = [
            await clients.complete("tiny", ask("tell me", max_tokens=32, seed=s), affinity="r") for s in (7, 7, 8)
        ]
    assert one.text == again.text != other.text
    assert 0 < one.completion_tokens <= 32


async def test_of_the_models_own_generation_config_only_the_ends_of_answers_count(model: Path) -> None:
    """The test before this one shows it for sampling: greedy answers would be equal for all seeds, and short."""
    read = f"""
from vllm import SamplingParams
from vllm.config import ModelConfig
config = ModelConfig(model={str(model)!r}, generation_config="vllm")
params = SamplingParams()
params.update_from_generation_config(config.try_get_generation_config(), 2)
print(config.get_diff_sampling_param(), params.stop_token_ids)
"""
    env = os.environ | {"VLLM_LOGGING_LEVEL": "ERROR", "HF_HUB_OFFLINE": "1"}
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", read, env=env, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    assert output.decode().splitlines()[-1] == f"{{}} [{END}]"


async def test_the_tokenizer_file_counts_what_the_server_counts(target: Target) -> None:
    counter = load_counter(MODEL / "tokenizer.json")
    async with Clients([target]) as clients:
        short, long = [
            await clients.complete("tiny", ask(text), affinity="r") for text in ("seven", "seven" + " plus two" * 10)
        ]
    assert long.prompt_tokens - short.prompt_tokens == counter.most("seven" + " plus two" * 10) - counter.most("seven")


@pytest.mark.parametrize(
    "request_", [ask("word " * 2 * CONTEXT), ask("hello", max_tokens=4 * CONTEXT)], ids=["prompt", "answer"]
)
async def test_what_is_too_long_is_told_from_other_mistakes(target: Target, request_: ChatRequest) -> None:
    async with Clients([target]) as clients:
        with pytest.raises(CallError) as caught:
            await clients.complete("tiny", request_, affinity="r")
    assert caught.value.reason == "context-length"


async def test_sampling_that_the_server_never_takes_ends_the_job_in_its_words(target: Target) -> None:
    async with Clients([target]) as clients:
        with pytest.raises(ServerError, match=r"refuses every request at temperature -3 .*must be non-negative"):
            await clients.complete("tiny", ask("hello", temperature="-3"), affinity="r")


async def test_a_template_without_system_role_is_answered_folded(target: Target) -> None:
    async with Clients([target]) as clients:
        folded = await clients.complete("tiny", ask("Q", system="S", temperature="0"), affinity="r")
        by_hand = await clients.complete("tiny", ask("S\n\nQ", temperature="0"), affinity="r")
    assert folded == by_hand


async def test_a_wrong_model_name_ends_the_job(target: Target) -> None:
    async with Clients([replace(target, served_name="other")]) as clients:
        with pytest.raises(ServerError, match="does not serve 'other'"):
            await clients.complete("tiny", ask("hello"), affinity="r")


async def test_letters_come_with_the_chances_that_the_model_gives_them(target: Target) -> None:
    """In mid-reply, unmasked and whatever the temperature: what the model goes on with is listed as it is."""
    prompt = (Message(role="user", content="seven plus two"),)
    async with Clients([replace(target, dialect=Dialect(goes_on=True))]) as clients:
        free = await clients.complete("tiny", ask("seven plus two", temperature="0"), affinity="r")
        opened = Choice(prompt, free.text[:1], "", "", (free.text[1:2],))
        begun = await clients.complete("tiny", LetterRequest(opened), affinity="r")
        never = await clients.complete("tiny", LetterRequest(replace(opened, letters=("Ω",))), affinity="r")
    assert begun.completion_tokens == 1
    assert begun.prompt_tokens > never.prompt_tokens - 1
    assert never.mass == 0
    assert 0 < begun.mass <= 1


async def test_an_endpoints_form_is_understood_by_vllm_too(target: Target) -> None:
    """A further user turn in place of a reply that goes on: what other servers are sent."""
    choice = Choice((Message(role="user", content="seven"),), "two", "", "plus?", ("A", "B"))
    async with Clients([target]) as clients:
        found = await clients.complete("tiny", LetterRequest(choice), affinity="r")
    assert set(found.probabilities) == {"A", "B"}
    assert 0 <= found.mass <= 1
