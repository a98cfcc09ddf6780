"""What a stage says against its members: null judges are named, sound ones are not, few comparisons accuse nobody."""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import pytest

from moaa.plan.result import WARNING_BYTES
from moaa.store.stages.manifest import TokenUsage
from moaa_jobs.runner.binomial import at_least
from moaa_jobs.runner.health import Health
from moaa_jobs.runner.members import JUDGEMENTS_TRAIL, PROPOSALS_TRAIL

Judge = Callable[[str, str, Random], str | None]
"""The letter for two answers, shown as A and B; None: unreadable."""


def quality(answer: str) -> int:
    return int(answer.split()[0])


def always_a(_a: str, _b: str, _random: Random) -> str:
    return "A"


def always_b(_a: str, _b: str, _random: Random) -> str:
    return "B"


def coin(_a: str, _b: str, random: Random) -> str:
    return random.choice("AB")


def longer(a: str, b: str, _random: Random) -> str:
    return "A" if len(a) > len(b) else "B"


def sound(a: str, b: str, _random: Random) -> str:
    return "A" if quality(a) > quality(b) else "B"


def mostly_sound(a: str, b: str, random: Random) -> str:
    """Consistency about 0.74."""
    return sound(a, b, random) if random.random() < 0.7 else random.choice("AB")


def half_the_time(a: str, b: str, random: Random) -> str | None:
    return sound(a, b, random) if random.random() < 0.5 else None


def judgements(judges: dict[str, Judge], comparisons: int, *, seed: int = 0) -> list[dict[str, Any]]:
    """Rows of a stage in which every judge gives verdicts on pairs whose length says nothing of their quality."""
    random = Random(seed)
    rows: list[dict[str, Any]] = []
    for number in range(comparisons):
        best, worst = (f"{value} {'x' * random.randrange(1, 90)}" for value in (2, 1))
        pair = [best, worst] if random.random() < 0.5 else [worst, best]
        for order in ("ab", "ba"):
            a, b = pair if order == "ab" else pair[::-1]
            for name, judge in judges.items():
                verdict = judge(a, b, random)
                rows.append(
                    {
                        "id": f"q{number}",
                        "benchmark": "",
                        "model": "",
                        "sample": 0,
                        "a": 0,
                        "b": 1,
                        "order": order,
                        "role": "verdict",
                        "judge": name,
                        "verdict": verdict,
                        "text": "I cannot say" if verdict is None else f"[[{verdict}]]",
                        "failure": "unreadable" if verdict is None else "",
                        "longer": None if len(a) == len(b) else "A" if len(a) > len(b) else "B",
                        "probability": None,
                        "mass": None,
                    }
                )
    return rows


