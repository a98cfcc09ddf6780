"""What training takes of memory, against sums done by hand, and what is said of it."""

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from moaa.api.training import Dpo, Lora, Precision, Sft, Training, TrainingResources
from moaa.cli.plan import student_config
from moaa.errors import DataError
from moaa.plan.forecast.fits import hopeless, memory_view, told
from moaa.plan.forecast.memory import FLASH_HEAD, GIB, Step, head_bytes, trained_parameters, training_memory, usable
from moaa.plan.forecast.shape import ModelShape, read_shape
from moaa.plan.show import plan_text
from tests.plan_helpers import resource

CONFIG: dict[str, Any] = json.loads((Path(__file__).parents[2] / "models" / "llama-3.1-8b.json").read_text())
LLAMA = read_shape(CONFIG, "m")
TINY = ModelShape(
    hidden=8, layers=2, heads=2, kv_heads=1, head_dim=4, intermediate=16, vocabulary=32, is_tied=False
)  # fmt: skip


def resources(workers: int = 1, gib: int | None = None, gpus: int = 1) -> TrainingResources:
    size = None if gib is None else Decimal(gib)
    return TrainingResources(workers=workers, gpu_memory_gib=size, gpus_per_worker=gpus)


def test_parameters_are_those_of_the_published_models() -> None:
    assert LLAMA.parameters == 8_030_261_248
    mixtral = {**CONFIG, "model_type": "mixtral", "num_local_experts": 8, "num_experts_per_tok": 2, "vocab_size": 32000}
    assert read_shape(mixtral, "m").parameters == 46_702_792_704
    assert read_shape(mixtral, "m").active_intermediate == 2 * 14336
    tied = read_shape({**CONFIG, "tie_word_embeddings": True}, "m")
    assert LLAMA.parameters - tied.parameters == 128256 * 4096


@pytest.mark.parametrize(
    ("stage", "weights", "gradients", "optimizer"), [(0, 2, 2, 12), (1, 2, 2, 3), (2, 2, 0.5, 3), (3, 0.5, 0.5, 3)]
)
def test_zero_splits_state_over_four_workers(stage: int, weights: float, gradients: float, optimizer: float) -> None:
    found = training_memory(LLAMA, Sft(zero_stage=stage), workers=4, on_gpu=True)
    bytes_each = [part / LLAMA.parameters for part in (found.weights, found.gradients, found.optimizer)]
    assert bytes_each == pytest.approx([weights, gradients, optimizer])


@pytest.mark.parametrize(("stage", "optimizer"), [(0, 8), (1, 12)])
def test_fp32_has_master_weights_under_zero_only(stage: int, optimizer: int) -> None:
    found = training_memory(LLAMA, Sft(zero_stage=stage, precision=Precision.FP32), workers=1, on_gpu=True)
    assert found.optimizer == optimizer * LLAMA.parameters
    assert found.weights == found.gradients == 4 * LLAMA.parameters


def test_activations_by_hand() -> None:
    again = training_memory(TINY, Sft(max_length=16), workers=1, on_gpu=True).activations
    assert again == 2 * (16 * 8 * 2) + 16 * 8 * 8
    kept = training_memory(TINY, Sft(max_length=16, gradient_checkpointing=False), workers=1, on_gpu=True).activations
    a_token = 2 * 8 * 8 + 2 * 4 * 8 + 4 * 2 + 2 * 4 * 16
    assert kept == 2 * 16 * a_token + 16 * 8 * 8


def kept(shape: ModelShape, *, on_gpu: bool, dpo: bool = False, **fields: Any) -> int:
    kind: type[Sft] | type[Dpo] = Dpo if dpo else Sft
    spec = kind.model_validate({"maxLength": 16, "gradientCheckpointing": False, **fields})
    return training_memory(shape, spec, workers=1, on_gpu=on_gpu).activations


@pytest.mark.parametrize("on_gpu", [False, True])
def test_a_mask_is_there_only_where_rows_are_padded(on_gpu: bool) -> None:
    """By torch's sdpa: of a byte for each pair of tokens, and of numbers in each layer."""
    row = kept(TINY, on_gpu=on_gpu, packing=False)
    assert kept(TINY, on_gpu=on_gpu, packing=True) == row, "one row alone"
    pair = kept(TINY, on_gpu=on_gpu, dpo=True, packing=True)
    assert pair == 2 * row, "both sequences end to end"
    assert kept(TINY, on_gpu=on_gpu, dpo=True, packing=False) - pair == 2 * 16 * 16 * (1 + 2 * 2)
    four: dict[str, Any] = {"microBatchSize": 4, "batchSize": 4}
    assert kept(TINY, on_gpu=on_gpu, packing=True, **four) == 4 * row
    assert kept(TINY, on_gpu=on_gpu, packing=False, **four) - 4 * row == 4 * 16 * 16 * (1 + 2 * 2)
    again: dict[str, Any] = {"gradientCheckpointing": True, "packing": False}
    assert kept(TINY, on_gpu=on_gpu, **again, **four) - 4 * kept(TINY, on_gpu=on_gpu, **again) == 4 * 16 * 16


