"""A reward model scores answers: alone (method RewardModel), and before judges decide (comparisons Seeded)."""

import random
from collections.abc import Mapping, Sequence

import pytest

from moaa.api.mixture import CriteriaFor, Judge, JudgeMethod
from moaa.api.training import PairRules
from moaa.asking.asker import Asker
from moaa.asking.load import Load
from moaa.asking.reasons import Reason
from moaa.asking.rest import Rest
from moaa.conversation import Message
from moaa.errors import CallError, StageError
from moaa.judge.keep import keep
from moaa.judge.method import Ranked
from moaa.judge.methods import method_of
from moaa.judge.ranking import skipped
from moaa.judge.row import pair_row, ranking_row, trail
from moaa.judge.scalar.ranking import correlation, rank_scores, seconded
from moaa.judge.trail import Role
from tests.unit.calls_scripted import Answer, Asked, AskedScore, ScriptedCaller
from tests.unit.judge_scripted import PROMPTS, by_quality, judge, quality, row, user

ALONE = Judge(method=JudgeMethod.REWARD_MODEL, reward_model="rm")


def seeded(method: str = "Mixture", **fields: object) -> Judge:
    return judge(method, comparisons="Seeded", rewardModel="rm", **fields)


def caller(scores: Mapping[str, float | None] | None = None, answer: Answer = by_quality) -> ScriptedCaller:
    """By text; None fails for good. Without them a text's number is its score."""

    def score(asked: AskedScore) -> float:
        if scores is None:
            return float(quality(asked.answer))
        if (found := scores[asked.answer]) is None:
            raise CallError(Reason.CONTEXT_LENGTH, "too long")
        return found

    return ScriptedCaller(answer, score_of=score)


async def ranked(of: Judge, texts: Sequence[str], asked: ScriptedCaller) -> Ranked:
    return await method_of(of).rank(user("Q"), texts, Asker(asked, PROMPTS))


def numbered(*numbers: int) -> list[str]:
    return [f"answer {n}" for n in numbers]


def what(made: Ranked) -> tuple[str, int | None, int | None]:
    return made.ranking.outcome, made.ranking.chosen, made.ranking.rejected


def compared(made: Ranked) -> list[tuple[int, int]]:
    return [(c.comparison["a"], c.comparison["b"]) for c in made.compared if not skipped(c.comparison)]


async def test_the_highest_score_is_chosen_over_the_lowest_and_margins_are_probabilities() -> None:
    asked = caller()
    made = await ranked(ALONE, numbered(3, 5, 4), asked)
    assert what(made) == ("pair", 1, 0)
    assert made.compared == []
    assert made.scores is not None
    assert made.scores.of == (3.0, 5.0, 4.0)
    # σ(1) = 0.731059, σ(2) = 0.880797: by hand.
    assert made.ranking.points == (0.194072, 0.805928, 0.5)
    assert not asked.asked, "nobody is asked in words"


async def test_an_answer_is_scored_as_the_last_turn_of_its_conversation_and_equal_ones_once() -> None:
    messages = [
        Message(role="system", content="S"),
        Message(role="user", content="U1"),
        Message(role="assistant", content="A1"),
        Message(role="user", content="U2"),
        Message(role="assistant", content="the data's own answer"),
    ]
    asked = caller()
    made = await method_of(ALONE).rank(messages, numbered(1, 2, 1), Asker(asked, PROMPTS))
    assert [(one.path, one.model) for one in asked.asked_scores] == [("score0", "rm"), ("score1", "rm")]
    assert asked.asked_scores[1].answered == (*messages[:4], Message(role="assistant", content="answer 2"))
    assert made.ranking.points[0] == made.ranking.points[2]
    assert what(made) == ("pair", 1, 0), "a draw goes to the lower index"


@pytest.mark.parametrize(
    ("texts", "scores", "outcome"),
    [
        (["x", "x"], {"x": 1.0}, "equal-texts"),
        (["x", "y"], {"x": 1.0, "y": 1.0}, "tie"),
        (["x", "y", "z"], {"x": 1.0, "y": None, "z": 3.0}, "unscored"),
    ],
    ids=["equal texts", "equal scores", "no score"],
)
async def test_prompts_without_a_pair_are_dropped_by_reason(
    texts: list[str], scores: dict[str, float | None], outcome: str
) -> None:
    made = await ranked(ALONE, texts, caller(scores))
    assert what(made) == (outcome, None, None)


async def test_a_failed_score_is_recorded_with_its_reason_and_never_a_number() -> None:
    made = await ranked(ALONE, ["x", "y"], caller({"x": None, "y": -7.0}))
    assert made.ranking.points == (None, None), "nothing it could be preferred to"
    rows = trail("r", made)
    assert [(r["role"], r["a"], r["b"], r["label"], r["failure"]) for r in rows] == [
        ("score", 0, 0, None, "context-length"),
        ("score", 1, 1, "-7.0", ""),
    ]
    stored = ranking_row(row("x", "y"), made)
    assert stored["scores"] == [None, -7.0]
    assert stored["comparisons"] == []


