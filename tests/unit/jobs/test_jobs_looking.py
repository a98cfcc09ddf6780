"""What resolve refuses of models before anything is asked, and what it lets through."""

import json
import logging
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from moaa.api.models import Model
from moaa.api.training import Sft, Thinking, Training, TrainingResources
from moaa.data.origin.local import LocalOrigin
from moaa.errors import DataError
from moaa.thoughts import PAIRS
from moaa_jobs.stages.looking import look
from moaa_jobs.training.rows import student
from moaa_jobs.training.rows.tokenizer import load_tokenizer, stop_ids
from tests.chat_families import CHATML, CORPUS, FAMILIES
from tests.model_folder import CONFIG, LAYER, TENSORS, write_model, write_tensors

WITHOUT = {
    "the head": "lm_head.weight",
    "an MLP tensor of one layer": "model.layers.1.mlp.up_proj.weight",
    "the last norm": "model.norm.weight",
}

NOTHING = Training()


async def looked(
    folder: Path,
    *,
    is_student: bool = True,
    thinking: Thinking | None = None,
    training: Training = NOTHING,
    **fields: Any,
) -> None:
    model = Model.model_validate({"name": "m", "source": f"file://{folder}", **fields})
    origin = LocalOrigin(f"file://{folder}", folder)
    listing = await origin.pin(list)
    cache = folder.parent / "cache"
    told = training.with_(thinking=thinking)
    await look(model, origin, listing, cache, is_student=is_student, training=told)


async def test_an_averaged_student_needs_safetensors_before_it_is_trained(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    await looked(folder, training=Training(average=Decimal("0.5")))
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    await looked(folder)
    with pytest.raises(DataError, match=r"has no model\.safetensors \(only \*\.bin\); convert its weights"):
        await looked(folder, training=Training(average=Decimal("0.5")))


async def test_a_whole_model_passes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    await looked(write_model(tmp_path / "m"))
    assert "student_checked model=m ends_with='<|end|>' thinking=AnswerOnly one-turn=1 several-turns=1" in caplog.text


@pytest.mark.parametrize("family", [name for name, family in FAMILIES.items() if family.refused is None])
async def test_small_conversations_are_tried(family: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    told, folder = FAMILIES[family], write_model(tmp_path / "m")
    tokenizer = told.tokenizer()
    tokenizer.save_pretrained(folder)
    stops = {"eos_token_id": sorted(told.stop_ids(tokenizer))}
    (folder / "generation_config.json").write_text(json.dumps(stops))
    thinking = Thinking(told.thinking) if told.thinking else None
    await looked(folder, thinking=thinking, chatTemplateArgs=dict(told.args))
    (line,) = [record.getMessage() for record in caplog.records if "student_checked" in record.message]
    assert all(f"{what}=" in line for what in ("one-turn", "several-turns", "system", "line-break-first"))
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


@pytest.mark.parametrize(("opening", "closing"), PAIRS, ids=[opening for opening, _ in PAIRS])
async def test_a_prompt_may_open_a_thought_with_any_known_tag(opening: str, closing: str, tmp_path: Path) -> None:
    told, folder = FAMILIES["opens-thoughts"], write_model(tmp_path / "m")
    template = str(told.template).replace("</think>", closing).replace("<think>", opening)
    replace(told, template=template, plain=(opening, closing)).tokenizer().save_pretrained(folder)
    await looked(folder, thinking=Thinking.AS_GIVEN)


async def test_a_model_that_vllm_renders_itself_is_no_student_and_reads_no_template(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", config={"model_type": "gpt_oss", "quantization_config": {"quant_method": "x"}})
    with pytest.raises(DataError, match=r"gpt_oss model by itself.*choose another student"):
        await looked(folder)
    await looked(folder, is_student=False)
    for fields in ({"chatTemplate": CHATML}, {"chatTemplateArgs": {"reasoning_effort": "low"}}):
        with pytest.raises(DataError, match=rf"{next(iter(fields))} has no effect.*reasoning_effort: low"):
            await looked(folder, is_student=False, **fields)


@pytest.mark.parametrize("missing", WITHOUT.values(), ids=WITHOUT)
async def test_a_missing_tensor_is_refused(tmp_path: Path, missing: str) -> None:
    folder = write_model(tmp_path / "m", tensors=[name for name in TENSORS if name != missing])
    with pytest.raises(DataError, match=rf"spec\.models m: {missing.removeprefix('model.')} is not among its weights"):
        await looked(folder)


async def test_a_tensor_that_every_layer_lacks_is_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", tensors=[name for name in TENSORS if "up_proj" not in name])
    with pytest.raises(DataError, match=r"layers\.0\.mlp\.up_proj\.weight, layers\.1\.mlp\.up_proj\.weight are not"):
        await looked(folder)


async def test_a_head_that_is_the_embedding_may_be_missing_or_there(tmp_path: Path) -> None:
    for number, tensors in enumerate((TENSORS, TENSORS[:-1])):
        await looked(write_model(tmp_path / f"m{number}", config={"tie_word_embeddings": True}, tensors=tensors))


async def test_a_layer_too_many_and_a_name_nobody_knows_are_refused(tmp_path: Path) -> None:
    deeper = [*TENSORS, *(f"model.layers.2.{name}" for name in LAYER)]
    for number, tensors in enumerate((deeper, [*TENSORS, "base_model.model.lora_A.weight"])):
        with pytest.raises(DataError, match=r"config\.json knows nothing of"):
            await looked(write_model(tmp_path / f"m{number}", tensors=tensors))


async def test_tensors_of_an_architecture_without_a_list_are_left_to_loading(tmp_path: Path) -> None:
    await looked(write_model(tmp_path / "m", config={"model_type": "olmo2"}, tensors=["x.weight"]))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"model_type": "new"}, r"model_type 'new'\) is known to no code of transformers.*choose"),
        ({"model_type": None}, r"model_type None\).*correct config\.json"),
        ({"model_type": "t5", "is_encoder_decoder": True}, "choose a decoder"),
    ],
    ids=["unknown", "untold", "encoder and decoder"],
)
async def test_an_architecture_that_cannot_be_loaded_is_refused(
    config: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=words):
        await looked(write_model(tmp_path / "m", config=config, tensors=["x.weight"]))