def test_a_window_needs_a_mask_where_flashattention_is_not() -> None:
    seen = replace(TINY, head_dim=8, window=8, window_layers=1)
    whole = replace(seen, window=None, window_layers=0)
    mask = 16 * 16
    precisions: list[tuple[dict[str, Any], int]] = [({}, 2), ({"precision": "FP32"}, 4)]
    for fields, width in precisions:
        more = {
            on_gpu: kept(seen, on_gpu=on_gpu, **fields) - kept(whole, on_gpu=on_gpu, **fields)
            for on_gpu in (False, True)
        }
        assert more == {False: mask * width, True: 0 if width == 2 else mask * width}
    wide = replace(seen, head_dim=FLASH_HEAD + 8)
    assert kept(wide, on_gpu=True) - kept(replace(wide, window=None), on_gpu=True) == mask * 2
    alone = kept(seen, on_gpu=True, packing=False) - kept(whole, on_gpu=True, packing=False)
    assert alone == mask * (1 + 2), "one padded row"
    far = replace(seen, window=16)
    assert kept(far, on_gpu=False) == kept(whole, on_gpu=False), "no row is longer"


@pytest.mark.parametrize(
    ("config", "window"),
    [
        ({"model_type": "mistral", "sliding_window": 4096}, (4096, 32)),
        ({"model_type": "mistral", "sliding_window": None}, (None, 0)),
        ({"model_type": "qwen2", "sliding_window": 131072}, (None, 0)),
        ({"model_type": "qwen2", "sliding_window": 131072, "use_sliding_window": True}, (131072, 32)),
        (
            {"model_type": "gemma2", "sliding_window": 4096, "layer_types": ["sliding_attention", "full_attention"]},
            (4096, 1),
        ),
    ],
)  # fmt: skip
def test_a_window_is_read_where_it_is_used(config: dict[str, Any], window: tuple[int | None, int]) -> None:
    found = read_shape({**CONFIG, **config}, "m")
    assert (found.window, found.window_layers) == window


def test_capped_attention_holds_its_scores_but_by_flex_attention() -> None:
    gemma = replace(TINY, has_scores=True)
    scores = 2 * 2 * 16 * 16
    assert kept(gemma, on_gpu=False) - kept(TINY, on_gpu=False) == scores * (2 + 4 + 2)
    assert kept(gemma, on_gpu=True) == kept(TINY, on_gpu=True)
    plain = kept(TINY, on_gpu=True, packing=False)
    assert kept(gemma, on_gpu=True, packing=False) - plain == scores * (2 + 4 + 2) + 16 * 16 * 2
    both = [kept(one, on_gpu=True, packing=False, precision="FP32") for one in (gemma, TINY)]
    assert both[0] - both[1] == scores * (4 + 4) + 16 * 16 * 4


def test_the_head_of_a_large_vocabulary_is_the_largest_part_of_a_step() -> None:
    found = training_memory(LLAMA, Sft(max_length=4096), workers=64, on_gpu=True)
    assert found.working == head_bytes(LLAMA, Step.of(LLAMA, Sft(max_length=4096), on_gpu=True))
    assert found.working > 128256 * 4096 * 4


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"model_type": "olmo2"}, "m: what training olmo2 takes of memory is not known; known are gemma, "),
        ({**CONFIG, "hidden_size": None}, "m: config.json says hidden_size: None"),
        ({**CONFIG, "vocab_size": "many"}, "m: config.json says vocab_size: 'many'"),
        ({**CONFIG, "num_attention_heads": 0}, "m: config.json says num_attention_heads: 0"),
    ],
)
def test_a_shape_that_is_not_known_is_told(config: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError) as error:
        read_shape(config, "m")
    assert str(error.value).startswith(words)


def test_what_does_not_fit_is_told_with_what_would() -> None:
    assert "and fits: a GPU of 80 GiB can take 71.6" in told(LLAMA, "sft", Sft(), resources(8, 80))
    short = told(LLAMA, "sft", Sft(), resources(1, 80))
    assert "optimiser alone 119.7) and does not fit" in short
    assert short.endswith("What would fit: workers: 4")
    unsplit = told(LLAMA, "sft", Sft(zero_stage=0), resources(8, 80))
    assert unsplit.endswith("What would fit: zeroStage: 3; or workers: 16, zeroStage: 3")
    long = Sft(max_length=8192, micro_batch_size=4, gradient_checkpointing=False)
    assert told(LLAMA, "sft", long, resources(8, 80)).endswith("What would fit: gradientCheckpointing: true")
    assert told(LLAMA, "sft", Sft(batch_size=1), resources(1, 16)).endswith("What would fit: GPUs with more memory")


def test_without_the_size_of_a_gpu_there_is_no_verdict() -> None:
    assert told(LLAMA, "sft", Sft(), resources(8)).endswith(
        "give training.resources.gpuMemoryGib to learn whether it fits"
    )
    assert told(LLAMA, "sft", Sft(), resources(8, gpus=0)).endswith("of the machine's memory")
    assert told(LLAMA, "sft", Sft(), resources(8, 80, gpus=0)).endswith("is not read, since gpusPerWorker is 0")


