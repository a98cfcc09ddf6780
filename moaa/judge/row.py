"""Both rows of a judged prompt, from one ranking: all that was compared, and the preference pair."""

from moaa.judge.method import Ranked
from moaa.judge.ranking import PAIR
from moaa.rows import PairRow, RankingRow, SampleRow


def ranking_row(row: SampleRow, ranked: Ranked) -> RankingRow:
    return RankingRow(
        id=row["id"],
        messages=row["messages"],
        samples=row["samples"],
        points=list(ranked.ranking.points),
        comparisons=ranked.comparisons,
        outcome=ranked.ranking.outcome,
    )


def pair_row(row: SampleRow, ranked: Ranked) -> PairRow | None:
    """The preference pair, or None when the outcome says that there is none."""
    ranking = ranked.ranking
    if ranking.outcome != PAIR:
        return None
    assert ranking.chosen is not None, f"row {row['id']}: a pair without a chosen answer"
    assert ranking.rejected is not None, f"row {row['id']}: a pair without a rejected answer"
    chosen_points, rejected_points = ranking.points[ranking.chosen], ranking.points[ranking.rejected]
    assert chosen_points is not None, f"row {row['id']}: chosen without points"
    assert rejected_points is not None, f"row {row['id']}: rejected without points"
    return PairRow(
        id=row["id"],
        messages=row["messages"],
        chosen=row["samples"][ranking.chosen],
        rejected=row["samples"][ranking.rejected],
        chosen_points=chosen_points,
        rejected_points=rejected_points,
    )
