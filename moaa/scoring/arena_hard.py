"""Arena-Hard v0.1 and v2.0: the win rate against one baseline from two games a question, and its interval.

The authors fit Bradley-Terry ratings and turn them into win rates against the baseline. Every game is against the
baseline, so this is the weighted mean of the games' scores, to the last digit, and no fit is needed. Style control
needs one: `moaa.scoring.style`.

Source: Li et al. 2024 (arXiv 2406.11939); `show_result.py` of arena-hard-auto at efc012e (v0.1) and 196f6b8 (v2.0).
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from moaa.benchmark.arena_labels import Game, Label, Version, games_of, win_rate
from moaa.scoring.bootstrap import interval


class Unit(StrEnum):
    """What an interval draws."""

    QUESTION = "question"
    """Both games of a question together: they are not independent."""
    GAME = "game"
    """As published, a strong verdict being three games. Narrower than the truth."""


@dataclass(frozen=True)
class ArenaHard:
    rate: float
    """Win rate against the baseline, between 0 and 1."""
    low: float | None
    """None with fewer than two units."""
    high: float | None
    questions: int
    """With at least one game that counts."""
    games: int
    """That count, a strong verdict once."""
    dropped: int
    """Games without a label, and in v2.0 the other game of their question."""


def arena_hard(
    verdicts: Mapping[str, tuple[Label | None, Label | None]],
    version: Version,
    *,
    resamples: int,
    confidence: float,
    unit: Unit = Unit.QUESTION,
) -> ArenaHard:
    """The score and its bootstrap interval; `verdicts` as `games_of`.

    Published intervals are `Unit.GAME` with 100 resamples: confidence 0.95 in v0.1 (there over the games of all models
    together), 0.9 in v2.0. The reported score of v2.0 is the mean of its resamples, here the score itself.

    Raises:
        ValueError: no game counts.
    """
    return score_of(*games_of(verdicts, version), resamples=resamples, confidence=confidence, unit=unit)


def score_of(
    games: Sequence[Game], dropped: int, *, resamples: int, confidence: float, unit: Unit = Unit.QUESTION
) -> ArenaHard:
    """The same from games, of which a question may have several pairs. Raises ValueError: as `arena_hard`."""
    clusters = _clusters(games, unit)
    found = interval(
        [sum(g.score * g.weight for g in cluster) for cluster in clusters],
        [float(sum(g.weight for g in cluster)) for cluster in clusters],
        resamples=resamples,
        confidence=confidence,
    )
    low, high = found or (None, None)
    return ArenaHard(win_rate(games), low, high, len({g.question for g in games}), len(games), dropped)


def _clusters(games: Sequence[Game], unit: Unit) -> list[list[Game]]:
    match unit:
        case Unit.QUESTION:
            grouped: dict[str, list[Game]] = defaultdict(list)
            for one in games:
                grouped[one.question].append(one)
            return list(grouped.values())
        case Unit.GAME:
            return [[Game(g.question, g.score, 1)] for g in games for _ in range(g.weight)]
        case _:
            assert_never(unit)
