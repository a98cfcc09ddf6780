"""Losses, gradients and log-probabilities of pairs against numbers computed by hand and TRL's, in this process."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moaa.api.training import PreferenceLoss
from tests.training_steps import (
    BETA,
    PACK_TOKENS,
    ROWS,
    carry_out,
    dpo_spec,
    one_process,
    one_rank,
    own_logps,
    pair_bins,
    pair_table,
)

pytestmark = [
    pytest.mark.timeout(300),
    # Libraries' own, at import and first use.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with one_process(tmp_path_factory.mktemp("student")) as folder:
        yield folder


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
    import torch

    with one_rank(rank, workers, folder):
        for packed in (False, True):
            learned = learn_from_pairs(student, folder, workers=workers, packed=packed)
            if rank == 0:
                torch.save(learned, folder / f"{packed}.pt")


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
