"""The best weights so far by the loss of the held-out rows, and whether to go on looking for better ones.

What is best stands in the training curve, which every checkpoint carries; the weights lie in a folder that is linked
into every checkpoint. So a resumed training knows both as they were at the step it goes on from.
"""

import math
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from moaa.api.training import Keep, Optimization
from moaa_jobs.training.shared.checkpoints import BEST
from moaa_jobs.training.shared.messages import CurveRow, TrainingRefused

_PROBE = "probe.pt"
"""The logits by which the export is compared with these weights."""


def best_of(curve: Sequence[CurveRow]) -> CurveRow | None:
    """The step with the lowest finite loss of the held-out rows, the first of equal ones; None: no look has one."""
    looked = [row for row in curve if row.eval_loss is not None and math.isfinite(row.eval_loss)]
    return min(looked, key=lambda row: (row.eval_loss, row.step), default=None)


def looks_since_best(curve: Sequence[CurveRow]) -> int:
    """Looks after the best one; all of them where none has a finite loss."""
    best = best_of(curve)
    return sum(row.eval_loss is not None and (best is None or row.step > best.step) for row in curve)


class Keeper:
    """What a training does after a look at its held-out rows. Every rank calls it equally often."""

    def __init__(self, spec: Optimization, folder: Path, *, rank: int, curve: Callable[[], Sequence[CurveRow]]) -> None:
        """`folder` is this machine's for the best weights, `curve` gives the training curve up to the look."""
        self._spec = spec
        self._folder = folder
        self._rank = rank
        self._curve = curve

    def looked(self, control: Any, *, probe: Callable[[], torch.Tensor], save: Callable[[Path], None]) -> None:
        """Keep the weights if the last look is the best one, or end the training. `save` writes them, `probe` gives
        their logits (`export.probe`)."""
        curve = self._curve()
        if self._spec.keep is Keep.BEST and (best := best_of(curve)) is not None and best.step == curve[-1].step:
            self._keep(probe(), save)
        if self._spec.patience is not None and looks_since_best(curve) >= self._spec.patience:
            control.should_training_stop = True
            # The export comes next. A resumed training would go on after a checkpoint of this step.
            control.should_save = False

    def _keep(self, logits: torch.Tensor, save: Callable[[Path], None]) -> None:
        if self._rank == 0:
            shutil.rmtree(self._folder, ignore_errors=True)
        save(self._folder)
        if self._rank == 0:
            torch.save(logits, self._folder / _PROBE)

    def kept_step(self) -> int | None:
        """After which the weights were those of the model; None: the last ones are kept."""
        best = best_of(self._curve()) if self._spec.keep is Keep.BEST else None
        return None if best is None else best.step

    def kept(self) -> tuple[Path, torch.Tensor]:
        """Rank 0: the folder with the best weights, and their logits.

        Raises:
            TrainingRefused: no look has a finite loss.
        """
        if not (self._folder / _PROBE).is_file():
            raise TrainingRefused(
                "keep Best: the loss of the held-out rows was never finite; look at these rows, or leave keep out"
            )
        return self._folder, torch.load(self._folder / _PROBE)


def link_into(checkpoint: Path, best: Path) -> None:
    """Make the best weights so far part of a checkpoint, on the same disk, without a copy. Nothing where there are none
    yet."""
    if best.is_dir():
        shutil.copytree(best, checkpoint / BEST, copy_function=os.link)


def restore(checkpoint: Path, best: Path) -> None:
    """Take the best weights over from a checkpoint, which may go when a later one is there."""
    if (checkpoint / BEST).is_dir():
        shutil.rmtree(best, ignore_errors=True)
        shutil.copytree(checkpoint / BEST, best)
