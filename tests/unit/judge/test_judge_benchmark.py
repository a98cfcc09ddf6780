"""`python -m benchmarks.judging`: its figures are those of the strategies; stored rankings are replayed as they are."""

import json
import random
import sys
from pathlib import Path

import pytest

from benchmarks import judging
from moaa.api.mixture import CriteriaFor
from moaa.judge.method import Compared, Ranked
from moaa.judge.ranking import Ranking, skipped
from moaa.rows import Comparison, RankingRow
from tests.unit.judge_scripted import user


def compared(a: int, b: int, forward: int | None, backward: int | None, *skipped: str) -> Comparison:
    score = None if skipped or forward is None or backward is None else (forward + backward) / 2
    return Comparison(
        a=a, b=b, criteria=[], chosen=False, score=score, forward=forward, backward=backward, votes=[],
        skipped=list(skipped),
    )  # fmt: skip


def stored(*comparisons: Comparison, samples: list[str]) -> RankingRow:
    return RankingRow(
        id="r", messages=user("Q"), samples=samples, points=[], comparisons=list(comparisons), outcome="pair"
    )


async def test_a_stored_ranking_gives_the_same_ranking_again() -> None:
    ranking = stored(compared(0, 1, 1, 0), compared(0, 2, 1, 1), compared(1, 2, None, 1), samples=["x", "y", "z"])
    contest = judging.replayed(ranking)
    assert contest is not None
    assert judging.strategies(contest).keys() == {judging.BASE, "Adaptive"}, "a reward model has no qualities to see"
    method, scorer = judging.strategies(contest)[judging.BASE]
    made = await method.rank(user("Q"), contest.texts, judging.asker(scorer))
    again = [{**c.comparison, "criteria": [], "skipped": []} for c in made.compared]
    assert again == ranking["comparisons"]
    assert list(judging.consistency(contest)) == [False, True]


def test_equal_texts_have_one_verdict_and_a_part_of_a_ranking_is_none() -> None:
    twice = stored(compared(0, 1, 1, 1), compared(1, 2, 0, 0), samples=["x", "y", "x"])
    contest = judging.replayed(twice)
    assert contest is not None
    assert contest.table == {(2, 1): True, (1, 2): False}
    assert judging.replayed(stored(compared(0, 1, 1, None, "ba"), samples=["x", "y"])) is None
    assert judging.replayed(stored(samples=["x", "y"])) is None, "a reward model's, which compares nothing"


def test_what_was_skipped_costs_nothing() -> None:
    asked = [compared(0, 1, 1, 1), compared(0, 2, 1, None, "ba"), compared(1, 2, None, None, "ab", "ba")]
    made = Ranked(Ranking((1.0, 0.5, 0.0), "pair", 0, 2), [Compared(c, ()) for c in asked])
    calls = {criteria: judging.cost(made, criteria)[0] for criteria in CriteriaFor}
    assert calls == {CriteriaFor.PAIR: 2 + 3 * 4, CriteriaFor.PROMPT: 1 + 3 * 4}


def test_it_prints_every_line_and_ends_with_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(judging, "SIZES", (4,))
    monkeypatch.setattr(judging, "JUDGES", ((10.0, 0.0),))
    monkeypatch.setattr(sys, "argv", ["judging", "--prompts", "3"])
    assert judging.main() == 1
    told = capsys.readouterr().out.splitlines()
    found = json.loads(told[-1])
    assert [line["strategy"] for line in found["lines"]] == [
        "RoundRobin, criteria of the prompt", "Adaptive", "Adaptive, criteria of the prompt",
        "Seeded, r = 0.9", "Seeded, r = 0.9, criteria of the prompt",
        "Seeded, r = 0.6", "Seeded, r = 0.6, criteria of the prompt",
    ]  # fmt: skip
    assert found["lines"][0]["same_pair"] == 1.0
    assert found["lines"][0]["calls"] == pytest.approx((48 + 1) / (48 + 6))
    assert 0 < found["lines"][2]["calls"] < found["lines"][1]["calls"] < 1
    assert found["lines"][3]["calls"] == pytest.approx((27 + 4) / (48 + 6)), "scores are calls, too"
    assert all(0 <= line["dropped"] <= 1 - line["same_pair"] for line in found["lines"])
    assert found["missed"] == sum(line["calls"] > 0.5 or line["same_pair"] < 0.95 for line in found["lines"])
    monkeypatch.setattr(sys, "argv", ["judging", "--prompts", "1", "--store", str(tmp_path)])
    with pytest.raises(SystemExit, match="no finished judge stage"):
        judging.main()


def test_no_pair_is_an_end_like_any_other() -> None:
    contest = judging.Contest(("a", "b"), {})
    nothing, pair = judging.Found(None, 1, 1, None), judging.Found((0, 1), 2, 2, 1.0)
    made = judging.line("j", [contest] * 2, "s", [nothing, pair], [nothing, judging.Found((1, 0), 2, 2, 0.5)])
    assert (made.same_pair, made.same_best, made.same_worst) == (0.5, 0.0, 0.0)
    assert (made.gap, made.full_gap) == (1.0, 0.5)


@pytest.mark.parametrize("seed", range(24))
async def test_whatever_judges_say_adaptive_ends_with_a_pair_that_its_points_bear(seed: int) -> None:
    rng = random.Random(seed)
    size = rng.randint(2, 6)
    texts = tuple(f"text {rng.randint(0, size)}" for _ in range(size))
    numbers = {text: number for number, text in enumerate(texts)}
    table = {
        (i, j): rng.choices([True, False, None, i < j], [4, 4, seed % 3, 4])[0]
        for i in range(size)
        for j in range(size)
        if i != j
    }
    methods = judging.strategies(judging.Contest(texts, table))
    (adaptive, nobody), (every, _) = methods["Adaptive"], methods[judging.BASE]
    made = await adaptive.rank(user("Q"), texts, judging.asker(nobody), confirms=seed % 2 == 0)
    full = await every.rank(user("Q"), texts, judging.asker(nobody))
    assert [(c.comparison["a"], c.comparison["b"]) for c in made.compared] == [
        (c.comparison["a"], c.comparison["b"]) for c in full.compared
    ]
    for one, other in zip(made.compared, full.compared, strict=True):
        left_out = skipped(one.comparison)
        assert all(one.comparison[key] in (None, other.comparison[key]) for key in ("score", "forward", "backward"))
        assert left_out or one == other
    if not any(skipped(c.comparison) for c in made.compared):
        assert made.ranking == full.ranking
    ranking = made.ranking
    if ranking.outcome == "pair":
        assert ranking.chosen is not None
        assert ranking.rejected is not None
        assert (ranking.points[ranking.chosen] or 0) > (ranking.points[ranking.rejected] or 0)
        assert numbers[texts[ranking.chosen]] != numbers[texts[ranking.rejected]]
        a, b = sorted((ranking.chosen, ranking.rejected))
        [own] = [c.comparison for c in made.compared if (c.comparison["a"], c.comparison["b"]) == (a, b)]
        assert seed % 2 or not skipped(own) or None in (table[a, b], table[b, a])
    if ranking.outcome == "too-few-verdicts":
        assert None in ranking.points
