"""Prompts that are trained on are those that the pinned vLLM renders for the same chat request."""

import warnings
from types import SimpleNamespace
from typing import Any

import pytest

from moaa.api.training import Thinking
from moaa_jobs.training.rows.chat import learn
from moaa_jobs.training.rows.template import TODAY, TemplateRefuses
from tests.chat_families import CONVERSATIONS, FAMILIES, Family

TRAINED = {name: family for name, family in FAMILIES.items() if family.refused is None}
CONFIG = SimpleNamespace(
    tokenizer="", model="", tokenizer_revision=None, code_revision=None, trust_remote_code=False,
    hf_config=SimpleNamespace(model_type="none"),
)  # fmt: skip


@pytest.fixture(scope="module")
def render() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from vllm.renderers import hf

    return hf.safe_apply_chat_template


@pytest.mark.parametrize("family", TRAINED.values(), ids=TRAINED.keys())
def test_the_prompt_is_what_vllm_renders(render: Any, family: Family) -> None:
    tokenizer = family.tokenizer()
    thinking = Thinking(family.thinking) if family.thinking else None
    chat = learn(tokenizer, args=family.args, stops=family.stop_ids(tokenizer), thinking=thinking, name="m")
    compared = 0
    for name, turns in CONVERSATIONS.items():
        try:
            prompt, asked = chat.template.prompt(turns[:-1])  # type: ignore[arg-type]
        except TemplateRefuses:
            continue
        # As `--default-chat-template-kwargs` joins a request's own arguments; the date is the clock's otherwise.
        told = {"add_generation_prompt": True, "continue_final_message": False, "strftime_now": TODAY.strftime}
        served = render(CONFIG, tokenizer, asked, tools=None, chat_template=None, tokenize=True, **told, **family.args)
        assert chat.template.ids(prompt) == list(served), name
        compared += 1
    assert compared >= 15
