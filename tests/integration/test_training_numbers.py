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
PACK_TOKENS = 100
"""Of a bin of pairs: three of the longest."""


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
        bins = pack(steps, lengths=row_lengths(table), capacity=micro * MAX_LENGTH, **where)
    else:
        bins = lay_out(steps, widths=row_widths(table), **where)
    collator = trainers.SftCollator(table, pad_id=0, packed=packed)
    return carry_out(student, folder, Conversations(spec), collator, bins, packed=packed)


def carry_out(
    student: Path,
    folder: Path,
    objective: Any,
    collator: Any,
    bins: Any,
    *,
    steps: int = 2,
    packed: bool = False,
    callbacks: Any = (),
    held_out: Any = (),
) -> tuple[list[dict[str, float]], Any]:
    """Steps of an objective over these bins."""
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    from moaa_jobs.training.rows.tokenizer import load_tokenizer
    from moaa_jobs.training.worker import trainers
    from moaa_jobs.training.worker.attention.kinds import Attention
    from moaa_jobs.training.worker.model import load_model

    common = trainers.common_arguments(
        objective.spec, output_dir=folder, steps=steps, accumulation=bins.accumulation, seed=0, on_gpu=False
    )
    args = objective.arguments(common)
    trainer = trainers.build(
        objective.trainer,
        load_model(student, objective.spec, Attention.SPANS if packed else None),
        args,
        bins=bins.bins,
        collator=collator,
        schedule=trainers.Schedule(steps=steps, warmup_steps=0, shape=LearningRateSchedule.COSINE),
        tokenizer=load_tokenizer(student),
        callbacks=list(callbacks),
        held_out=held_out,
    )
    trainer.train()
    unset_hf_deepspeed_config()  # else models that are loaded later would be sharded
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
    from moaa_jobs.training.rows.table import row_widths
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
    bins = lay_out(steps, widths=row_widths(table), workers=1, micro_batch_size=1)
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


