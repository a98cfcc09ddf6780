"""Comparisons Adaptive: what it asks, when it stops, what it marks, and that nothing is asked twice."""

import math
import random
import re
from collections.abc import Callable, Sequence

import pytest

from moaa.api.mixture import Comparisons, Judge
from moaa.api.training import PairRules
from moaa.asking.asker import Asker
from moaa.asking.load import Load
from moaa.asking.reasons import Reason
from moaa.errors import CallError
from moaa.judge.adaptive.asking import Adaptive
from moaa.judge.adaptive.belief import DRAWS, Contest, Heard, believe, most_telling, opening
from moaa.judge.keep import keep
from moaa.judge.method import Ranked
from moaa.judge.methods import method_of
from moaa.judge.ranking import Ranking, asked_points, skipped
from moaa.judge.row import pair_row, ranking_row
from moaa.judge.trail import Role
from moaa.rows import Comparison
from tests.unit.calls_scripted import Asked, ScriptedCaller
from tests.unit.judge_scripted import CHOICE, PROMPTS, by_quality, judge, row, user

Answer = Callable[[Asked], str]


def adaptive(method: str = "Mixture", **fields: object) -> Judge:
    return judge(method, **fields).model_copy(update={"comparisons": Comparisons.ADAPTIVE})


async def ranked(
    answer: Answer, texts: Sequence[str], of: Judge, *, confirms: bool = False
) -> tuple[Ranked, list[str]]:
    caller = ScriptedCaller(answer)
    made = await method_of(of).rank(user("Q"), texts, Asker(caller, PROMPTS), confirms=confirms)
    return made, caller.paths


def noisy(seed: int, size: int, *, sharp: float, bias: float) -> Answer:
    """A judge that sees qualities through noise and leans to the first place; asked again it says the same."""
    rng = random.Random(seed)
    quality = [rng.gauss(0, 1) for _ in range(size)]
    first_wins = {
        (i, j): rng.random() < 1 / (1 + math.exp(-sharp * (quality[i] - quality[j]) - bias))
        for i in range(size)
        for j in range(size)
    }

    def answer(asked: Asked) -> str:
        if "CRITERIA" in asked.text:
            return CHOICE
        if "JUDGE" in asked.text:
            return "evaluation"
        first, second = map(int, re.findall(r"answer (\d+)", asked.text)[:2])
        return "[[A]]" if first_wins[first, second] else "[[B]]"

    return answer


def texts(size: int) -> list[str]:
    return [f"answer {i}" for i in range(size)]


def what(made: Ranked) -> tuple[str, int | None, int | None]:
    return made.ranking.outcome, made.ranking.chosen, made.ranking.rejected


async def test_a_clear_contest_is_decided_by_a_part_of_the_calls() -> None:
    full, everything = await ranked(by_quality, texts(6), judge())
    made, asked = await ranked(by_quality, texts(6), adaptive())
    assert what(made) == what(full) == ("pair", 5, 0)
    assert len(asked) < 0.6 * len(everything)
    assert set(asked) < set(everything), "calls have the names of RoundRobin, so an edit finds what was paid for"


async def test_noisy_judges_end_with_the_pair_of_the_full_ranking() -> None:
    same = calls = full_calls = 0
    for seed in range(20):
        answer = noisy(seed, 5, sharp=4, bias=0.7)
        full, everything = await ranked(answer, texts(5), judge("Single"))
        made, asked = await ranked(answer, texts(5), adaptive("Single"))
        same, calls, full_calls = same + (what(made) == what(full)), calls + len(asked), full_calls + len(everything)
    assert same >= 19
    assert calls < 0.75 * full_calls


async def test_what_was_skipped_is_marked_and_has_no_score() -> None:
    made, asked = await ranked(by_quality, texts(6), adaptive())
    comparisons = [c.comparison for c in made.compared]
    assert [(c["a"], c["b"]) for c in comparisons] == [(a, b) for a in range(6) for b in range(a + 1, 6)]
    for one in made.compared:
        c = one.comparison
        orders = [o for o in ("ab", "ba") if any(path.startswith(f"c{c['a']}-{c['b']}/{o}/") for path in asked)]
        assert [o for o in ("ab", "ba") if o not in skipped(c)] == orders
        assert (c["score"] is None) == bool(skipped(c))
        assert (c["forward"] is None) == ("ab" in skipped(c))
        assert (c["backward"] is None) == ("ba" in skipped(c))
        assert {said.order for said in one.said} - {""} == set(orders)
        assert bool(c["criteria"]) == bool(orders)
    assert any(len(skipped(c)) == 2 for c in comparisons)
    assert any(len(skipped(c)) == 1 for c in comparisons)


async def test_steps_follow_from_the_verdicts_so_a_resumed_row_asks_the_same() -> None:
    answer = noisy(3, 5, sharp=2, bias=0.5)
    first, asked = await ranked(answer, texts(5), adaptive())
    again, asked_again = await ranked(answer, texts(5), adaptive())
    assert (first, asked) == (again, asked_again)


