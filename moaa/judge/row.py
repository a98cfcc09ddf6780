"""One prompt's samples judged: every pair compared, the samples ranked, the preference pair chosen."""

from collections.abc import Mapping

from moaa.api.mixture import Judge
from moaa.asking.caller import Caller
from moaa.asking.gather import gather_calls
from moaa.asking.windows import NO_WINDOWS, Windows
from moaa.conversation import Conversation
from moaa.errors import CallError
from moaa.judge.pairwise import Pair, compare
from moaa.judge.prompts import question_text
from moaa.judge.ranking import PAIR, needed, pair_score, rank
from moaa.rows import PairRow, RankingRow, SampleRow


async def judge_row(
    row: SampleRow, judge: Judge, prompts: Mapping[str, str], caller: Caller, *, windows: Windows = NO_WINDOWS
) -> RankingRow:
    """Compare every pair of the row's samples in both orders and rank them.

    Calls are named `c<a>-<b>/criteria`, `c<a>-<b>/ab/j<i>`, `c<a>-<b>/ab/meta` and so on. Comparisons that failed
    for good are in the row with None.

    Raises:
        ValueError: fewer than two samples.
        CallError: a failure that may pass.
        ModelAbsent: both raised after every call that can be made now was made.
    """
    texts = row["samples"]
    question = question_text(row["messages"])
    pairs = [Pair(question, a, b, texts[a], texts[b], f"c{a}-{b}") for a, b in needed(texts)]
    results = await gather_calls(compare(pair, judge, prompts, caller, windows=windows) for pair in pairs)
    comparisons = [result for result in results if not isinstance(result, CallError)]
    ranking = rank(texts, comparisons)
    return RankingRow(
        id=row["id"],
        messages=row["messages"],
        samples=texts,
        points=list(ranking.points),
        comparisons=comparisons,
        outcome=ranking.outcome,
    )


def to_pair(row: RankingRow) -> PairRow | None:
    """The preference pair of a ranked row, or None when its outcome says that there is none."""
    if row["outcome"] != PAIR:
        return None
    ranking = rank(row["samples"], row["comparisons"])
    assert ranking.chosen is not None, f"row {row['id']}: its outcome and its comparisons disagree"
    assert ranking.rejected is not None, f"row {row['id']}: its outcome and its comparisons disagree"
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


async def judge_pair(
    messages: Conversation,
    answer: str,
    baseline: str,
    judge: Judge,
    prompts: Mapping[str, str],
    caller: Caller,
    *,
    windows: Windows = NO_WINDOWS,
    path: str = "",
) -> float | None:
    """What `answer` scores against `baseline`: 1 win, ½ tie or order-dependent, 0 loss; None without a verdict.

    Equal texts score ½ without a call. Calls are named `<path>c0-1/...`, the answer being sample 0.

    Raises:
        CallError: a failure that may pass.
        ModelAbsent: both raised after every call that can be made now was made.
    """
    if answer == baseline:
        return 0.5
    pair = Pair(question_text(messages), 0, 1, answer, baseline, f"{path}c0-1")
    return pair_score(await compare(pair, judge, prompts, caller, windows=windows))