def test_only_what_no_step_could_do_is_hopeless() -> None:
    spec = Sft(max_length=65536, gradient_checkpointing=False)
    assert "does not fit" in told(LLAMA, "sft", spec, resources(8, 80))
    assert hopeless(CONFIG, Training(sft=spec, resources=resources(8, 80)), "m") is None
    refused = hopeless(CONFIG, Training(dpo=Dpo(), resources=resources(1, 80)), "m")
    assert refused is not None
    assert refused.startswith("m: spec.training.dpo: takes ")
    assert hopeless({}, Training(sft=spec, resources=resources(8)), "m") is None


def lora(**changes: Any) -> Lora:
    return Lora(type="LoRA", **changes)


def test_adapters_are_counted_as_peft_counts_them() -> None:
    """41,943,040 is what peft prints for Llama-3.1-8B with rank 16 on every linear layer."""
    assert trained_parameters(LLAMA, Sft(adapter=lora())) == 41_943_040
    assert trained_parameters(LLAMA, Sft(adapter=lora(target_modules=["q_proj", "v_proj"]))) == 6_815_744
    phi = read_shape({**CONFIG, "model_type": "phi3"}, "m")
    assert trained_parameters(phi, Sft(adapter=lora(rank=2))) == 2 * 32 * (
        (4096 + 6144) + (4096 + 4096) + (4096 + 28672) + (14336 + 4096)
    )


def test_adapters_leave_state_of_their_own_and_all_weights_in_place() -> None:
    spec = Sft(adapter=lora(), zero_stage=2)
    found, own = training_memory(LLAMA, spec, workers=4, on_gpu=True), 41_943_040
    assert found.weights == 2 * (LLAMA.parameters + own)
    assert (found.gradients, found.optimizer) == (own // 4 * 2, own // 4 * 12)
    split = training_memory(LLAMA, spec.with_(zero_stage=3), workers=4, on_gpu=True)
    assert split.weights == (LLAMA.parameters + own) // 4 * 2
    assert "and fits" in told(LLAMA, "sft", Sft(adapter=lora()), resources(1, 80)), "119.7 GiB with all weights"
    whole, few = (training_memory(LLAMA, Sft(adapter=a), workers=64, on_gpu=True).working for a in (None, lora()))
    assert whole - few > 4 * 4096 * 128256, "no gradient of the head in FP32"


def test_adapters_keep_their_outputs_and_with_dropout_their_inputs() -> None:
    kept = Sft(max_length=16, gradient_checkpointing=False)
    plain, thin, dropped = (
        training_memory(TINY, kept.with_(adapter=adapter), workers=1, on_gpu=True).activations
        for adapter in (None, lora(rank=2), lora(rank=2, dropout=Decimal("0.1")))
    )
    assert thin - plain == 2 * 16 * 7 * 2 * 2
    assert dropped - thin == 2 * 16 * (6 * 8 + 16) * 3


def test_adapters_that_cannot_be_are_told_in_the_plan() -> None:
    unknown = resource(spec__training__sft={"adapter": {"type": "LoRA", "targetModules": ["c_attn"]}})
    shown = plan_text(memory_view(unknown, CONFIG), width=200)
    assert (
        "sft: base: adapter.targetModules: c_attn is no linear layer of the student's blocks; there are down_" in shown
    )
    assert "dpo: takes" in shown
    experts = {**CONFIG, "model_type": "mixtral", "num_local_experts": 8, "num_experts_per_tok": 2}
    assert "sft: base: adapter: the student has experts" in plan_text(memory_view(unknown, experts), width=200)


def test_a_small_gpu_has_nothing_left() -> None:
    assert usable(GIB) == 0


def test_the_plan_shows_parts_or_says_why_not() -> None:
    unknown = plan_text(memory_view(resource(), None), width=200)
    assert "not known, since the config.json of base cannot be read from here; give it with --student-config" in unknown
    assert "olmo2" in plan_text(memory_view(resource(), {"model_type": "olmo2"}), width=200)
    shown = plan_text(memory_view(resource(), CONFIG), width=200).splitlines()
    assert shown[0].startswith("GiB of a training worker, base")
    assert [line.split()[0] for line in shown if line.startswith("  ") and line.strip()] == ["stage", "sft", "dpo"]


def test_the_configuration_is_the_given_file_or_the_folder_s(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    given = tmp_path / "other.json"
    given.write_text('{"model_type": "qwen3"}')
    local = resource(spec__models__3__source=f"file://{tmp_path}")
    assert student_config(local, None) == {"model_type": "llama"}
    assert student_config(local, str(given)) == {"model_type": "qwen3"}
    assert student_config(resource(), None) is None
    (tmp_path / "config.json").unlink()
    assert student_config(local, None) is None


@pytest.mark.parametrize(("text", "words"), [("{", "cannot be read as JSON"), ("[]", "must hold a JSON object")])
def test_a_configuration_that_cannot_be_read_is_the_user_s_to_mend(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(DataError, match=words):
        student_config(resource(), str(tmp_path / "c.json"))
    with pytest.raises(DataError, match="cannot be read"):
        student_config(resource(), str(tmp_path / "gone.json"))
