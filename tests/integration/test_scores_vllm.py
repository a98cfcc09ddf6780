"""A real vLLM serves a sequence classifier for pooling, as a run starts it; its scores are those of transformers."""

import asyncio
import json
import os
import shutil
from pathlib import Path

import pytest

from moaa.api.models import Model, ModelKind
from moaa.client.pool.clients import Clients
from moaa.client.scores import ScoreRequest
from moaa.client.target import target_of
from moaa.contract.vllm import chat_arguments
from moaa.conversation import Conversation, Message
from moaa.local.options import cache_folder
from moaa.local.processes.process import Guards
from moaa.local.serving.catalogue import VllmLaunch
from moaa.local.serving.machine import Capacity, Demand
from moaa.local.serving.pool import Pool
from moaa.local.serving.server import ServerSpec

torch = pytest.importorskip("torch")
pytest.importorskip("vllm")

TINY = Path(__file__).parents[2] / "examples" / "tiny" / "models" / "student"
ASKED = [
    (Message(role="user", content="reverse abc"), Message(role="assistant", content=t)) for t in ("cba", "abc", "b")
]

pytestmark = pytest.mark.timeout(420)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random reward model of two layers with the tiny student's tokenizer; its scores are far from 0 and 1."""
    from transformers import LlamaConfig, LlamaForSequenceClassification

    folder = tmp_path_factory.mktemp("classifier")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(TINY / name, folder / name)
    torch.manual_seed(0)
    sizes = json.loads((TINY / "config.json").read_text())
    config = LlamaConfig(
        **{name: sizes[name] for name in ("vocab_size", "hidden_size", "intermediate_size", "num_attention_heads")},
        max_position_embeddings=256,
        num_hidden_layers=2,
        pad_token_id=0,
        num_labels=1,
    )
    model = LlamaForSequenceClassification(config)
    torch.nn.init.normal_(model.score.weight, std=0.5)
    model.save_pretrained(folder)
    return folder


def expected(folder: Path, answered: Conversation) -> float:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
    text = AutoTokenizer.from_pretrained(folder).apply_chat_template(list(answered), tokenize=False)
    ids = AutoTokenizer.from_pretrained(folder)(text, add_special_tokens=False, return_tensors="pt").input_ids
    with torch.no_grad():
        return float(model(input_ids=ids).logits[0, 0])


async def test_scores_of_a_server_of_ours_are_the_models_own_logits(classifier: Path, tmp_path: Path) -> None:
    declared = Model.model_validate(
        {"name": "rm", "kind": "Reward", "source": "hf://a/b", "serving": {"gpus": 0, "maxModelLen": 256}}
    )
    chat = tuple(chat_arguments(declared))
    spec = ServerSpec(
        "rm", "rm", classifier, declared.serving, Demand(2.0), startup_s=400.0, chat=chat, kind=ModelKind.REWARD
    )
    guards = Guards()
    async with asyncio.TaskGroup() as tasks:
        launch = VllmLaunch(cache=cache_folder(), inherited=os.environ)
        pool = Pool(Capacity(8.0), tasks=tasks, guards=guards, launch=launch, log_folder=tmp_path)
        async with pool.lease([spec]) as lease:
            url = lease.servers["rm"].url
            async with Clients([target_of(declared, urls=[url])]) as clients:
                found = [await clients.complete("rm", ScoreRequest(one), affinity="r") for one in ASKED]
        await pool.close()
    await guards.close()
    wanted = [expected(classifier, one) for one in ASKED]
    assert [one.score for one in found] == pytest.approx(wanted, abs=1e-3)
    assert len({round(one, 3) for one in wanted}) == len(wanted)
    assert any(not 0 <= one <= 1 for one in wanted), "no activation was put on them"
    assert all(one.is_counted and one.prompt_tokens > 0 for one in found)