def told(rows: Sequence[dict[str, Any]], usage: dict[str, TokenUsage] | None = None) -> list[str]:
    health = Health()
    half = next(i for i, row in enumerate(rows) if row["id"] == rows[len(rows) // 2]["id"])
    health.add(JUDGEMENTS_TRAIL, rows[:half])  # as shards are read
    health.add(JUDGEMENTS_TRAIL, rows[half:])
    return health.warnings(usage or {})


NULL: dict[str, tuple[Judge, str]] = {
    "always A": (always_a, "judge 'x' prefers whichever answer stands first: 100 of 100 comparisons"),
    "always B": (always_b, "judge 'x' prefers whichever answer stands second: 100 of 100 comparisons"),
    "random": (coin, "judge 'x' is no better than chance: its verdict held in both orders in"),
    "always longer": (longer, "judge 'x' prefers the longer answer:"),
    "fails half the time": (half_the_time, "model 'x' failed"),
}


@pytest.mark.parametrize(("judge", "says"), NULL.values(), ids=NULL.keys())
@pytest.mark.parametrize("among", [{}, {"y": sound, "z": sound}], ids=["alone", "in a panel"])
def test_a_null_judge_is_named_and_nobody_beside_it(judge: Judge, says: str, among: dict[str, Judge]) -> None:
    [warning] = told(judgements({"x": judge, **among}, 100))
    assert warning.startswith(says)


@pytest.mark.parametrize("judge", [sound, mostly_sound])
@pytest.mark.parametrize("seed", range(20))
def test_a_sound_judge_is_not_named(judge: Judge, seed: int) -> None:
    assert told(judgements({"x": judge}, 200, seed=seed)) == []


@pytest.mark.parametrize("judge", [coin, longer, always_b])
@pytest.mark.parametrize("seed", range(10))
def test_three_comparisons_accuse_nobody(judge: Judge, seed: int) -> None:
    assert told(judgements({"x": judge}, 3, seed=seed)) == []


def weighed(first: float, mass: float, comparisons: int = 20) -> list[dict[str, Any]]:
    """Rows of a judge that always gives the first answer `first` of the probability of both letters."""
    verdict = "A" if first >= 0.5 else "B"
    rows = judgements({"j": always_a if verdict == "A" else always_b}, comparisons)
    return [row | {"probability": first, "mass": mass} for row in rows]


def test_a_judge_that_is_sure_of_the_place_is_named_with_its_bias() -> None:
    [said] = told(weighed(0.93, 0.99))
    assert "prefers whichever answer stands first: 20 of 20 comparisons (P(first) 0.93 on average)" in said


def test_a_judge_that_would_write_something_else_is_named_with_the_mass_of_its_letters() -> None:
    place, mass = told(weighed(0.2, 0.27))
    assert "stands second" in place
    assert "gives the letters A and B 27 % of its probability, over 40 verdicts" in mass


def test_a_cut_reply_before_a_letter_is_no_fault_and_other_cuts_are() -> None:
    usage = {"j": TokenUsage(calls=80, cut={"verdict": 40})}
    assert not [said for said in told(weighed(0.6, 0.99), usage) if "limit of tokens" in said]
    assert [said for said in told(judgements({"j": sound}, 40), usage) if "limit of tokens" in said]
    usage = {"j": TokenUsage(calls=80, cut={"verdict": 40, "proposer": 30})}
    [said] = [said for said in told(weighed(0.6, 0.99), usage) if "limit of tokens" in said]
    assert "ended 30 of 80 answers at their limit of tokens (proposer: 30)" in said


def test_verdicts_in_one_order_have_a_mass_and_say_nothing_of_the_order() -> None:
    rows = [row for row in weighed(0.93, 0.27) if row["order"] == "ab"]
    [mass] = told(rows)
    assert "gives the letters A and B 27 % of its probability, over 20 verdicts" in mass
    assert told([row | {"mass": 0.99} for row in rows]) == []


def test_verdicts_in_words_have_no_mass_to_miss() -> None:
    assert told(judgements({"j": sound}, 40)) == []


def test_coins_are_named_nearly_always() -> None:
    named = sum(bool(told(judgements({"x": coin}, 150, seed=seed))) for seed in range(40))
    assert named >= 34


def test_a_judge_that_only_one_order_asked_of_could_be_read_is_named_by_its_failures_alone() -> None:
    rows = [row for row in judgements({"x": always_a}, 100)]
    for row in rows:
        if row["order"] == "ba":
            row.update(verdict=None, failure="unreadable", text="hm")
    assert told(rows) == ["model 'x' failed 100 of 200 times as verdict (unreadable: 100): its reply ends 'hm'"]


def test_a_member_that_fails_is_named_with_its_servers_words_up_to_a_tenth_is_left_alone() -> None:
    def row(failed: bool) -> dict[str, Any]:
        absent = [{"path": "p", "model": "left", "reason": "refused"}]
        proposals = [{"path": "p", "model": "left", "text": "t"}]
        return {"absent": absent if failed else [], "proposals": [] if failed else proposals}

    for failures, says in ((2, []), (3, ["model 'left' failed 3 of 20 times as proposer (refused: 3): model 'left'"])):
        examples = {"refused": "model 'left': HTTP 403: no"}
        usage = {"left": TokenUsage(calls=20, failures={"refused": failures}, examples=examples)}
        health = Health()
        health.add(PROPOSALS_TRAIL, [row(number < failures) for number in range(20)])
        assert [warning.partition(": HTTP")[0] for warning in health.warnings(usage)] == says


def test_a_student_that_is_better_and_longer_than_its_baseline_says_nothing_about_the_judge() -> None:
    rows = judgements({"x": sound}, 100)
    for row in rows:
        row["longer"] = "A" if row["order"] == "ab" else "B"
        row["verdict"] = row["longer"]
    assert told(rows) == []


def test_a_model_that_the_rows_do_not_tell_of_is_named_by_its_calls() -> None:
    usage = {
        "left": TokenUsage(calls=15, reused=5, failures={"refused": 3}, examples={"refused": "HTTP 403: no"}),
        "right": TokenUsage(calls=20, failures={"refused": 2}),
    }
    assert Health().warnings(usage) == [
        "model 'left' failed 3 times, with 20 calls sent or reused (refused: 3): HTTP 403: no"
    ]


@pytest.mark.parametrize(
    ("cut", "says"),
    [
        pytest.param({"aggregator": 8}, ["model 'm' ended 8 of 8 answers at their limit of tokens"], id="every answer"),
        pytest.param({"judge": 1}, ["model 'm' ended 1 of 8 answers at their limit of tokens"], id="one of eight"),
        pytest.param({}, [], id="none"),
    ],
)
def test_an_endpoint_that_cuts_is_named(cut: dict[str, int], says: list[str]) -> None:
    found = Health().warnings({"m": TokenUsage(calls=5, reused=3, cut=cut)})
    assert [warning.partition(" (")[0] for warning in found] == says


def test_what_is_said_stays_small_and_counts_what_is_left_out() -> None:
    usage = {f"m{i}-{'ö' * 150}": TokenUsage(calls=1, cut={"judge": 1}) for i in range(20)}
    found = Health().warnings(usage)
    assert len(found) == 8
    assert found[-1] == "13 more"
    assert all(len(warning.encode()) <= WARNING_BYTES for warning in found)


@pytest.mark.parametrize(
    ("count", "of", "chance", "expected"),
    [(0, 0, 0.5, 1.0), (0, 9, 0.5, 1.0), (10, 10, 0.5, 1 / 1024), (9, 10, 0.5, 11 / 1024), (1, 2, 0.25, 7 / 16)],
)
def test_the_tail_of_a_binomial_is_exact(count: int, of: int, chance: float, expected: float) -> None:
    assert at_least(count, of=of, chance=chance) == pytest.approx(expected, rel=1e-9)


def test_the_tail_of_a_large_binomial_is_a_half_at_its_middle() -> None:
    assert at_least(200_000, of=400_000, chance=0.5) == pytest.approx(0.5, abs=1e-3)
