"""The Pairwise benchmark: comparisons with a baseline's answers to scores.

In a comparison the measured model's answer is `a` and the baseline's is `b`. A win counts only if it holds in both
orders; an outcome that changes with the order says as much about the judge as about the answers and is a tie.
"""

from collections.abc import Sequence

from moaa.data.rows import Comparison, ScoreRow

TIE = 0.5


def outcome(comparison: Comparison) -> float | None:
    """1 win, 0 loss, 1/2 when the orders disagree; None when an order has no verdict, which is a failure, not a tie."""
    forward, backward = comparison["forward"], comparison["backward"]
    if forward is None or backward is None:
        return None
    return (forward + backward) / 2


def is_same_answer(answer: str, baseline: str) -> bool:
    """Equal texts are a tie that no judge needs to be asked for."""
    return answer.strip() == baseline.strip()


def score_row(
    *, benchmark: str, model: str, row_id: str, outcomes: Sequence[float | None], texts: Sequence[str]
) -> ScoreRow | None:
    """The mean over a row's samples; None when any sample lacks its outcome, so that no row is scored on a part.

    Raises:
        ValueError: outcomes and texts are not one each a sample.
    """
    if not outcomes or len(outcomes) != len(texts):
        raise ValueError(f"{len(outcomes)} outcomes and {len(texts)} answers; one of each a sample is needed")
    known = [o for o in outcomes if o is not None]
    if len(known) < len(outcomes):
        return None
    return ScoreRow(
        benchmark=benchmark,
        model=model,
        id=row_id,
        score=sum(known) / len(known),
        length=sum(map(len, texts)) / len(texts),
    )