@pytest.mark.parametrize(
    ("mine", "other", "points"), [(2.0, 1.5, 1.0), (1.0, 9.0, 0.0), (3.0, 3.0, 0.5), (None, 1.0, None)]
)
async def test_a_duel_goes_to_the_higher_score(mine: float | None, other: float, points: float | None) -> None:
    asked = caller({"x": mine, "y": other})
    made = await method_of(ALONE).duel("Q", "x", "y", Asker(asked, PROMPTS))
    assert made is not None
    assert made.comparison["score"] == points
    assert (made.comparison["forward"], made.comparison["backward"]) == (None, None), "there is no order"
    assert [(one.role, one.order) for one in made.said] == [(Role.SCORE, "a"), (Role.SCORE, "b")]


async def test_a_duel_of_equal_texts_costs_nothing() -> None:
    asked = caller()
    assert await method_of(ALONE).duel("Q", "x", "x", Asker(asked, PROMPTS)) is None
    assert not asked.asked_scores


def test_rules_on_pairs_read_a_reward_models_points() -> None:
    texts, scores = ["x", "y", "z"], [0.0, 0.1, 0.2]
    made = Ranked(rank_scores(texts, scores), [])
    rules = PairRules.model_validate({"minMargin": "0.5"})
    assert keep(made, row(*texts), rules, seed=1).ranking.outcome == "small-margin"
    pair = pair_row(row(*texts), keep(made, row(*texts), PairRules(), seed=1))
    assert pair is not None
    assert (pair["chosen"], pair["rejected"]) == ("z", "x")


@pytest.mark.parametrize("scores", [[1.0], [1.0, 2.0, 3.0]])
def test_two_samples_need_two_scores(scores: list[float]) -> None:
    with pytest.raises(ValueError, match="2 samples and"):
        rank_scores(["x", "y"], scores)


def test_what_a_reward_model_is_counted_with() -> None:
    [load] = method_of(ALONE).ranking_loads(10, 5, answer_tokens=300)
    assert (load.model, load.calls, load.completion_tokens) == ("rm", 50, 0)
    assert method_of(ALONE).models == ("rm",)


# Seeded


async def test_judges_decide_three_pairs_of_ten_at_the_ends_of_the_order() -> None:
    asked = caller()
    made = await ranked(seeded(), numbered(3, 1, 5, 2, 4), asked)
    assert what(made) == ("pair", 2, 1)
    assert sorted(compared(made)) == [(1, 2), (1, 3), (2, 4)]
    assert len(asked.paths) == 27
    assert len(made.compared) == 10, "what was skipped is marked"
    assert all(c.comparison["score"] is None for c in made.compared if skipped(c.comparison))
    assert made.ranking.points == (None, 0.0, 1.0, 1.0, 0.0), "of those that a judge saw"


async def test_calls_have_the_names_of_round_robin() -> None:
    every, few = caller(), caller()
    await ranked(judge(), numbered(3, 1, 5, 2, 4), every)
    await ranked(seeded(), numbered(3, 1, 5, 2, 4), few)
    assert set(few.paths) < set(every.paths)


async def test_judges_may_choose_another_at_each_end() -> None:
    """The reward model errs about neighbours; the judges' winner and loser of the ends are kept."""
    scores: dict[str, float | None] = {
        "answer 5": 4.0,
        "answer 4": 5.0,
        "answer 3": 3.0,
        "answer 2": 1.0,
        "answer 1": 2.0,
    }
    made = await ranked(seeded(), list(scores), caller(scores))
    assert what(made) == ("pair", 0, 4)
    assert seconded(ranking_row(row(*scores), made)) == (1, 2)


async def test_a_reversed_order_is_dropped_as_contradicted() -> None:
    scores: dict[str, float | None] = {f"answer {n}": -float(n) for n in range(5)}
    made = await ranked(seeded(), list(scores), caller(scores))
    assert what(made) == ("seed-contradicted", None, None)
    stored = ranking_row(row(*scores), made)
    assert seconded(stored) == (0, 3)
    assert pair_row(row(*scores), made) is None


async def test_a_middle_answer_that_wins_above_and_loses_below_is_a_contradiction() -> None:
    def circle(asked: Asked) -> str:
        """1 beats 0, 2 beats 1, whatever the order."""
        if "CRITERIA" in asked.text or "JUDGE" in asked.text:
            return by_quality(asked)
        one = asked.text.split(" a=answer ")[1][0], asked.text.split(" b=answer ")[1][0]
        winner = {frozenset("01"): "1", frozenset("12"): "2"}[frozenset(one)]
        return "[[A]]" if one[0] == winner else "[[B]]"

    scores: dict[str, float | None] = {"answer 0": 3.0, "answer 1": 2.0, "answer 2": 1.0}
    asked = caller(scores, circle)
    made = await ranked(seeded(), list(scores), asked)
    assert what(made) == ("seed-contradicted", None, None)
    assert sorted(compared(made)) == [(0, 1), (1, 2)], "the last comparison would be of one answer with itself"