async def test_judges_that_contradict_themselves_are_asked_everything() -> None:
    def first_place(asked: Asked) -> str:
        return CHOICE if "CRITERIA" in asked.text else "[[A]]"

    full, everything = await ranked(first_place, texts(4), judge("Single"))
    made, asked = await ranked(first_place, texts(4), adaptive("Single"))
    assert asked == everything
    assert ranking_row(row(*texts(4)), made) == ranking_row(row(*texts(4)), full)
    assert what(made) == ("tie", None, None)


async def test_two_answers_are_judged_in_both_orders() -> None:
    assert await ranked(by_quality, texts(2), adaptive()) == await ranked(by_quality, texts(2), judge())


async def test_equal_texts_share_the_point_without_a_call() -> None:
    made, asked = await ranked(by_quality, ["same", "same"], adaptive())
    assert (what(made), asked) == (("equal-texts", None, None), [])
    doubled = ["answer 1", "answer 4", "answer 1", "answer 3", "answer 2", "answer 4"]
    full, _ = await ranked(by_quality, doubled, judge())
    made, _ = await ranked(by_quality, doubled, adaptive())
    assert what(made) == what(full)


async def test_one_answer_cannot_be_ranked() -> None:
    with pytest.raises(ValueError, match="a ranking needs two"):
        await ranked(by_quality, ["alone"], adaptive())


async def test_a_failed_order_costs_its_pair_and_the_other_order_is_not_asked() -> None:
    def answer(asked: Asked) -> str:
        if asked.path.startswith("c0-1/ab/"):
            raise CallError(Reason.CONTEXT_LENGTH, "too long")
        return by_quality(asked)

    made, asked = await ranked(answer, texts(5), adaptive("Single"))
    [failed] = [c.comparison for c in made.compared if (c.comparison["a"], c.comparison["b"]) == (0, 1)]
    assert (failed["score"], failed["forward"], skipped(failed)) == (None, None, ["ba"])
    assert what(made) == ("pair", 4, 0)
    assert not any(path.startswith("c0-1/ba") for path in asked)


async def test_a_sample_without_verdicts_ends_the_prompt_early() -> None:
    def answer(asked: Asked) -> str:
        if "answer 0" in asked.text and "CRITERIA" not in asked.text:
            raise CallError(Reason.CONTEXT_LENGTH, "too long")
        return by_quality(asked)

    full, everything = await ranked(answer, texts(5), judge("Single"))
    made, asked = await ranked(answer, texts(5), adaptive("Single"))
    assert full.ranking.outcome == made.ranking.outcome == "too-few-verdicts"
    assert len(asked) < len(everything) / 2
    assert made.ranking.points[0] is None


async def test_a_failure_that_may_pass_fails_the_row() -> None:
    def answer(asked: Asked) -> str:
        if asked.path.startswith("c1-2/"):
            raise CallError(Reason.TIMEOUT, "slow")
        return by_quality(asked)

    with pytest.raises(CallError, match="slow"):
        await ranked(answer, texts(4), adaptive())


@pytest.mark.parametrize("method", ["Mixture", "Panel"])
async def test_the_pair_is_compared_in_both_orders_where_a_rule_reads_them(method: str) -> None:
    made, asked = await ranked(by_quality, texts(6), adaptive(method), confirms=True)
    plain, without = await ranked(by_quality, texts(6), adaptive(method))
    assert what(made) == what(plain) == ("pair", 5, 0)
    assert len(asked) >= len(without)
    kept = keep(made, row(*texts(6)), PairRules(consistent=True), seed=0)
    assert kept.ranking.outcome == "pair"
    pair = pair_row(row(*texts(6)), kept)
    assert pair is not None
    assert (pair["chosen"], pair["rejected"]) == ("answer 5", "answer 0")
    assert pair["chosen_points"] > pair["rejected_points"]


def test_points_count_a_single_order_half_as_much() -> None:
    def compared(a: int, b: int, forward: int | None, backward: int | None, *left_out: str) -> Comparison:
        score = None if left_out or forward is None or backward is None else (forward + backward) / 2
        return Comparison(
            a=a, b=b, criteria=[], chosen=False, score=score, forward=forward, backward=backward, votes=[],
            skipped=list(left_out),
        )  # fmt: skip

    found = asked_points(
        ["x", "y", "z"],
        [compared(0, 1, 1, 0), compared(0, 2, 1, None, "ba"), compared(1, 2, None, None, "ab", "ba")],
    )
    assert found == (2 / 3, 0.5, 0.0)
    one_failed = [compared(0, 1, None, None, "ba"), compared(0, 2, 1, 1), compared(1, 2, 1, None, "ba")]
    assert asked_points(["x", "y", "z"], one_failed) == (1.0, 1.0, 0.0)
    none_asked = [compared(0, 1, None, None, "ab", "ba"), compared(0, 2, None, None, "ab", "ba")]
    assert asked_points(["x", "y", "z"], none_asked) == (None, None, None)


