"""How far a stage is, from the figures of its pods. Pure.

A stage of shards has a pod for each shard that runs; rows of finished shards are known from their number.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from moaa.api.status import StageProgress
from moaa.contract.progress import figures_of
from moaa.plan.budget.spent import Tokens, tokens_of
from moaa.text import shown

MAX_MESSAGE = 120


@dataclass(frozen=True)
class PodFigures:
    """What one pod said on /progress."""

    done: int = 0
    total: int = 0
    """Rows of its shards, or steps of training."""
    saved: int = 0
    """Of those done, what another attempt would not do again."""
    stage_total: int = 0
    """Rows of all shards; 0: it did not say, or does the whole stage."""
    is_steps: bool = False
    failed: int = 0
    tokens_per_s: float = 0.0
    eta_s: float | None = None
    loss: float | None = None
    message: str = ""
    tokens: Mapping[str, Tokens] = field(default_factory=dict)
    """By model: what the calls of its shards have cost."""
    finished_with: frozenset[str] = frozenset()
    """Models that its shards will not ask again."""


def parse(said: Mapping[str, Any]) -> PodFigures:
    """Read a pod's answer; what is no figure counts as missing."""
    figures = figures_of(said)
    is_steps = figures.get("steps", 0) > 0
    if is_steps:
        done, total = figures.get("step", 0), figures.get("steps", 0)
    else:
        done, total = figures.get("rows_done", 0), figures.get("rows_total", 0)
    return PodFigures(
        done=min(done, total),
        total=total,
        saved=min(figures.get("saved", 0), done, total),
        stage_total=figures.get("rows_stage", 0),
        is_steps=is_steps,
        failed=figures.get("failed", 0),
        tokens_per_s=figures.get("tokens_per_s", 0.0),
        eta_s=figures.get("eta_s"),
        loss=figures.get("loss"),
        message=shown((figures.get("message") or _held(figures.get("held", {})))[:MAX_MESSAGE].replace("\n", "")),
        finished_with=frozenset(figures.get("finished_with", ())),
        tokens=tokens_of(figures.get("prompt_spent", {}), figures.get("completion_spent", {})),
    )


def _held(held: Mapping[str, int]) -> str:
    return f"waiting for the limits of {', '.join(held)}" if held else ""


def combine(pods: Sequence[PodFigures], *, shards: int = 0, finished: int = 0) -> StageProgress | None:
    """The progress of a stage with `shards` pods (0: one pod does it all), `finished` of which are done; None: no pod
    said anything.

    It counts what is left, since the last shard may be shorter: a shard that has not begun counts as a long one.
    """
    said = [pod for pod in pods if pod.total or pod.message]
    if not said:
        return None
    total, done, saved = (sum(getattr(pod, part) for pod in said) for part in ("total", "done", "saved"))
    if shards:
        longest = max(pod.total for pod in said)
        left = total - done + max(shards - finished - len(said), 0) * longest
        total = max(pod.stage_total for pod in said) or shards * longest
        saved = max(total - left - done + saved, 0)
        done = max(total - left, 0)
    losses = [pod.loss for pod in said if pod.loss is not None]
    return StageProgress(
        rows=None if said[0].is_steps else done,
        rows_total=None if said[0].is_steps else total,
        saved=saved,
        failed_rows=sum(pod.failed for pod in said),
        step=done if said[0].is_steps else None,
        steps=total if said[0].is_steps else None,
        tokens_per_second=rounded(sum(pod.tokens_per_s for pod in said)),
        seconds_left=_left(said, total - done),
        loss=f"{losses[0]:.3f}" if losses else None,
        message=next((pod.message for pod in said if pod.message), ""),
    )


def _left(pods: Iterable[PodFigures], remaining: int) -> int | None:
    """Whole minutes in seconds, at the speed of the pods that have one."""
    speeds = [(pod.total - pod.done) / pod.eta_s for pod in pods if pod.eta_s and pod.total > pod.done]
    speed = sum(speeds)
    return 60 * math.ceil(remaining / speed / 60) if speed else None


def rounded(number: float) -> int:
    """To two significant digits.

    >>> rounded(8.4), rounded(1234.5), rounded(0)
    (8, 1200, 0)
    """
    return int(float(f"{number:.2g}"))