async def test_draws_at_the_ends_leave_the_reward_models_order_and_a_last_draw_is_a_tie() -> None:
    def first_place(asked: Asked) -> str:
        return by_quality(asked) if "CRITERIA" in asked.text or "JUDGE" in asked.text else "[[A]]"

    made = await ranked(seeded(), numbered(1, 2, 3, 4), caller(answer=first_place))
    assert what(made) == ("tie", None, None)
    assert sorted(compared(made)) == [(0, 1), (0, 3), (2, 3)]
    assert seconded(ranking_row(row(*numbered(1, 2, 3, 4)), made)) == (0, 0), "a draw is for nobody"


async def test_the_reward_model_is_given_up_once_answers_are_scored() -> None:
    gone: list[set[str]] = []
    method, asked = method_of(seeded()), caller()
    rest = Rest(method.models, lambda models: gone.append(set(models)))
    await method.rank(user("Q"), numbered(1, 2, 3, 4), Asker(asked, PROMPTS, rest=rest))
    assert gone == [{"rm"}], "its server may go while the judges are asked"
    with pytest.raises(StageError, match="'rm'"):
        await Asker(asked, PROMPTS, rest=rest).score("rm", user("Q"))


async def test_two_answers_are_compared_once() -> None:
    asked = caller()
    made = await ranked(seeded(), numbered(1, 2, 1), asked)
    assert what(made) == ("pair", 1, 0)
    assert len(asked.paths) == 9
    assert made.ranking.points == (0.25, 1.0, 0.5), "equal texts share the point, as in any ranking"


async def test_an_answer_without_a_score_costs_no_verdict() -> None:
    scores: dict[str, float | None] = {"answer 1": 1.0, "answer 2": None, "answer 3": 3.0}
    asked = caller(scores)
    made = await ranked(seeded(), list(scores), asked)
    assert what(made) == ("unscored", None, None)
    assert asked.paths == []
    assert all(len(skipped(c.comparison)) == 2 for c in made.compared)


async def test_verdicts_that_cannot_be_read_drop_the_prompt() -> None:
    def mute(asked: Asked) -> str:
        return by_quality(asked) if "CRITERIA" in asked.text else "I cannot say"

    made = await ranked(seeded(), numbered(1, 2, 3, 4), caller(answer=mute))
    assert what(made) == ("too-few-verdicts", None, None)
    assert sorted(compared(made)) == [(0, 1), (2, 3)], "the last comparison is not paid for"


@pytest.mark.parametrize("method", ["Mixture", "Single", "Panel"])
@pytest.mark.parametrize("size", [2, 4, 5, 8])
async def test_the_plan_counts_what_is_asked(method: str, size: int) -> None:
    of = seeded(method)
    asked = caller()
    await ranked(of, numbered(*range(size)), asked)
    loads = list(method_of(of).ranking_loads(1, size, answer_tokens=10))
    assert _calls(loads, "rm") == len(asked.asked_scores) == size
    assert sum(load.calls for load in loads) - size == len(asked.paths)


async def test_criteria_of_the_prompt_are_chosen_once() -> None:
    asked = caller()
    of = seeded(criteriaFor="Prompt")
    assert of.criteria_for is CriteriaFor.PROMPT
    made = await ranked(of, numbered(*range(5)), asked)
    assert [path for path in asked.paths if path.endswith("criteria")] == ["criteria"]
    assert len(asked.paths) == 25
    said = [one for c in made.compared for one in c.said if one.role is Role.CRITERIA]
    assert len(said) == 1, "what was said once stands once"


@pytest.mark.parametrize("seed", range(20))
async def test_a_pair_has_points_and_the_chosen_more_of_them(seed: int) -> None:
    """Whatever scores and verdicts are, a kept pair was compared and its margin is above 0."""
    rng = random.Random(seed)
    size = rng.choice([2, 3, 4, 6])
    texts = numbered(*(rng.randrange(size) for _ in range(size)))
    scores: dict[str, float | None] = {text: rng.choice([0.0, 1.0, 2.0]) for text in texts}

    def noise(asked: Asked) -> str:
        if "CRITERIA" in asked.text or "JUDGE" in asked.text:
            return by_quality(asked)
        return rng.choice(["[[A]]", "[[B]]", "[[A]]", "[[B]]", "nothing"])

    made = await ranked(seeded(), texts, caller(scores, noise))
    if (pair := pair_row(row(*texts), made)) is not None:
        assert pair["chosen"] != pair["rejected"]
        assert pair["chosen_points"] > pair["rejected_points"]


async def test_models_and_roles_of_a_seeded_judge() -> None:
    method = method_of(seeded())
    assert method.models == ("rm", "agg", "j0", "j1", "j2")
    assert ("rm", "reward model") in method.roles


@pytest.mark.parametrize(("agreed", "opposed", "found"), [(3, 1, 0.5), (0, 2, -1.0), (0, 0, None)])
def test_the_correlation_of_scores_and_verdicts(agreed: int, opposed: int, found: float | None) -> None:
    assert correlation(agreed, opposed) == found


def _calls(loads: Sequence[Load], model: str) -> int:
    return sum(load.calls for load in loads if load.model == model)
