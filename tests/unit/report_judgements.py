"""What the judges of the fake run (`report_world`) said: `judgements` that agree with its rankings and scores."""

from collections.abc import Iterator, Sequence

from moaa.judge.trail import Judgement, Role, judgement_rows
from moaa.rows import JudgementRow, RankingRow, ScoreRow

PANEL = ("gemma2-27b", "qwen2-72b", "wizardlm")
HOSTILE = "</div><script>alert(1)</script> [[A]]"


def of_rankings(rows: Sequence[RankingRow]) -> list[JudgementRow]:
    """Of the panel: every judge's verdict in both orders; a missing outcome could not be read."""
    return [row for ranking in rows for row in _of_ranking(ranking)]


def _of_ranking(ranking: RankingRow) -> Iterator[JudgementRow]:
    for c in ranking["comparisons"]:
        said = [
            _verdict(judge, order, vote[order == "ba"]) for order in ("ab", "ba")
            for judge, vote in zip(PANEL, c["votes"], strict=True)
        ]  # fmt: skip
        yield from judgement_rows(said, id=ranking["id"], a=c["a"], b=c["b"])


def of_scores(rows: Sequence[ScoreRow], *, benchmark: str) -> list[JudgementRow]:
    """Of one judge that chooses criteria first; the start is its own baseline, which nobody judges."""
    return [
        judgement
        for row in rows
        if row["benchmark"] == benchmark and row["model"] != "base"
        for judgement in judgement_rows(
            _duel(row["score"]), id=row["id"], a=0, b=1, benchmark=benchmark, model=row["model"]
        )
    ]


def _duel(score: float) -> list[Judgement]:
    """A draw follows the first place."""
    forward, backward = (1, 0) if score == 0.5 else (int(score), int(score))
    criteria = Judgement("", Role.CRITERIA, "gpt-judge", "[Accuracy, Clarity, Depth]")
    return [criteria, _verdict("gpt-judge", "ab", forward), _verdict("gpt-judge", "ba", backward)]


def _verdict(judge: str, order: str, outcome: int | None) -> Judgement:
    """`outcome` in terms of the pair's a, as in `Comparison`."""
    if outcome is None:
        return Judgement(order, Role.VERDICT, judge, "Both are fine.", failure="unreadable")
    verdict = "A" if (outcome == 1) == (order == "ab") else "B"
    text = f"{HOSTILE[:-5]} The first has more detail. " * 8 + f"\nSo my verdict is [[{verdict}]]"
    return Judgement(order, Role.VERDICT, judge, text, verdict)  # type: ignore[arg-type]  # a letter of the two
