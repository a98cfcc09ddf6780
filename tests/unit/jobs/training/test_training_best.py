"""Which look at held-out rows is the best, when to stop looking, and what becomes of the weights."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from moaa.api.training import Sft
from moaa_jobs.training.shared.checkpoints import needed_by
from moaa_jobs.training.shared.messages import CurveRow, TrainingRefused

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
NAN = float("nan")


def curve(losses: Sequence[float | None]) -> list[CurveRow]:
    return [
        CurveRow(step=i + 1, epoch=0, loss=1, learning_rate=1, grad_norm=1, tokens=1, eval_loss=loss)
        for i, loss in enumerate(losses)
    ]


@pytest.mark.parametrize(
    ("losses", "best", "since"),
    [
        ([None, None], None, 0),
        ([None, 2.0, None, 1.0, None, 1.0], 4, 1),
        ([3.0, 1.0, 2.0, NAN, 4.0], 2, 3),
        ([NAN, float("inf")], None, 2),
        ([NAN, 5.0], 2, 0),
    ],
)
def test_the_best_look_is_the_first_of_the_lowest_finite_ones(
    losses: list[float | None], best: int | None, since: int
) -> None:
    from moaa_jobs.training.worker.weights.best import best_of, looks_since_best

    found = best_of(curve(losses))
    assert (found and found.step) == best
    assert looks_since_best(curve(losses)) == since


def spec(**changes: object) -> Sft:
    return Sft.model_validate({"precision": "FP32", "heldOut": "0.1"} | changes)


@pytest.mark.parametrize("rank", [0, 1])
def test_weights_are_written_at_a_better_look_only_and_by_every_rank(tmp_path: Path, rank: int) -> None:
    """Writing them gathers, so that every rank takes part; only rank 0 has a folder."""
    import torch

    from moaa_jobs.training.worker.weights.best import Keeper

    shown: list[CurveRow] = []
    keeper = Keeper(spec(keep="Best"), tmp_path / "best", rank=rank, curve=lambda: shown)
    saves: list[int] = []

    def save(folder: Path) -> None:
        saves.append(shown[-1].step)
        if rank == 0:
            assert not folder.exists(), "nothing of the weights before"
            folder.mkdir()
            (folder / "model.safetensors").write_text(str(shown[-1].step))

    for i, loss in enumerate((3.0, 4.0, 2.0, 2.0, NAN)):
        shown.append(curve([None] * i + [loss])[-1])
        keeper.looked(SimpleNamespace(), probe=lambda: torch.tensor([float(shown[-1].step)]), save=save)
    assert saves == [1, 3]
    assert keeper.kept_step() == 3
    if rank == 0:
        folder, logits = keeper.kept()
        assert (folder / "model.safetensors").read_text() == "3"
        assert logits.tolist() == [3.0]


def test_patience_ends_a_training_and_leaves_no_checkpoint_to_go_on_from() -> None:
    from moaa_jobs.training.worker.weights.best import Keeper

    def never(*_: object) -> None:
        raise AssertionError("the last weights are kept")

    ended = []
    for count in range(1, 6):
        shown = curve([3.0, 1.0, 2.0, 1.0, 3.0][:count])
        control = SimpleNamespace(should_training_stop=False, should_save=True)
        Keeper(spec(patience=2), Path("none"), rank=0, curve=lambda: shown).looked(control, probe=never, save=never)  # type: ignore[arg-type]  # noqa: B023
        assert control.should_save is not control.should_training_stop
        ended.append(control.should_training_stop)
    assert ended == [False, False, False, True, True]


def test_without_one_finite_look_there_is_no_best(tmp_path: Path) -> None:
    from moaa_jobs.training.worker.weights.best import Keeper

    keeper = Keeper(spec(keep="Best"), tmp_path / "best", rank=0, curve=lambda: curve([NAN]))
    with pytest.raises(TrainingRefused, match="was never finite"):
        keeper.kept()


def test_checkpoints_carry_the_best_weights_without_a_copy(tmp_path: Path) -> None:
    from moaa_jobs.training.worker.weights.best import link_into, restore

    best, checkpoint = tmp_path / "best", tmp_path / "checkpoint-1"
    link_into(checkpoint, best)
    restore(checkpoint, best)
    assert not checkpoint.exists()
    assert not best.exists(), "there were none yet"
    best.mkdir()
    (best / "model.safetensors").write_text("old")
    checkpoint.mkdir()
    link_into(checkpoint, best)
    assert (checkpoint / "best" / "model.safetensors").stat().st_nlink == 2
    (best / "model.safetensors").unlink()
    (best / "model.safetensors").write_text("new")
    restore(checkpoint, best)
    assert (best / "model.safetensors").read_text() == "old"
    for weights_only in (False, True):
        assert needed_by("best/model.safetensors", range(4), weights_only=weights_only)
        assert not needed_by("best/model.safetensors", range(4, 8), weights_only=weights_only)