async def test_a_student_too_large_for_its_gpus_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    sizes = {"hidden_size": 4096, "num_attention_heads": 32, "intermediate_size": 14336, "vocab_size": 128256}
    folder = write_model(tmp_path / "m", config=sizes)
    small = Training(sft=Sft(), resources=TrainingResources(gpu_memory_gib=Decimal(16)))
    with pytest.raises(DataError, match=r"sft: takes .* alone .*does not fit.* What would fit: workers: "):
        await looked(folder, training=small)
    await looked(folder, training=small.with_(resources=TrainingResources(gpu_memory_gib=Decimal(80))))
    assert "memory_not_estimated" not in caplog.text
    await looked(write_model(tmp_path / "other", config={"model_type": "olmo2"}, tensors=["x.weight"]), training=small)
    assert "memory_not_estimated spec.models m: what training olmo2 takes" in caplog.text


@pytest.mark.parametrize("method", ["fp8", "awq", "gptq"])
async def test_a_quantised_student_is_refused_by_its_configuration(tmp_path: Path, method: str) -> None:
    folder = write_model(tmp_path / "m", config={"quantization_config": {"quant_method": method}})
    with pytest.raises(DataError, match=rf"quantised \({method}\).*unquantised folder"):
        await looked(folder)


@pytest.mark.parametrize("dtype", ["F8_E4M3", "I8", "U8"])
async def test_a_quantised_student_is_refused_by_its_tensors(tmp_path: Path, dtype: str) -> None:
    with pytest.raises(DataError, match=f"is stored as {dtype}, quantised"):
        await looked(write_model(tmp_path / "m", dtype=dtype))


async def test_an_adapter_and_other_formats_are_refused(tmp_path: Path) -> None:
    adapter = write_model(tmp_path / "adapter")
    (adapter / "adapter_config.json").write_text("{}")
    with pytest.raises(DataError, match=r"is an adapter.*merge it"):
        await looked(adapter)
    gguf = write_model(tmp_path / "gguf")
    (gguf / "model.safetensors").rename(gguf / "model.gguf")
    with pytest.raises(DataError, match=r"has no model\.safetensors \(only \*\.gguf\); convert"):
        await looked(gguf)
    (gguf / "pytorch_model.bin").write_bytes(b"")
    await looked(gguf)
    with pytest.raises(DataError, match=r"only \*\.bin"):  # of the Hub only safetensors are brought
        student.check_files({"config.json", "pytorch_model.bin"}, "m", reads_pickles=False)
    with pytest.raises(DataError, match="of the Hub nothing else is brought"):
        student.check_safetensors({"config.json", "pytorch_model.bin"}, "m")


async def test_the_same_weights_in_another_form_are_passed_over(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    write_tensors(folder / "consolidated.safetensors", tensors=["layers.0.attention.wq.weight"])
    await looked(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(DataError, match=r"has no model\.safetensors \(only \*\.safetensors\)"):
        await looked(folder)


async def test_code_of_the_folder_is_never_run(tmp_path: Path) -> None:
    auto = {"AutoModelForCausalLM": "modeling_own.Own"}
    with pytest.raises(DataError, match=r"'own'.*known only to code in its own folder"):
        await looked(write_model(tmp_path / "own", config={"model_type": "own", "auto_map": auto}))
    await looked(write_model(tmp_path / "llama", config={"auto_map": auto}))


async def test_a_file_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:-1])
    with pytest.raises(DataError, match=rf"has {len(whole) - 1} bytes where its header says {len(whole)}"):
        await looked(folder)
    (folder / "model.safetensors").write_bytes(b"not")
    with pytest.raises(DataError, match="is no safetensors file"):
        await looked(folder)