def test_the_opening_gives_each_sample_each_place_once() -> None:
    contest = Contest(4, {(a, b): Heard() for a in range(4) for b in range(a + 1, 4)}, ())
    places = [(a, b) if order == "ab" else (b, a) for a, b, order in opening(contest)]
    assert sorted(first for first, _ in places) == sorted(second for _, second in places) == [0, 1, 2, 3]


def test_belief_is_certain_of_a_whole_contest_and_asks_about_doubtful_places() -> None:
    won = {(0, 1): 1.0, (0, 2): 1.0, (1, 2): 1.0}
    whole = Contest(3, {pair: Heard(1.0, 1.0, score) for pair, score in won.items()}, ())
    belief = believe(whole, random.Random(0))
    assert belief.ends == {(0, 2): DRAWS}
    # 3 lost to all in both orders; 0 and 1 are level but for their own comparison.
    seen = {(a, b): Heard(1.0, 1.0, 1.0) for a, b in [(0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]} | {(0, 1): Heard(1.0)}
    contest = Contest(4, seen, ())
    belief = believe(contest, random.Random(0))
    assert belief.odds(1, 3) == 1.0
    assert most_telling(contest, belief, 3) == [(0, 1, "ba")]


def test_the_forecast_lies_between_the_first_step_and_all_comparisons() -> None:
    method = method_of(adaptive())
    assert isinstance(method, Adaptive)

    def calls(loads: Sequence[Load]) -> int:
        return sum(load.calls for load in loads)

    usual = calls(list(method.ranking_loads(100, 5, answer_tokens=1)))
    least = calls(list(method.least_loads(100, 5, answer_tokens=1)))
    most = calls(list(method.every.ranking_loads(100, 5, answer_tokens=1)))
    assert (least, usual, most) == (2500, 5840, 9000)
    two = [list(kind(100, 2, answer_tokens=1)) for kind in (method.ranking_loads, method.every.ranking_loads)]
    assert two[0] == two[1], "two answers are always judged in both orders"


def test_a_ranking_keeps_its_pair_where_points_are_over_few_verdicts() -> None:
    made = Ranked(Ranking((0.75, 1.0, 0.0), "pair", 0, 2), [])
    assert keep(made, row("x", "y", "z"), PairRules(), seed=0).ranking == made.ranking


@pytest.mark.parametrize("of", [judge, adaptive], ids=["RoundRobin", "Adaptive"])
async def test_criteria_of_a_prompt_are_chosen_once_before_any_answer_is_seen(of: Callable[..., Judge]) -> None:
    caller = ScriptedCaller(by_quality)
    made = await method_of(of(criteriaFor="Prompt")).rank(user("Q"), texts(4), Asker(caller, PROMPTS))
    [asked] = [one for one in caller.asked if "criteria" in one.path]
    assert (asked.path, asked.model) == ("criteria", "agg")
    assert asked.text.startswith("<user>CRITERIA-OF q=Q 3 of Instruction adherence;")
    assert "answer" not in asked.text
    assert what(made) == ("pair", 3, 0)
    heard = [c for c in made.compared if len(skipped(c.comparison)) < 2]
    assert {tuple(c.comparison["criteria"]) for c in heard} == {("Accuracy", "Depth", "Safety")}
    assert all(c.comparison["chosen"] for c in heard)
    assert [said.role for c in made.compared for said in c.said].count(Role.CRITERIA) == 1
    assert all(c.comparison["criteria"] == [] for c in made.compared if c not in heard)


async def test_a_duel_is_judged_by_the_criteria_of_its_prompt_and_equal_texts_by_none() -> None:
    caller = ScriptedCaller(by_quality)
    one = method_of(judge("Single", criteriaFor="Prompt"))
    assert await one.duel("Q", "answer 1", "answer 2", Asker(caller, PROMPTS)) is not None
    assert caller.paths == ["c0-1/ab/single", "c0-1/ba/single", "c0-1/criteria"]
    assert caller.at("c0-1/criteria").text.startswith("<user>CRITERIA-OF q=Q")
    nobody = ScriptedCaller(by_quality)
    await one.rank(user("Q"), ["same", "same"], Asker(nobody, PROMPTS))
    assert nobody.asked == []


def test_criteria_of_a_prompt_are_counted_once_and_read_no_answer() -> None:
    per_pair, per_prompt = (
        list(method_of(judge(**fields)).ranking_loads(100, 5, answer_tokens=1000))
        for fields in ({}, {"criteriaFor": "Prompt"})
    )
    assert [one.calls for one in per_pair][:2] == [1000, 2000]
    assert [one.calls for one in per_prompt][:2] == [100, 2000]
    assert per_pair[0].prompt_tokens - per_prompt[0].prompt_tokens == 2000
    assert per_pair[1:] == per_prompt[1:]
    assert next(iter(method_of(judge(criteriaFor="Prompt")).duel_loads(100, answer_tokens=1000))) == per_prompt[0]
    assert method_of(judge(criteriaFor="Prompt")).prompts[:2] == ("criterion", "prompt_criteria")
    assert "prompt_criteria" not in method_of(judge(criteriaFor="Prompt", criteria=0)).prompts
