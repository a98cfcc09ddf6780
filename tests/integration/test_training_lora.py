"""LoRA step by step against TRL and peft in FP32; resumed, by two workers, merged."""

import math
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.training_steps import (
    BETA,
    ROWS,
    carry_out,
    dpo_spec,
    one_process,
    one_rank,
    own_logps,
    pair_bins,
    pair_table,
    sft_table,
)
from tests.training_world import resource

pytestmark = [
    pytest.mark.timeout(300),
    # Libraries' own, at import and first use.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]
LORA = {"type": "LoRA", "rank": 4, "alpha": "8"}
STEPS = 4
MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with one_process(tmp_path_factory.mktemp("student")) as folder:
        yield folder


def sft_spec(student: Path, adapter: dict[str, Any] = LORA, **changes: Any) -> Any:
    sft = {"microBatchSize": 2, "learningRate": "1e-2", "adapter": adapter, **changes}
    return resource(student, student, workers=1, sft=sft, dpo={}).spec.training.sft


def sft_run(student: Path, folder: Path, spec: Any, *, workers: int = 1, **options: Any) -> tuple[Any, dict[str, Any]]:
    """The log of `STEPS` steps of SFT as this rank, and, of rank 0, the adapters that it has saved."""
    import torch.distributed as dist
    from peft import load_peft_weights

    from moaa_jobs.training.rows.order import batches, lay_out
    from moaa_jobs.training.rows.table import row_widths
    from moaa_jobs.training.worker.objective import Conversations
    from moaa_jobs.training.worker.trainers import SftCollator

    table = sft_table(student)
    steps = batches(ROWS, epochs=Decimal(2), batch_size=8, seed=0)
    bins = lay_out(steps, widths=row_widths(table), workers=workers, micro_batch_size=2)
    collator = SftCollator(table, pad_id=0, packed=False)
    log, _ = carry_out(
        student, folder, Conversations(spec), collator, bins, steps=STEPS, save_to=folder / "saved", **options
    )
    return log, load_peft_weights(str(folder / "saved"), device="cpu") if dist.get_rank() == 0 else {}


def plain_adapted(student: Path) -> Any:
    """As anybody would, with every option spelled out."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(student, dtype=torch.float32)
    torch.manual_seed(0)
    return get_peft_model(
        model, LoraConfig(r=4, lora_alpha=8, lora_dropout=0.0, target_modules=MODULES, task_type="CAUSAL_LM")
    )


def same_weights(a: dict[str, Any], b: dict[str, Any], *, rtol: float = 0, atol: float = 0) -> None:
    import torch

    assert a.keys() == b.keys()
    assert len(a) == 2 * len(MODULES) * 2, "A and B of every linear layer in both blocks"
    for name, value in a.items():
        torch.testing.assert_close(b[name], value, msg=name, rtol=rtol, atol=atol)


def plain_arguments(folder: Path) -> dict[str, Any]:
    return {
        "output_dir": str(folder), "max_steps": STEPS, "per_device_train_batch_size": 8, "learning_rate": 1e-2,
        "lr_scheduler_type": "cosine", "warmup_steps": 0, "max_grad_norm": 1.0, "weight_decay": 0.0, "seed": 0,
        "optim": "adamw_torch", "use_cpu": True, "bf16": False, "logging_steps": 1, "report_to": [],
        "save_strategy": "no", "train_sampling_strategy": "sequential", "max_length": None, "disable_tqdm": True,
    }  # fmt: skip


@pytest.fixture(scope="module")
def trl_sft(student: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, dict[str, Any]]:
    """TRL's trainer without DeepSpeed over the same rows, whole batches at once."""
    from datasets import Dataset
    from peft import load_peft_weights
    from trl import SFTConfig, SFTTrainer
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    from moaa_jobs.training.rows.order import batches
    from moaa_jobs.training.rows.table import trained_labels
    from moaa_jobs.training.rows.tokenizer import load_tokenizer

    folder, rows = tmp_path_factory.mktemp("trl"), sft_table(student).to_pylist()
    order = [row for batch in batches(ROWS, epochs=Decimal(2), batch_size=8, seed=0) for row in batch]
    shown = [{"input_ids": rows[i]["ids"], "labels": trained_labels(rows[i]["ids"], rows[i]["spans"])} for i in order]
    trainer = SFTTrainer(
        model=plain_adapted(student),
        args=SFTConfig(
            **plain_arguments(folder), remove_unused_columns=False, dataset_kwargs={"skip_prepare_dataset": True}
        ),
        train_dataset=Dataset.from_list(shown),
        data_collator=DataCollatorForLanguageModeling(pad_token_id=0),
        processing_class=load_tokenizer(student),
    )
    trainer.train()
    trainer.save_model(str(folder / "saved"))
    log = [entry for entry in trainer.state.log_history if "loss" in entry]
    return log, load_peft_weights(str(folder / "saved"), device="cpu")


@pytest.mark.parametrize("zero_stage", [1, 2, 3])
def test_sft_learns_step_by_step_what_trl_and_peft_learn(
    student: Path, tmp_path: Path, trl_sft: tuple[Any, dict[str, Any]], zero_stage: int
) -> None:
    theirs, their_weights = trl_sft
    log, weights = sft_run(student, tmp_path, sft_spec(student, zeroStage=zero_stage))
    assert len(log) == len(theirs) == STEPS
    assert log[-1]["loss"] < 0.98 * log[0]["loss"], "something is learned"
    for ours, plain in zip(log, theirs, strict=True):
        assert ours["loss"] == pytest.approx(plain["loss"], rel=1e-4)
        assert ours["grad_norm"] == pytest.approx(plain["grad_norm"], rel=1e-3)
        assert ours["learning_rate"] == pytest.approx(plain["learning_rate"])
    same_weights(weights, their_weights, rtol=1e-3, atol=1e-3)  # a tenth of what one step moves


@pytest.mark.parametrize("zero_stage", [2, 3])
def test_dpo_learns_step_by_step_what_trl_learns_against_the_base_with_its_adapter_off(
    student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zero_stage: int
) -> None:
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    from moaa_jobs.training.rows.tokenizer import load_tokenizer
    from moaa_jobs.training.worker.losses import PairCollator
    from moaa_jobs.training.worker.objective import Pairs

    monkeypatch.setattr(DPOTrainer, "_prepare_dataset", lambda _trainer, dataset, *_: dataset)
    table = pair_table(student)
    bins, steps = pair_bins(table, packed=True)
    order = [row for batch in steps for row in batch]
    names, rows = {name: f"{name}_ids" for name in ("prompt", "chosen", "rejected")}, table.to_pylist()
    trainer = DPOTrainer(
        model=plain_adapted(student),
        ref_model=None,
        args=DPOConfig(**plain_arguments(tmp_path / "trl") | {"max_steps": 2}, beta=BETA),
        train_dataset=Dataset.from_list([{names[n]: rows[i][n] for n in names} for i in order]),
        processing_class=load_tokenizer(student),
    )
    trainer.train()
    theirs = [entry for entry in trainer.state.log_history if "loss" in entry]

    ref = own_logps(student, table).tolist()
    spec = dpo_spec(tmp_path, student, learningRate="1e-2", zeroStage=zero_stage, adapter=LORA)
    collator = PairCollator(table, pad_id=0, packed=True, ref_logps=(ref[0], ref[1]))
    log, _ = carry_out(student, tmp_path, Pairs(spec), collator, bins, packed=True)
    assert log[0]["loss"] == pytest.approx(math.log(2), rel=1e-5), "new adapters change nothing"
    for ours, plain in zip(log, theirs, strict=True):
        for figure in ("loss", "grad_norm", "rewards/margins"):
            assert ours[figure] == pytest.approx(plain[figure], rel=1e-3, abs=1e-5), figure
    assert log[1]["rewards/margins"] > 0.01


@pytest.mark.parametrize("zero_stage", [1, 3])
def test_a_resumed_training_ends_as_an_undisturbed_one_and_checkpoints_hold_adapters_only(
    student: Path, tmp_path: Path, zero_stage: int
) -> None:
    """With dropout, whose random numbers go on where they were."""
    adapter = LORA | {"dropout": "0.2"}
    spec = sft_spec(student, adapter, zeroStage=zero_stage, checkpointSteps=2)
    log, weights = sft_run(student, tmp_path, spec)
    checkpoint = tmp_path / "checkpoint-2"
    resumed_log, resumed = sft_run(student, tmp_path / "resumed", spec, resume=checkpoint)
    assert [entry["loss"] for entry in resumed_log] == [entry["loss"] for entry in log]
    same_weights(resumed, weights)
    held = [file for file in checkpoint.rglob("*") if file.suffix in (".pt", ".safetensors", ".bin")]
    base = (student / "model.safetensors").stat().st_size
    adapters = (checkpoint / "adapter_model.safetensors").stat().st_size
    assert adapters < base / 3
    # Adapters twice (as the model and for serving), FP32 master weights and two moments, and each file's own.
    assert sum(file.stat().st_size for file in held if file.name != "tokenizer.json") < 5 * adapters + 100_000
    without = sft_run(student, tmp_path / "without", sft_spec(student, zeroStage=zero_stage))[0]
    assert [entry["loss"] for entry in without] != [entry["loss"] for entry in log], "the dropout has an effect"


def test_adapters_of_a_checkpoint_are_taken_over_and_others_refused(student: Path, tmp_path: Path) -> None:
    """As by a run that goes on with another number of workers."""
    from peft import get_peft_model_state_dict

    from moaa_jobs.training.worker.model import load_model
    from moaa_jobs.training.worker.weights.lora import attach

    spec = sft_spec(student, zeroStage=2)
    _, weights = sft_run(student, tmp_path, spec)
    adapted = attach(load_model(student, spec), spec, seed=5, learned=tmp_path / "saved")
    same_weights(get_peft_model_state_dict(adapted), weights)
    other = sft_spec(student, LORA | {"targetModules": ["q_proj"]})
    with pytest.raises(RuntimeError, match="others than the resource's"):
        attach(load_model(student, other), other, seed=5, learned=tmp_path / "saved")


def test_dropout_of_adapters_stays_where_pairs_turn_the_students_off(student: Path) -> None:
    from trl.trainer.utils import disable_dropout_in_model

    from moaa_jobs.training.worker.model import load_model
    from moaa_jobs.training.worker.weights.lora import attach

    spec = sft_spec(student, LORA | {"dropout": "0.2", "targetModules": ["q_proj", "v_proj"]})
    model = load_model(student, spec)
    disable_dropout_in_model(model)
    adapted = attach(model, spec, seed=0)
    found = [module.p for name, module in adapted.named_modules() if name.endswith("lora_dropout.default")]
    assert found == [0.2] * 4


@pytest.mark.parametrize("precision", ["FP32", "BF16"])
def test_merged_weights_give_the_logits_of_base_and_adapters(student: Path, tmp_path: Path, precision: str) -> None:
    """As a folder that is exported like any other, far positions included."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from moaa_jobs.training.worker import export
    from moaa_jobs.training.worker.weights.lora import merge

    sft_run(student, tmp_path, sft_spec(student, zeroStage=2))
    spec = sft_spec(student, precision=precision)
    merge(student, tmp_path / "saved", tmp_path / "merged", spec)
    export.arrange(tmp_path / "merged", student, tmp_path / "model", spec)
    assert not list((tmp_path / "model").glob("adapter*"))
    dtype = torch.float32 if precision == "FP32" else torch.bfloat16
    base = AutoModelForCausalLM.from_pretrained(student, dtype=dtype).eval()
    before = export.probe(base, [7, 8, 9, 10], torch.device("cpu"))
    adapted = PeftModel.from_pretrained(base, tmp_path / "saved").eval()
    with_adapters = export.probe(adapted, [7, 8, 9, 10], torch.device("cpu"))
    assert with_adapters.shape[0] == 2, "near and far"
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    assert plain.dtype is dtype
    merged = export.probe(plain, [7, 8, 9, 10], torch.device("cpu"))
    moved = (with_adapters - before).abs().max()
    assert moved > 0.1
    assert (merged - with_adapters).abs().max() < (1e-5 if precision == "FP32" else 0.05 * moved)
    export.verify(tmp_path / "model", [7, 8, 9, 10], with_adapters, spec)


def learn_as_rank(rank: int, workers: int, student: Path, folder: Path) -> None:
    """One of several processes that learn from the same rows under ZeRO-3."""
    import torch

    with one_rank(rank, workers, folder):
        learned = sft_run(student, folder, sft_spec(student, zeroStage=3), workers=workers)
        if rank == 0:
            torch.save(learned, folder / "learned.pt")


@pytest.mark.timeout(600)
def test_two_workers_learn_what_one_learns(student: Path, tmp_path: Path, trl_sft: tuple[Any, dict[str, Any]]) -> None:
    import torch
    from torch.multiprocessing.spawn import spawn

    spawn(learn_as_rank, (2, student, tmp_path), nprocs=2)  # type: ignore[no-untyped-call]
    theirs, their_weights = trl_sft
    log, weights = torch.load(tmp_path / "learned.pt")
    for ours, plain in zip(log, theirs, strict=True):
        assert ours["loss"] == pytest.approx(plain["loss"], rel=1e-4)
        assert ours["grad_norm"] == pytest.approx(plain["grad_norm"], rel=1e-3)
    same_weights(weights, their_weights, rtol=1e-3, atol=1e-3)  # a tenth of what one step moves