async def test_shards_are_compared_with_their_index(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    write_tensors(folder / "model.safetensors", tensors=TENSORS[:5])
    write_tensors(folder / "model-2.safetensors", tensors=TENSORS[5:])
    places = dict.fromkeys(TENSORS, "model.safetensors") | dict.fromkeys(TENSORS[5:], "model-2.safetensors")
    index = folder / student.INDEX
    index.write_text(json.dumps({"weight_map": places}))
    await looked(folder)
    index.write_text(json.dumps({"weight_map": {**places, "x.weight": "model-2.safetensors"}}))
    with pytest.raises(DataError, match=r"lists x\.weight, which no file holds"):
        await looked(folder)
    index.write_text(json.dumps({"weight_map": {**places, "x.weight": "model-3.safetensors"}}))
    with pytest.raises(DataError, match=r"names model-3\.safetensors, which is not there"):
        await looked(folder)


@pytest.mark.parametrize(
    ("family", "thinking", "words"),
    [
        ("hybrid-unstated", None, "has to be said"),
        ("opens-unstated", None, "opens a thought"),
        ("no-end", None, "no token"),
    ],
)
async def test_a_template_is_looked_at(tmp_path: Path, family: str, thinking: Thinking | None, words: str) -> None:
    folder = write_model(tmp_path / "m")
    FAMILIES[family].tokenizer().save_pretrained(folder)
    with pytest.raises(DataError, match=rf"spec\.models m: .*{words}"):
        await looked(folder, thinking=thinking)


async def test_a_given_template_replaces_the_models_own(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", template=None)
    with pytest.raises(DataError, match="has no chat template; give the model one"):
        await looked(folder)
    own = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}<|assistant|>"
    await looked(folder, chatTemplate=own)


async def test_two_templates_are_one_too_many(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": CHATML}))
    with pytest.raises(DataError, match="served with the one and trained with the other"):
        await looked(folder)
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": load_tokenizer(folder).chat_template}))
    await looked(folder)


async def test_a_member_needs_a_template_and_a_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no chat template"):
        await looked(write_model(tmp_path / "none", template=None), is_student=False)
    with pytest.raises(DataError, match=r"rag, tool_use and none is called default"):
        await looked(write_model(tmp_path / "named", template={"rag": CHATML, "tool_use": CHATML}), is_student=False)
    broken = write_model(tmp_path / "broken")
    (broken / "tokenizer.json").write_text("{")
    with pytest.raises(DataError, match="no tokenizer can be read"):
        await looked(broken, is_student=False)
    await looked(broken, is_student=False, serving={"args": ["--tokenizer", "/elsewhere"]})


@pytest.mark.parametrize("is_student", [True, False])
async def test_a_tokenizer_that_would_be_rebuilt_as_another_kind_is_refused(tmp_path: Path, is_student: bool) -> None:
    """Byte-level under the name of a SentencePiece class: spaces, line breaks and Chinese would be lost."""
    folder = write_model(tmp_path / "m")
    FAMILIES["chatml"].tokenizer().save_pretrained(folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "tokenizer_class": "LlamaTokenizer"}))
    with pytest.raises(
        DataError, match=r"says LlamaTokenizer.*another than its tokenizer\.json.*PreTrainedTokenizerFast"
    ):
        await looked(folder, is_student=is_student)


def test_a_tokenizer_of_a_class_of_its_own_may_pass(tmp_path: Path) -> None:
    """As Qwen2's: the class rebuilds what tokenizer.json describes."""
    from transformers import Qwen2Tokenizer

    made = FAMILIES["chatml"].tokenizer()
    vocabulary = json.loads(made.backend_tokenizer.to_str())["model"]
    tokenizer = Qwen2Tokenizer(vocab=vocabulary["vocab"], merges=[tuple(pair) for pair in vocabulary["merges"]])
    tokenizer.chat_template = CHATML
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, "model_type": "qwen2"}))
    loaded = load_tokenizer(tmp_path)
    for text in CORPUS:
        assert loaded.decode(loaded(text)["input_ids"]) == text


def test_end_tokens_are_those_that_vllm_reads(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", config={"eos_token_id": [5, 6]})
    tokenizer = load_tokenizer(folder)
    assert stop_ids(folder, tokenizer) == {tokenizer.eos_token_id, 5, 6}
    (folder / "config.json").write_text(json.dumps({"text_config": {"eos_token_id": 7}}))
    assert stop_ids(folder, tokenizer) == {tokenizer.eos_token_id, 7}
    (folder / "generation_config.json").write_text("{}")
    assert stop_ids(folder, tokenizer) == {tokenizer.eos_token_id}, "config.json's count where there is no other file"
    (folder / "generation_config.json").write_text("{,")
    with pytest.raises(DataError, match=r"generation_config\.json: cannot be read as JSON .*mend the file"):
        stop_ids(folder, tokenizer)
