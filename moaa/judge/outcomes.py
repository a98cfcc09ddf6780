"""What became of the judged prompts, in words: the error when no pair is left to train on. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence

from moaa.judge.ranking import (
    EQUAL_TEXTS,
    LENGTHS_DIFFER,
    NONE_TO_REJECT,
    ORDERS_DISAGREE,
    PAIR,
    SEED_CONTRADICTED,
    SMALL_MARGIN,
    TIE,
    TOO_FEW_VERDICTS,
    UNSCORED,
)
from moaa.rows import RankingRow

MEANS: Mapping[str, str] = {
    TIE: "best and worst drew",
    EQUAL_TEXTS: "the student's answers were the same text",
    TOO_FEW_VERDICTS: "too few verdicts could be read",
    UNSCORED: "the reward model gave an answer no score",
    SEED_CONTRADICTED: "judges preferred the worst by the reward model's order to its best",
    NONE_TO_REJECT: "no answer below the best had minRejectedPoints",
    ORDERS_DISAGREE: "best against rejected was not decided alike in both orders",
    SMALL_MARGIN: "the margin was below minMargin",
    LENGTHS_DIFFER: "the lengths differed by more than maxLengthDifference",
}
"""Why a prompt gave no pair."""
_REMEDY: Mapping[str, str] = {
    TIE: "let the student's answers differ more (samples and temperature of spec.training.dpo), or choose judges that "
    "tell them apart",
    EQUAL_TEXTS: "raise spec.training.dpo.temperature, or give prompts that have more than one answer",
    TOO_FEW_VERDICTS: "read what the judges wrote, and choose judges that answer in the form they are asked for",
    UNSCORED: "read why its calls failed (failures by reason in the manifest): a model of kind Reward has one label, "
    "and its maxModelLen has room for a prompt with its answer",
    SEED_CONTRADICTED: "measure both on anchors; use another rewardModel, or comparisons Adaptive, which needs none",
    NONE_TO_REJECT: "lower spec.training.dpo.pairs.minRejectedPoints: the last of a clear ranking has 0",
    ORDERS_DISAGREE: "choose judges that tell the answers apart, or let these differ more (samples and temperature of "
    "spec.training.dpo); pairs.consistent: false would train on verdicts that the order made",
    SMALL_MARGIN: "lower spec.training.dpo.pairs.minMargin, or raise samples so that points are finer",
    LENGTHS_DIFFER: "raise spec.training.dpo.pairs.maxLengthDifference; it counts characters",
}
_BY_ORDER = "most verdicts follow the order of the answers and not the answers: choose other judges"


def why_no_pairs(rankings: Sequence[RankingRow], failures: Mapping[str, int]) -> str:
    """What became of every prompt of a judge stage without a pair, with counts, and what to change.

    `failures` are the rows of the stage that failed, by reason. The remedy is that for the most frequent outcome.
    """
    outcomes = Counter(row["outcome"] for row in rankings)
    judged = outcomes.total() + sum(failures.values())
    parts = [f"{MEANS[outcome]}: {count}" for outcome, count in outcomes.most_common() if outcome != PAIR]
    parts += [f"failed as {reason}: {count}" for reason, count in sorted(failures.items())]
    by_order, valid = _orders(rankings)
    if valid:
        parts.append(f"{by_order} of {valid} comparisons changed with the order of the answers")
    told = f"of {judged} prompts that were judged, none gave a pair ({', '.join(parts)})"
    most = next((outcome for outcome, _ in outcomes.most_common() if outcome != PAIR), None)
    if most is None:
        return told
    return f"{told}; {_BY_ORDER if most in (TIE, ORDERS_DISAGREE) and 2 * by_order > valid else _REMEDY[most]}"


def _orders(rankings: Sequence[RankingRow]) -> tuple[int, int]:
    """Comparisons (of a panel, each judge's) whose two verdicts contradict each other, and those with both verdicts."""
    both = [
        (forward, backward)
        for row in rankings
        for comparison in row["comparisons"]
        for forward, backward in comparison["votes"] or [[comparison["forward"], comparison["backward"]]]
        if forward is not None and backward is not None
    ]
    return sum(forward != backward for forward, backward in both), len(both)
