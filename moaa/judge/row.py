"""From one ranking to the rows of a judged prompt: its comparisons, the preference pair, and what judges said."""

from moaa.judge.method import Ranked
from moaa.judge.ranking import PAIR
from moaa.judge.trail import judgement_rows
from moaa.rows import JudgementRow, PairRow, RankingRow, SampleRow


def ranking_row(row: SampleRow, ranked: Ranked) -> RankingRow:
    made = RankingRow(
        id=row["id"],
        messages=row["messages"],
        samples=row["samples"],
        points=list(ranked.ranking.points),
        comparisons=[c.comparison for c in ranked.compared],
        outcome=ranked.ranking.outcome,
    )
    if ranked.scores is not None:
        made["scores"] = list(ranked.scores.of)
    return made


def pair_row(row: SampleRow, ranked: Ranked) -> PairRow | None:
    """The preference pair, or None when the outcome is another."""
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


def trail(id: str, ranked: Ranked, *, sample: int = 0) -> list[JudgementRow]:
    """What was said of the row with that id: of each answer by a reward model, its number being a and b, then of
    every pair by its judges, pair by pair."""
    scored = ranked.scores.said if ranked.scores is not None else ()
    alone = [row for i, said in scored for row in judgement_rows([said], id=id, a=i, b=i, sample=sample)]
    return alone + [
        judgement
        for c in ranked.compared
        for judgement in judgement_rows(c.said, id=id, a=c.comparison["a"], b=c.comparison["b"], sample=sample)
    ]
