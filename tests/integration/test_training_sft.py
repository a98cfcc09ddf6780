"""Losses and layouts of SFT against numbers computed by hand, with the real trainers in this process."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.training_steps import ROWS, carry_out, logps_of, one_process, sft_table, train
from tests.training_world import resource

pytestmark = [
    pytest.mark.timeout(300),
    # Libraries' own, at import and first use.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with one_process(tmp_path_factory.mktemp("student")) as folder:
        yield folder


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


@pytest.mark.parametrize("zero_stage", [1, 3])
def test_what_the_resource_says_of_the_optimiser_reaches_it(student: Path, tmp_path: Path, zero_stage: int) -> None:
    """AdamW's own groups under DeepSpeed's optimiser, which clips; the rates are those of the steps that were made."""
    from transformers import TrainerCallback

    from moaa_jobs.training.rows.order import batches, lay_out
    from moaa_jobs.training.rows.table import row_widths
    from moaa_jobs.training.worker import trainers
    from moaa_jobs.training.worker.objective import Conversations

    seen: dict[str, Any] = {}

    class Look(TrainerCallback):  # type: ignore[misc]  # untyped base
        def on_step_end(self, *_args: Any, optimizer: Any, **_kwargs: Any) -> None:
            sharded = optimizer.optimizer
            seen.update(clip=sharded.clip_grad, kind=type(sharded.optimizer), groups=sharded.optimizer.param_groups)

    said = {
        "adamBeta1": "0.8", "adamBeta2": "0.95", "adamEpsilon": "1e-6", "weightDecay": "0.125", "maxGradNorm": "0.25",
        "learningRate": "3e-3", "schedule": "Linear", "minLearningRateRatio": "0.1", "warmupRatio": "0.5",
    }  # fmt: skip
    spec = resource(tmp_path, student, workers=1, sft={"microBatchSize": 8, "zeroStage": zero_stage, **said}, dpo={})
    sft = spec.spec.training.sft
    assert sft is not None
    table = sft_table(student)
    bins = lay_out(
        batches(ROWS, epochs=Decimal(2), batch_size=8, seed=0),
        widths=row_widths(table),
        workers=1,
        micro_batch_size=8,
    )
    log, _ = carry_out(
        student, tmp_path, Conversations(sft), trainers.SftCollator(table, pad_id=0, packed=False), bins, steps=4,
        callbacks=[Look()], schedule=trainers.schedule_of(sft, steps=4, done=0),
    )  # fmt: skip
    assert [entry["learning_rate"] for entry in log] == pytest.approx([1e-3, 2e-3, 3e-3, 3e-3 * 0.55])
    assert seen["kind"] is torch_adamw()
    assert seen["clip"] == 0.25
    assert {(group["betas"], group["eps"]) for group in seen["groups"]} == {((0.8, 0.95), 1e-6)}
    assert [group["weight_decay"] for group in seen["groups"]] == [0.125, 0.0], "norms do not decay"


def torch_adamw() -> type:
    import torch

    return torch.optim.AdamW
