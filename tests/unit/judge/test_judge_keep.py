"""Which pairs `training.dpo.pairs` keeps, and under which rule a prompt counts that gives none."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moaa.api.training import PairRules
from moaa.asking.asker import Asker
from moaa.judge.keep import keep
from moaa.judge.method import Compared, Ranked
from moaa.judge.ranking import BY_RULE, needed, rank
from moaa.judge.row import pair_row, ranking_row
from moaa.rows import Comparison
from tests.unit.calls_scripted import ScriptedCaller
from tests.unit.judge_scripted import CHOICE, PROMPTS, by_quality, judge, judge_row, row

LENGTHS = (40, 30, 10, 20)
TEXTS = tuple(letter * length for letter, length in zip("wxyz", LENGTHS, strict=True))


def judged(a: int, b: int, forward: int | None, backward: int | None, score: float | None = None) -> Comparison:
    if score is None and forward is not None and backward is not None:
        score = (forward + backward) / 2
    return Comparison(
        a=a, b=b, criteria=[], chosen=False, score=score, forward=forward, backward=backward, votes=[]
    )  # fmt: skip


def ranked(*comparisons: Comparison, texts: tuple[str, ...] = TEXTS) -> Ranked:
    return Ranked(rank(texts, comparisons), [Compared(c, ()) for c in comparisons])


def clear(**changed: Comparison) -> Ranked:
    """0 beats 1 beats 2 beats 3, points 1, 2/3, 1/3, 0; `c03` and so on replace a comparison."""
    pairs = [(a, b) for a, b in needed(TEXTS)]
    return ranked(*(changed.get(f"c{a}{b}", judged(a, b, 1, 1)) for a, b in pairs))


def kept(made: Ranked, *, id: str = "r", seed: int = 0, texts: tuple[str, ...] = TEXTS, **rules: Any) -> Any:
    """(chosen, rejected) or the outcome."""
    ranking = keep(made, row(*texts, id=id), PairRules.model_validate(rules), seed=seed).ranking
    return (ranking.chosen, ranking.rejected) if ranking.outcome == "pair" else ranking.outcome


def test_without_rules_every_ranking_stays_as_it_is() -> None:
    for made in (clear(), clear(c03=judged(0, 3, 1, 0)), ranked(*(judged(a, b, 1, 0) for a, b in needed(TEXTS)))):
        assert keep(made, row(*TEXTS), PairRules(), seed=0) == made


def test_a_pair_that_the_order_decided_is_dropped() -> None:
    by_order = clear(c03=judged(0, 3, 1, 0))
    assert kept(by_order) == (0, 3)
    assert kept(by_order, consistent=True) == "orders-disagree"
    assert kept(clear(c01=judged(0, 1, 1, 0)), consistent=True) == (0, 3), "only the pair's own comparison counts"


def test_a_pair_whose_own_comparison_names_the_other_answer_or_failed_is_dropped() -> None:
    assert kept(clear(c03=judged(0, 3, None, 1)), consistent=True) == "orders-disagree"
    upset = clear(c03=judged(0, 3, 0, 0))  # 0 and 1 have 2/3 each, 2 and 3 have 1/3; draws go to who won
    assert kept(upset) == (0, 3)
    assert kept(upset, consistent=True) == "orders-disagree"


def test_a_panel_has_to_hold_as_a_whole() -> None:
    """Each order has a majority for 0 of other judges, so its score is a draw."""
    split = clear(c03=judged(0, 3, 1, 1, 0.5))
    assert kept(split) == (0, 3)
    assert kept(split, consistent=True) == "orders-disagree"


def test_a_share_of_log_probabilities_holds_by_its_side() -> None:
    assert kept(clear(c03=judged(0, 3, 1, 1, 0.6)), consistent=True) == (0, 3)
    assert kept(clear(c03=judged(0, 3, 1, 0, 0.6)), consistent=True) == "orders-disagree"


def test_a_small_margin_is_dropped_and_one_that_is_just_met_is_not() -> None:
    assert kept(clear(), minMargin="1") == (0, 3)
    near = ranked(judged(0, 1, 1, 1), judged(0, 2, 1, 0), judged(1, 2, 1, 0), texts=TEXTS[:3])  # 0.75, 0.25, 0.5
    assert kept(near, texts=TEXTS[:3], minMargin="0.5") == (0, 1)
    assert kept(near, texts=TEXTS[:3], minMargin="0.500001") == "small-margin"


def test_rounding_of_points_drops_nothing() -> None:
    """Six samples: 3/5 less 2/5 is a little under 0.2 as floats."""
    texts = tuple(f"answer {i}" for i in range(6))
    cycle = {(a, b): 1 if (b - a) in (1, 2, 3) else 0 for a, b in needed(texts)}
    made = ranked(*(judged(a, b, won, won) for (a, b), won in cycle.items()), texts=texts)
    ranking = made.ranking
    assert ranking.chosen is not None
    assert ranking.rejected is not None
    best, worst = ranking.points[ranking.chosen], ranking.points[ranking.rejected]
    assert (best, worst) == (0.6, 0.4)
    assert 0.6 - 0.4 < 0.2
    assert kept(made, texts=texts, minMargin="0.2") == (ranking.chosen, ranking.rejected)


def test_answers_of_other_lengths_are_dropped() -> None:
    assert kept(clear(), maxLengthDifference=20) == (0, 3)
    assert kept(clear(), maxLengthDifference=19) == "lengths-differ"


def test_a_floor_takes_a_nearer_opponent() -> None:
    assert kept(clear(), minRejectedPoints="0.3") == (0, 2)
    assert kept(clear(), minRejectedPoints="0.5") == (0, 1)
    assert kept(clear(), minRejectedPoints="0.7") == "none-to-reject"
    assert kept(clear(c12=judged(1, 2, 1, 0)), minRejectedPoints="0.3") == (0, 1), "a draw goes by the lower index"


def test_a_rejected_answer_is_never_the_chosen_text() -> None:
    texts = ("a", "b", "a", "c")  # 0 has 5/6, 1 has 2/3, 2 has 1/2, 3 has none
    won = [judged(a, b, 1, 1) for a, b in needed(texts)]
    made = ranked(*won, texts=texts)
    drawn = {kept(made, id=str(i), texts=texts, rejected="Random") for i in range(60)}
    assert drawn == {(0, 1), (0, 3)}


def test_random_draws_any_answer_below_the_best_by_seed_and_row() -> None:
    drawn = [kept(clear(), id=str(i), rejected="Random") for i in range(300)]
    assert drawn == [kept(clear(), id=str(i), rejected="Random") for i in range(300)]
    assert drawn != [kept(clear(), id=str(i), seed=1, rejected="Random") for i in range(300)]
    counts = [drawn.count((0, i)) for i in (1, 2, 3)]
    assert sum(counts) == 300
    assert min(counts) > 70
    floor = {kept(clear(), id=str(i), rejected="Random", minRejectedPoints="0.3") for i in range(60)}
    assert floor == {(0, 1), (0, 2)}


def test_a_prompt_counts_under_the_first_rule_it_breaks() -> None:
    every: dict[str, Any] = {"consistent": True, "minMargin": "1", "maxLengthDifference": 0}
    by_order = clear(c03=judged(0, 3, 1, 0))
    assert kept(by_order, **every) == "orders-disagree"
    assert kept(by_order, **(every | {"consistent": False})) == "small-margin"
    assert kept(clear(), **every) == "lengths-differ"
    assert kept(clear(), **every, minRejectedPoints="0.9") == "none-to-reject"


def test_a_prompt_without_a_pair_keeps_its_own_reason() -> None:
    tied = ranked(*(judged(a, b, 1, 0) for a, b in needed(TEXTS)))
    assert kept(tied, consistent=True, minMargin="1") == "tie"
    assert kept(ranked(texts=("x", "x")), texts=("x", "x"), consistent=True) == "equal-texts"


def test_a_dropped_prompt_keeps_its_points_and_gives_no_row() -> None:
    sample = row(*TEXTS)
    made = keep(clear(), sample, PairRules(max_length_difference=0), seed=0)
    assert pair_row(sample, made) is None
    assert ranking_row(sample, made)["points"] == list(clear().ranking.points)
    assert ranking_row(sample, made)["outcome"] == "lengths-differ"


VERDICT = st.sampled_from([0, 1, None])


@given(
    verdicts=st.lists(st.tuples(VERDICT, VERDICT), min_size=6, max_size=6),
    rejected=st.sampled_from(["Worst", "Random"]),
    consistent=st.booleans(),
    margin=st.sampled_from([None, "0.1", "0.5", "1"]),
    least=st.sampled_from([None, "0.1", "0.5"]),
    apart=st.sampled_from([None, 0, 10, 25]),
)
def test_a_kept_pair_meets_every_rule(
    verdicts: list[tuple[int | None, int | None]],
    rejected: str,
    consistent: bool,
    margin: str | None,
    least: str | None,
    apart: int | None,
) -> None:
    made = ranked(*(judged(a, b, *one) for (a, b), one in zip(needed(TEXTS), verdicts, strict=True)))
    rules = {"rejected": rejected, "consistent": consistent, "minMargin": margin, "minRejectedPoints": least,
             "maxLengthDifference": apart}  # fmt: skip
    found = keep(made, row(*TEXTS), PairRules.model_validate(rules), seed=3).ranking
    assert found.points == made.ranking.points
    if made.ranking.outcome != "pair":
        assert found == made.ranking
        return
    if found.outcome != "pair":
        assert found.outcome in BY_RULE
        assert (found.chosen, found.rejected) == (None, None)
        return
    assert found.chosen == made.ranking.chosen
    assert found.chosen is not None
    assert found.rejected is not None
    top, low = found.points[found.chosen], found.points[found.rejected]
    assert top is not None
    assert low is not None
    assert top > low
    assert top - low >= float(margin or 0) - 1e-9
    assert low >= float(least or 0) - 1e-9
    assert apart is None or abs(LENGTHS[found.chosen] - LENGTHS[found.rejected]) <= apart
    if consistent:
        a, b = sorted((found.chosen, found.rejected))
        between = next(c.comparison for c in made.compared if (c.comparison["a"], c.comparison["b"]) == (a, b))
        assert between["forward"] == between["backward"] == int(found.chosen == a)


@pytest.mark.parametrize("method", ["Mixture", "Single", "Panel"])
async def test_judges_that_know_give_pairs_that_hold(method: str) -> None:
    """Whatever the method, and by verdicts that were asked for."""
    sample = row("answer 1", "answer 2", "answer 3")
    caller = ScriptedCaller(by_quality)
    _, pair = await judge_row(sample, judge(method), Asker(caller, PROMPTS), PairRules(consistent=True))
    assert pair is not None
    assert (pair["chosen"], pair["rejected"]) == ("answer 3", "answer 1")


async def test_a_judge_that_leans_on_the_order_gives_none() -> None:
    """It sees 3 against 1 by their order alone, and the rest right."""

    def leaning(asked: Any) -> str:
        content = asked.messages[0]["content"]
        if content.startswith("CRITERIA"):
            return CHOICE
        return "[[A]]" if "answer 1" in content and "answer 3" in content else by_quality(asked)

    sample = row("answer 1", "answer 2", "answer 3")
    asker = Asker(ScriptedCaller(leaning), PROMPTS)
    made, pair = await judge_row(sample, judge("Single"), asker, PairRules(consistent=True))
    assert (made["outcome"], pair) == ("orders-disagree", None)
    _, loose = await judge_row(sample, judge("Single"), Asker(ScriptedCaller(leaning), PROMPTS))
    assert loose is not None
