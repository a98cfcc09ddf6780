"""Losses, log-probabilities and layouts against numbers computed by hand, with the real trainers in this process."""

import os
import warnings
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moaa.api.models import Model
from moaa.api.training import LearningRateSchedule, PreferenceLoss
from tests.training_world import build_student, conversations, pairs, resource

pytestmark = [
    pytest.mark.timeout(300),
    # Libraries' own, at import and first use.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]
ROWS = 16
MAX_LENGTH = 64


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A tiny student, and a process group of one."""
    from moaa_jobs.training.worker.loop import prepare_environment

    prepare_environment(on_gpu=False)
    os.environ |= {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import deepspeed
        import torch.distributed as dist

        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        dist.init_process_group("gloo", rank=0, world_size=1)
        deepspeed.init_distributed(dist_backend="gloo", auto_mpi_discovery=False)
        yield build_student(tmp_path_factory.mktemp("student") / "model")
        dist.destroy_process_group()


def sft_table(student: Path) -> Any:
    from moaa_jobs.training.rows.chat import open_chat
    from moaa_jobs.training.rows.table import sft_table
    from moaa_jobs.training.rows.tokens import encode_conversation

    chat = open_chat(student, Model(name="student", source=f"file://{student}"), thinking=None)
    rows: list[Any] = []
    for row in conversations(ROWS):
        encoded = encode_conversation(chat, row, max_length=MAX_LENGTH)  # type: ignore[arg-type]
        assert isinstance(encoded, list)
        rows += encoded
    return sft_table(rows)


def pair_table(student: Path) -> Any:
    from moaa_jobs.training.rows.chat import open_chat
    from moaa_jobs.training.rows.table import pair_table
    from moaa_jobs.training.rows.tokens import encode_pair

    chat = open_chat(student, Model(name="student", source=f"file://{student}"), thinking=None)
    rows: list[Any] = []
    for row in pairs(ROWS):
        encoded = encode_pair(chat, row, max_length=MAX_LENGTH)  # type: ignore[arg-type]
        assert isinstance(encoded, list)
        rows += encoded
    return pair_table(rows)


def logps_of(model: Any, ids: list[int]) -> Any:
    """log p(token | what stands before it) of every token but the first: shape (T-1,)."""
    import torch

    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids])).logits[0, :-1]
    return torch.log_softmax(logits, dim=-1).gather(1, torch.tensor(ids[1:])[:, None])[:, 0]


def train(student: Path, table: Any, folder: Path, layout: str, **changes: Any) -> tuple[list[dict[str, float]], Any]:
    """Two steps of SFT, 8 rows each, with real DeepSpeed; the log and the trained weights."""
    from moaa_jobs.training.rows.order import batches, lay_out, pack
    from moaa_jobs.training.rows.table import row_lengths, row_widths
    from moaa_jobs.training.worker import trainers
    from moaa_jobs.training.worker.objective import Conversations

    micro = 8 if layout == "one-micro-step" else 1
    spec = resource(folder, student, workers=1, sft={"microBatchSize": micro, **changes}, dpo={}).spec.training.sft
    assert spec is not None
    steps = batches(ROWS, epochs=Decimal(1), batch_size=8, seed=0)
    where: dict[str, int] = {"workers": 1, "micro_batch_size": micro}
    packed = layout == "packed"
    if packed:
        bins = pack(steps, lengths=row_lengths(table), max_length=MAX_LENGTH, **where)
    else:
        bins = lay_out(steps, widths=row_widths(table), **where)
    return carry_out(student, folder, Conversations(spec), trainers.SftCollator(table, pad_id=0, packed=packed), bins)


def carry_out(
    student: Path,
    folder: Path,
    objective: Any,
    collator: Any,
    bins: Any,
    *,
    steps: int = 2,
    callbacks: Any = (),
    held_out: Any = (),
) -> tuple[list[dict[str, float]], Any]:
    """Steps of an objective over these bins."""
    from moaa_jobs.training.rows.tokenizer import load_tokenizer
    from moaa_jobs.training.worker import trainers
    from moaa_jobs.training.worker.model import load_model

    common = trainers.common_arguments(
        objective.spec, output_dir=folder, steps=steps, accumulation=bins.accumulation, seed=0, on_gpu=False
    )
    args = objective.arguments(common)
    trainer = trainers.build(
        objective.trainer,
        load_model(student, objective.spec),
        args,
        bins=bins.bins,
        collator=collator,
        schedule=trainers.Schedule(steps=steps, warmup_steps=0, shape=LearningRateSchedule.COSINE),
        tokenizer=load_tokenizer(student),
        callbacks=list(callbacks),
        held_out=held_out,
    )
    trainer.train()
    log = [entry for entry in trainer.state.log_history if "loss" in entry]
    return log, {name: value.detach().clone() for name, value in trainer.model.state_dict().items()}


def test_the_loss_is_the_mean_over_trained_tokens_only(student: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from moaa_jobs.training.rows.order import batches

    table = sft_table(student)
    log, _ = train(student, table, tmp_path, "padded", learningRate="1e-9", zeroStage=2)
    model = AutoModelForCausalLM.from_pretrained(student, dtype=torch.float32).eval()
    for entry, batch in zip(log, batches(ROWS, epochs=Decimal(1), batch_size=8, seed=0), strict=True):
        trained = []
        for row in batch:
            ids, spans = table.column("ids")[row].as_py(), table.column("spans")[row].as_py()
            logps = logps_of(model, ids)
            for start, end in zip(spans[::2], spans[1::2], strict=True):
                trained += logps[start - 1 : end - 1].tolist()
        assert entry["loss"] == pytest.approx(-sum(trained) / len(trained), rel=1e-5)


@pytest.mark.parametrize("packed", [False, True], ids=["padded", "packed"])
def test_a_look_at_held_out_rows_is_the_mean_of_their_losses_and_changes_nothing(
    student: Path, tmp_path: Path, packed: bool
) -> None:
    """The last rows of the table; with a learning rate of nearly nothing the student stays what it was."""
    import torch
    from transformers import AutoModelForCausalLM

    from moaa_jobs.training.rows.order import batches, lay_out
    from moaa_jobs.training.shared.checkpoints import SavedState
    from moaa_jobs.training.shared.messages import CurveRow
    from moaa_jobs.training.worker import trainers
    from moaa_jobs.training.worker.callbacks import Looks, StepRecorder
    from moaa_jobs.training.worker.objective import Conversations

    table, aside = sft_table(student), range(ROWS - 3, ROWS)
    spec = resource(tmp_path, student, workers=1, sft={"learningRate": "1e-9", "zeroStage": 2}, dpo={})
    sft = spec.spec.training.sft
    assert sft is not None
    steps = batches(ROWS - 3, epochs=Decimal(2), batch_size=8, seed=0)[:3]
    bins = lay_out(steps, workers=1, micro_batch_size=1)
    tracked: list[CurveRow] = []
    recorder = StepRecorder(
        SavedState(), steps_an_epoch=2, tokens_seen=[1, 2, 3], report=lambda *_: None, track=tracked.append,
        looks=Looks(2, 3),
    )  # fmt: skip
    collator = trainers.SftCollator(table, pad_id=0, packed=packed)
    log, weights = carry_out(
        student, tmp_path, Conversations(sft), collator, bins, steps=3, callbacks=[recorder], held_out=aside
    )
    plain, untouched = carry_out(student, tmp_path / "b", Conversations(sft), collator, bins, steps=3)
    assert [entry["loss"] for entry in log] == [entry["loss"] for entry in plain]
    assert all(torch.equal(value, untouched[name]) for name, value in weights.items())
    model = AutoModelForCausalLM.from_pretrained(student, dtype=torch.float32).eval()
    expected = []
    for row in aside:
        ids, spans = table.column("ids")[row].as_py(), table.column("spans")[row].as_py()
        logps = logps_of(model, ids)
        trained = [p for a, b in zip(spans[::2], spans[1::2], strict=True) for p in logps[a - 1 : b - 1].tolist()]
        expected.append(-sum(trained) / len(trained))
    mean = pytest.approx(sum(expected) / 3, rel=1e-5)
    assert [row.eval_loss for row in recorder.curve] == [None, mean, mean], "every second step, and the last"
    assert tracked == recorder.curve


def test_a_training_that_diverges_ends_with_a_diagnosis_and_no_checkpoint(student: Path, tmp_path: Path) -> None:
    from moaa_jobs.training.rows.order import batches, lay_out
    from moaa_jobs.training.rows.table import row_widths
    from moaa_jobs.training.shared.checkpoints import SavedState
    from moaa_jobs.training.shared.messages import TrainingRefused
    from moaa_jobs.training.worker import trainers
    from moaa_jobs.training.worker.callbacks import StepRecorder
    from moaa_jobs.training.worker.objective import Conversations

    table = sft_table(student)
    wild = {"microBatchSize": 8, "learningRate": "1e30", "checkpointSteps": 2, "zeroStage": 2}
    spec = resource(tmp_path, student, workers=1, sft=wild, dpo={}).spec.training.sft
    assert spec is not None
    steps = batches(ROWS, epochs=Decimal(4), batch_size=8, seed=0)
    recorder = StepRecorder(
        SavedState(),
        steps_an_epoch=2,
        tokens_seen=list(range(len(steps))),
        report=lambda *_: None,
        track=lambda _: None,
    )
    collator = trainers.SftCollator(table, pad_id=0, packed=False)
    bins = lay_out(steps, widths=row_widths(table), workers=1, micro_batch_size=8)
    words = r"steps 2 to 4 have loss .*; the last sound one is step 1 with loss .* lower learningRate"
    with pytest.raises(TrainingRefused, match=words):
        carry_out(student, tmp_path, Conversations(spec), collator, bins, steps=len(steps), callbacks=[recorder])
    assert [row.is_sound for row in recorder.curve] == [True, False, False, False]
    assert not list(tmp_path.glob("checkpoint-*")), "step 2 would have had one, of ruined weights"


def test_neither_micro_batches_nor_packing_change_the_result(student: Path, tmp_path: Path) -> None:
    import torch

    table = sft_table(student)
    runs = {
        layout: train(student, table, tmp_path / layout, layout, learningRate="1e-3", zeroStage=2)
        for layout in ("padded", "one-micro-step", "packed")
    }
    log, weights = runs["padded"]
    for other_log, other_weights in (runs["one-micro-step"], runs["packed"]):
        for a, b in zip(log, other_log, strict=True):
            assert a["loss"] == pytest.approx(b["loss"], rel=1e-5)
            assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-4)
        for name, value in weights.items():
            torch.testing.assert_close(other_weights[name], value, rtol=1e-3, atol=2e-5)


def test_ref_logps_are_sums_over_the_answers_tokens(student: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM
    from trl.trainer.utils import add_fused_lm_head

    from moaa_jobs.training.worker import ref_logps, trainers

    table = pair_table(student)
    model = AutoModelForCausalLM.from_pretrained(student, dtype=torch.float32).eval()
    expected = []
    for row in table.to_pylist():
        logps = [logps_of(model, row["prompt"] + row[name]) for name in ("chosen", "rejected")]
        expected.append(tuple(float(part[len(row["prompt"]) - 1 :].sum()) for part in logps))
    add_fused_lm_head(model)
    scored: dict[int, tuple[float, float]] = {}
    for rank in range(3):
        rows, values = ref_logps.score(
            model, table, trainers.PairCollator(table, pad_id=0, ref_logps=None),
            rank=rank, workers=3, batch_size=4, device=torch.device("cpu"), report=lambda *_: None,
        )  # fmt: skip
        scored |= dict(zip(rows, values, strict=True))
    assert [scored[row] for row in range(ROWS)] == [pytest.approx(pair, rel=1e-5) for pair in expected]


BETA = 0.1


def log_sigmoid(x: Any) -> Any:
    return -np.logaddexp(0.0, -x)


def sigmoid(x: Any) -> Any:
    return np.exp(log_sigmoid(x))


FORMULAS: dict[PreferenceLoss, Callable[..., Any]] = {
    # By log-ratios to the ref_model of chosen and rejected answers (c, r) and the answers' tokens (nc, nr).
    PreferenceLoss.SIGMOID: lambda c, r, *_: -log_sigmoid(BETA * (c - r)),
    PreferenceLoss.IPO: lambda c, r, nc, nr: (c / nc - r / nr - 1 / (2 * BETA)) ** 2,
    PreferenceLoss.APO_ZERO: lambda c, r, *_: 1 - sigmoid(BETA * c) + sigmoid(BETA * r),
}


@pytest.mark.parametrize("loss", PreferenceLoss)
def test_the_loss_on_pairs_is_its_formula(student: Path, tmp_path: Path, loss: PreferenceLoss) -> None:
    """Log-ratios are made different from zero by ref_logps that are not the student's own."""
    import torch
    from transformers import AutoModelForCausalLM

    from moaa_jobs.training.rows.order import batches, lay_out
    from moaa_jobs.training.rows.table import row_widths
    from moaa_jobs.training.worker.objective import Pairs
    from moaa_jobs.training.worker.trainers import PairCollator

    table = pair_table(student)
    changes = {"microBatchSize": 2, "learningRate": "1e-9", "zeroStage": 2, "beta": str(BETA), "loss": str(loss)}
    spec = resource(tmp_path, student, workers=1, sft={}, dpo=changes).spec.training.dpo
    assert spec is not None
    model = AutoModelForCausalLM.from_pretrained(student, dtype=torch.float32).eval()
    rows, rng = table.to_pylist(), np.random.default_rng(0)
    ratios, lengths = (
        rng.normal(0, 20, (2, ROWS)),
        np.array([[len(r[n]) for r in rows] for n in ("chosen", "rejected")]),
    )
    own = [
        [float(logps_of(model, row["prompt"] + row[name])[len(row["prompt"]) - 1 :].sum()) for row in rows]
        for name in ("chosen", "rejected")
    ]
    ref = (np.array(own) - ratios).tolist()
    steps = batches(ROWS, epochs=Decimal(1), batch_size=8, seed=0)
    collator = PairCollator(table, pad_id=0, ref_logps=(ref[0], ref[1]))
    bins = lay_out(steps, widths=row_widths(table), workers=1, micro_batch_size=2)
    log, _ = carry_out(student, tmp_path, Pairs(spec), collator, bins)
    expected = FORMULAS[loss](*ratios, *lengths)
    for entry, batch in zip(log, steps, strict=True):
        assert entry["loss"] == pytest.approx(expected[batch].mean(), rel=1e-4)


def test_packing_is_refused_where_rows_would_see_each_other(student: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from moaa_jobs.training.worker.model import packing_is_exact

    spec = resource(student, student, sft={}, dpo={}).spec.training.sft
    assert spec is not None
    model = AutoModelForCausalLM.from_pretrained(student, dtype=torch.float32).eval()

    def ignores_positions(**inputs: Any) -> Any:
        return model(input_ids=inputs["input_ids"], use_cache=False)

    ask: dict[str, Any] = {"vocabulary": 40, "spec": spec, "device": torch.device("cpu")}
    assert packing_is_exact(model, **ask)
    assert not packing_is_exact(ignores_positions, **ask)


@pytest.mark.parametrize("zero_stage", [2, 3])
def test_positions_are_as_exact_in_bf16_as_in_a_plain_model(student: Path, zero_stage: int) -> None:
    """ZeRO-3 loads all tensors in the training precision; rotary tables must not be."""
    import torch
    from transformers import AutoModelForCausalLM

    from moaa_jobs.training.worker.export import probe
    from moaa_jobs.training.worker.model import scoring_model

    spec = resource(student, student, workers=1, sft={"precision": "BF16", "zeroStage": zero_stage}, dpo={})
    assert spec.spec.training.sft is not None
    plain = AutoModelForCausalLM.from_pretrained(student, dtype=torch.bfloat16).eval()
    wanted = dict(plain.named_buffers())
    with scoring_model(student, spec.spec.training.sft, torch.device("cpu")) as model:
        found = dict(model.named_buffers())
        assert found.keys() == wanted.keys()
        for name, table in wanted.items():
            assert table.dtype is torch.float32
            assert torch.equal(found[name], table), name
        ids = [7, 8, 9, 10]
        torch.testing.assert_close(
            probe(model, ids, torch.device("cpu")), probe(plain, ids, torch.device("cpu")), rtol=0, atol=1e-2
        )


def test_a_table_that_is_exact_stays_and_one_that_cannot_be_computed_is_refused(student: Path) -> None:
    from transformers import AutoModelForCausalLM

    from moaa.errors import DataError
    from moaa_jobs.training.worker import model as loading

    model = AutoModelForCausalLM.from_pretrained(student)
    rotary = model.model.rotary_emb
    own = rotary.inv_freq * 2  # not what the configuration says
    rotary.inv_freq = own
    loading._compute_tables(student, model)
    assert rotary.inv_freq is own
    rotary.inv_freq = own.bfloat16()
    with pytest.raises(DataError, match="cannot be computed again for LlamaRotaryEmbedding"):
        loading._compute_tables(student, model)


def test_an_export_whose_far_positions_are_off_is_refused(student: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from moaa_jobs.training.worker import export

    spec = resource(student, student, sft={}, dpo={}).spec.training.sft
    assert spec is not None
    model = AutoModelForCausalLM.from_pretrained(student, dtype=torch.float32).eval()
    with torch.no_grad():
        for layer in model.model.layers:  # so that attention, and with it the distance, matters as in a real model
            layer.self_attn.q_proj.weight *= 40
            layer.self_attn.k_proj.weight *= 40
    model.save_pretrained(tmp_path / "saved")
    export.arrange(tmp_path / "saved", student, tmp_path / "model", spec)
    near = export.probe(model, [7, 8, 9, 10], torch.device("cpu"))
    export.verify(tmp_path / "model", [7, 8, 9, 10], near, spec)
    rotary = model.model.rotary_emb
    rotary.inv_freq = rotary.inv_freq.bfloat16().float()
    trained = export.probe(model, [7, 8, 9, 10], torch.device("cpu"))
    with pytest.raises(RuntimeError, match="logits differ"):
        export.verify(tmp_path / "model", [7, 8, 9, 10], trained, spec)


def test_an_export_that_does_not_give_the_trained_logits_is_refused(student: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from moaa_jobs.training.worker import export

    spec = resource(student, student, sft={}, dpo={}).spec.training.sft
    assert spec is not None
    model = AutoModelForCausalLM.from_pretrained(student, dtype=torch.float32).eval()
    (student / "pytorch_model.bin").write_bytes(b"another copy of the weights")
    model.save_pretrained(tmp_path / "saved")
    export.arrange(tmp_path / "saved", student, tmp_path / "model", spec)
    (student / "pytorch_model.bin").unlink()
    kept = {file.name for file in (tmp_path / "model").iterdir()}
    assert kept == {file.name for file in student.iterdir()}
    for name in kept - {"model.safetensors", "config.json"}:
        assert (tmp_path / "model" / name).read_bytes() == (student / name).read_bytes()
    ids = [7, 8, 9, 10]
    trained = export.probe(model, ids, torch.device("cpu"))
    export.verify(tmp_path / "model", ids, trained, spec)
    with pytest.raises(RuntimeError, match="logits differ"):
        export.verify(tmp_path / "model", ids, trained + trained.abs().max(), spec)