@pytest.mark.parametrize("packed", [False, True], ids=["padded", "packed"])
def test_ref_logps_are_sums_over_the_answers_tokens(student: Path, packed: bool) -> None:
    import torch
    from transformers import AutoModelForCausalLM
    from trl.trainer.utils import add_fused_lm_head

    from moaa_jobs.training.rows.order import bins_of_rows, bins_of_tokens
    from moaa_jobs.training.rows.table import row_lengths, row_widths
    from moaa_jobs.training.worker import ref_logps
    from moaa_jobs.training.worker.losses import PairCollator

    table = pair_table(student)
    model = AutoModelForCausalLM.from_pretrained(student, dtype=torch.float32).eval()
    add_fused_lm_head(model)
    bins = bins_of_tokens(range(ROWS), lengths=row_lengths(table), capacity=PACK_TOKENS)
    if not packed:
        bins = bins_of_rows(range(ROWS), widths=row_widths(table), micro_batch_size=4)
    assert len(bins) % 3, "one rank has fewer bins than the others"
    collate = PairCollator(table, pad_id=0, packed=packed, ref_logps=None)
    scored: ref_logps.Scored = {}
    passes = []
    for rank in range(3):
        ref_logps.score(
            model, bins, collate, rank=rank, workers=3, device=torch.device("cpu"), keep=scored.update,
            report=lambda done, _: passes.append(done),
        )  # fmt: skip
    assert passes == list(range(1, len(passes) // 3 + 1)) * 3
    expected = own_logps(student, table).T
    assert [scored[row] for row in range(ROWS)] == [pytest.approx(tuple(pair), rel=1e-5) for pair in expected]


def test_a_kill_loses_only_the_last_part(student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    import torch
    from transformers import AutoModelForCausalLM
    from trl.trainer.utils import add_fused_lm_head

    from moaa.store.objects.directory import DirectoryStore
    from moaa_jobs.training.rows.order import bins_of_rows
    from moaa_jobs.training.rows.table import row_widths
    from moaa_jobs.training.worker import ref_logps
    from moaa_jobs.training.worker.losses import PairCollator

    monkeypatch.setattr(ref_logps, "PART_ROWS", 4)
    table = pair_table(student)
    model = AutoModelForCausalLM.from_pretrained(student, dtype=torch.float32).eval()
    add_fused_lm_head(model)
    store = DirectoryStore(tmp_path)
    store.prepare()

    def go(workers: int, *, dies_after: int | None) -> int:
        """Score what is left, with the first of `workers` alone; passes made."""
        left = asyncio.run(ref_logps.left(store, "k", rows=ROWS))
        bins = bins_of_rows(left, widths=row_widths(table), micro_batch_size=2)
        passes = []

        def report(done: int, _: int) -> None:
            passes.append(done)
            if done == dies_after:
                raise KeyboardInterrupt

        for rank in range(workers):
            ref_logps.score(
                model, bins, PairCollator(table, pad_id=0, packed=False, ref_logps=None), rank=rank, workers=workers,
                device=torch.device("cpu"), keep=lambda part: asyncio.run(ref_logps.write_part(store, "k", part)),
                report=report,
            )  # fmt: skip
        return len(passes)

    with pytest.raises(KeyboardInterrupt):
        go(1, dies_after=5)  # after ten rows, of which eight are stored
    assert go(2, dies_after=None) == 4, "eight rows in twos, with another number of workers"
    asyncio.run(ref_logps.finish(store, "k"))
    found = asyncio.run(ref_logps.read(store, "k", rows=ROWS))
    np.testing.assert_allclose(np.array(found), own_logps(student, table), rtol=1e-5)


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
    PreferenceLoss.ROBUST: lambda c, r, *_: (
        (-0.9 * log_sigmoid(BETA * (c - r)) + 0.1 * log_sigmoid(BETA * (r - c))) / 0.8
    ),
    PreferenceLoss.HINGE: lambda c, r, *_: np.maximum(0.0, 1 - BETA * (c - r)),
    PreferenceLoss.SIGMOID_NORM: lambda c, r, nc, nr: -log_sigmoid(BETA * (c / nc - r / nr)),
    # Here c and r are the log-probabilities themselves.
    PreferenceLoss.SIMPO: lambda c, r, nc, nr: -log_sigmoid(BETA * (c / nc - r / nr) - 0.5),
}
TRL_NAMES: dict[PreferenceLoss, str] = {
    PreferenceLoss.SIGMOID: "sigmoid",
    PreferenceLoss.IPO: "ipo",
    PreferenceLoss.APO_ZERO: "apo_zero",
    PreferenceLoss.ROBUST: "robust",
    PreferenceLoss.HINGE: "hinge",
    PreferenceLoss.SIGMOID_NORM: "sigmoid_norm",
}
"""Of DPOTrainer, which has no SimPO."""
NEEDS: dict[PreferenceLoss, dict[str, str]] = {
    PreferenceLoss.ROBUST: {"labelSmoothing": "0.1"},
    PreferenceLoss.SIMPO: {"simpoGamma": "0.5"},
}


def own_logps(student: Path, table: Any) -> Any:
    """Of every answer under the student, one row at a time: shape (2, rows)."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(student, dtype=torch.float32).eval()
    return np.array(
        [
            [
                float(logps_of(model, row["prompt"] + row[name])[len(row["prompt"]) - 1 :].sum())
                for row in table.to_pylist()
            ]
            for name in ("chosen", "rejected")
        ]
    )


def pair_bins(table: Any, *, packed: bool, workers: int = 1, micro: int = 2, sort: bool = True) -> Any:
    """Bins of two steps with 8 pairs each, and the steps."""
    from moaa_jobs.training.rows.order import batches, lay_out, pack
    from moaa_jobs.training.rows.table import row_lengths, row_widths

    steps = batches(ROWS, epochs=Decimal(1), batch_size=8, seed=0)
    where: dict[str, int] = {"workers": workers, "micro_batch_size": micro}
    if packed:
        return pack(steps, lengths=row_lengths(table), capacity=PACK_TOKENS, **where), steps
    widths = row_widths(table) if sort else [0] * ROWS
    return lay_out(steps, widths=widths, **where), steps


def dpo_spec(folder: Path, student: Path, **changes: Any) -> Any:
    dpo = {"microBatchSize": 2, "learningRate": "1e-9", "zeroStage": 2, "beta": str(BETA), **changes}
    dpo |= NEEDS.get(PreferenceLoss(dpo.get("loss", "Sigmoid")), {})
    return resource(folder, student, workers=1, sft={}, dpo=dpo).spec.training.dpo


@pytest.mark.parametrize(
    ("loss", "packed", "sft_weight"),
    [
        (PreferenceLoss.SIGMOID, False, None),
        (PreferenceLoss.SIGMOID, True, "0.25"),
        *((loss, True, None) for loss in PreferenceLoss),
    ],
)
def test_the_loss_on_pairs_is_its_formula(
    student: Path, tmp_path: Path, loss: PreferenceLoss, packed: bool, sft_weight: str | None
) -> None:
    """Log-ratios are made different from zero by ref_logps that are not the student's own."""
    from moaa_jobs.training.worker.losses import PairCollator
    from moaa_jobs.training.worker.objective import Pairs

    table = pair_table(student)
    rows, own = table.to_pylist(), own_logps(student, table)
    lengths = np.array([[len(r[n]) for r in rows] for n in ("chosen", "rejected")])
    ratios, ref_logps = own, None
    if loss.reads_ref_model:
        ratios = np.random.default_rng(0).normal(0, 20, (2, ROWS))
        ref_logps = tuple((own - ratios).tolist())
    bins, steps = pair_bins(table, packed=packed)
    assert packed is (len({len(one) for one in bins.bins}) > 1), "packed bins hold unlike numbers of pairs"
    collator = PairCollator(table, pad_id=0, packed=packed, ref_logps=ref_logps)
    spec = dpo_spec(tmp_path, student, loss=str(loss), sftWeight=sft_weight)
    log, _ = carry_out(student, tmp_path, Pairs(spec), collator, bins, packed=packed)
    expected = FORMULAS[loss](*ratios, *lengths)
    if sft_weight is not None:
        expected = expected - float(sft_weight) * own[0] / lengths[0]
    chosen, rejected = BETA * (ratios if loss.reads_ref_model else ratios / lengths)
    for entry, batch in zip(log, steps, strict=True):
        assert entry["loss"] == pytest.approx(expected[batch].mean(), rel=1e-4)
        assert entry["rewards/margins"] == pytest.approx((chosen - rejected)[batch].mean(), rel=1e-4)
        assert entry["rewards/accuracies"] == pytest.approx((chosen > rejected)[batch].mean())


@pytest.mark.parametrize("packed", [False, True], ids=["padded", "packed"])
def test_a_look_at_held_out_pairs_is_the_mean_of_their_losses(student: Path, tmp_path: Path, packed: bool) -> None:
    from moaa_jobs.training.shared.checkpoints import SavedState
    from moaa_jobs.training.worker.callbacks import Looks, StepRecorder
    from moaa_jobs.training.worker.losses import PairCollator
    from moaa_jobs.training.worker.objective import Pairs

    table = pair_table(student)
    ratios = np.random.default_rng(2).normal(0, 20, (2, ROWS))
    ref = (own_logps(student, table) - ratios).tolist()
    bins, _ = pair_bins(table, packed=packed)
    recorder = StepRecorder(
        SavedState(), steps_an_epoch=2, tokens_seen=[1, 2], report=lambda *_: None, track=lambda _: None,
        looks=Looks(2, 2),
    )  # fmt: skip
    collator = PairCollator(table, pad_id=0, packed=packed, ref_logps=(ref[0], ref[1]))
    spec = dpo_spec(tmp_path, student)
    carry_out(student, tmp_path, Pairs(spec), collator, bins, packed=packed, callbacks=[recorder], held_out=range(3))
    chosen, rejected = BETA * ratios[:, :3]
    assert recorder.curve[0].eval_loss is None
    look = recorder.curve[-1]
    assert look.eval_loss == pytest.approx(-log_sigmoid(chosen - rejected).mean(), rel=1e-4)
    assert look.eval_reward_margin == pytest.approx((chosen - rejected).mean(), rel=1e-4)
    assert look.eval_reward_accuracy == pytest.approx((chosen > rejected).mean())


@pytest.mark.parametrize("loss", TRL_NAMES)
def test_losses_and_gradients_on_pairs_are_those_of_trl(
    student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loss: PreferenceLoss
) -> None:
    """Padded and packed, all pairs in one bin, against TRL's own trainer, its collator and its reference forward."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, LlamaForCausalLM
    from trl import DPOConfig, DPOTrainer

    from moaa_jobs.training.rows.tokenizer import load_tokenizer
    from moaa_jobs.training.worker.losses import PairCollator, Scores, answer_logps, pair_losses

    # Both take the same tokens.
    monkeypatch.setattr(DPOTrainer, "_prepare_dataset", lambda _trainer, dataset, *_: dataset)
    table = pair_table(student)
    spec = dpo_spec(tmp_path, student, loss=str(loss))
    torch.manual_seed(1)
    ref_model = LlamaForCausalLM(AutoModelForCausalLM.from_pretrained(student).config).float()
    names = {name: f"{name}_ids" for name in ("prompt", "chosen", "rejected")}
    theirs = DPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(student, dtype=torch.float32),
        ref_model=ref_model,
        args=DPOConfig(
            output_dir=str(tmp_path), loss_type=[TRL_NAMES[loss]], beta=BETA, label_smoothing=0.1,
            max_length=None, use_cpu=True, bf16=False,
            report_to=[], per_device_train_batch_size=ROWS,
        ),
        train_dataset=Dataset.from_list([{names[n]: row[n] for n in names} for row in table.to_pylist()]),
        processing_class=load_tokenizer(student),
    )  # fmt: skip
    batch = theirs.data_collator([theirs.train_dataset[i] for i in range(ROWS)])
    wanted = theirs.compute_loss(theirs.model, batch)
    torch.autograd.backward(wanted)
    gradients = {name: value.grad for name, value in theirs.model.named_parameters()}
    with torch.no_grad():
        ref = [part.tolist() for part in theirs.compute_ref_log_probs(theirs.ref_model, batch)]
    for packed in (False, True):
        theirs.model.zero_grad()
        collate = PairCollator(table, pad_id=0, packed=packed, ref_logps=(ref[0], ref[1]))
        ours = collate([{"rows": list(range(ROWS))}])
        logps, _ = answer_logps(theirs.model, ours)
        found = pair_losses(spec, Scores.of(logps, ours["ref_logps"], ours["answer_tokens"])).mean()
        torch.autograd.backward(found)
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=0)
        for name, value in theirs.model.named_parameters():
            torch.testing.assert_close(value.grad, gradients[name], rtol=1e-4, atol=1e-6)


def test_the_gradient_of_dpo_is_the_one_computed_by_hand(student: Path, tmp_path: Path) -> None:
    """Of the sums: each answer's part is weighted by beta × sigmoid(−beta × difference), rejected ones against it."""
    import torch

    from moaa_jobs.training.worker.losses import Scores, pair_losses

    rng = np.random.default_rng(3)
    logps, ref = rng.normal(-60, 20, (2, 2, ROWS))
    policy = torch.tensor(logps.flatten(), requires_grad=True)
    scores = Scores.of(policy, torch.tensor(ref.flatten()), torch.ones(2 * ROWS))
    torch.autograd.backward(pair_losses(dpo_spec(tmp_path, student), scores).sum())
    difference = (logps - ref)[0] - (logps - ref)[1]
    by_hand = BETA * sigmoid(-BETA * difference)
    assert policy.grad is not None
    np.testing.assert_allclose(policy.grad.numpy(), np.concatenate([-by_hand, by_hand]), rtol=1e-12)


@pytest.mark.parametrize("zero_stage", [2, 3])
def test_neither_order_nor_packing_changes_what_pairs_teach(student: Path, tmp_path: Path, zero_stage: int) -> None:
    """Step by step: a step's rows as they come, sorted by width, in single pairs, and end to end."""
    import torch

    from moaa_jobs.training.worker.losses import PairCollator
    from moaa_jobs.training.worker.objective import Pairs

    table = pair_table(student)
    ref = own_logps(student, table).tolist()
    spec = dpo_spec(tmp_path, student, learningRate="1e-3", zeroStage=zero_stage)
    layouts = {
        "as they come": (False, 2, False),
        "sorted": (False, 2, True),
        "single": (False, 1, True),
        "packed": (True, 2, True),
    }
    runs = {}
    for name, (packed, micro, sort) in layouts.items():
        bins, _ = pair_bins(table, packed=packed, micro=micro, sort=sort)
        collator = PairCollator(table, pad_id=0, packed=packed, ref_logps=(ref[0], ref[1]))
        runs[name] = carry_out(student, tmp_path / name, Pairs(spec), collator, bins, packed=packed)
    log, weights = runs.pop("as they come")
    for name, (other_log, other_weights) in runs.items():
        for a, b in zip(log, other_log, strict=True):
            for figure in ("loss", "grad_norm", "rewards/margins"):
                assert a[figure] == pytest.approx(b[figure], rel=1e-4, abs=1e-6), (name, figure)
        for parameter, value in weights.items():
            torch.testing.assert_close(other_weights[parameter], value, rtol=1e-3, atol=2e-5)


def learn_from_pairs(student: Path, folder: Path, *, workers: int, packed: bool) -> tuple[list[dict[str, float]], Any]:
    """Two steps of DPO in FP32, as this rank."""
    from moaa_jobs.training.worker.losses import PairCollator
    from moaa_jobs.training.worker.objective import Pairs

    table = pair_table(student)
    # Not the student's own, or which answer has the higher reward would be rounding.
    ref = (own_logps(student, table) + np.random.default_rng(5).normal(0, 1, (2, ROWS))).tolist()
    bins, _ = pair_bins(table, packed=packed, workers=workers)
    collator = PairCollator(table, pad_id=0, packed=packed, ref_logps=(ref[0], ref[1]))
    spec = dpo_spec(folder, student, learningRate="1e-3")
    return carry_out(student, folder, Pairs(spec), collator, bins, packed=packed)


def learn_as_rank(rank: int, workers: int, student: Path, folder: Path) -> None:
    """One of several processes that learn from the same pairs, padded and packed; the first leaves what came of it."""
    from datetime import timedelta

    import torch

    from moaa_jobs.training.worker.loop import prepare_environment

    prepare_environment(on_gpu=False)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(workers), "LOCAL_RANK": str(rank)}
    torch.set_num_threads(1)
    import deepspeed
    import torch.distributed as dist

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    place = f"file://{folder / 'place'}"
    dist.init_process_group("gloo", place, rank=rank, world_size=workers, timeout=timedelta(seconds=500))
    deepspeed.init_distributed(dist_backend="gloo", auto_mpi_discovery=False)
    for packed in (False, True):
        learned = learn_from_pairs(student, folder, workers=workers, packed=packed)
        if rank == 0:
            torch.save(learned, folder / f"{packed}.pt")
    dist.destroy_process_group()


@pytest.mark.timeout(600)
def test_two_workers_learn_from_pairs_what_one_learns(student: Path, tmp_path: Path) -> None:
    """Padded and packed, step by step."""
    import torch
    from torch.multiprocessing.spawn import spawn

    spawn(learn_as_rank, (2, student, tmp_path), nprocs=2)  # type: ignore[no-untyped-call]
    log, weights = learn_from_pairs(student, tmp_path, workers=1, packed=False)
    for packed in (False, True):
        other_log, other_weights = torch.load(tmp_path / f"{packed}.pt")
        for a, b in zip(log, other_log, strict=True):
            for figure in ("loss", "grad_norm", "rewards/margins", "rewards/accuracies"):
                assert a[figure] == pytest.approx(b[figure], rel=1e-4, abs=1e-6), figure
        for name, value in weights.items():
            torch.testing.assert_close(other_weights[name], value, rtol=1e-3, atol=2e-5)


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
