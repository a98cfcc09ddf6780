from contextlib import suppress
from decimal import Decimal
from itertools import combinations, permutations
from typing import Any

import pytest
from calls_scripted import Asked, MemoryLedger, ScriptedCaller, ScriptedClients
from hypothesis import given, settings
from hypothesis import strategies as st

from moaa.api.defaults import effective
from moaa.api.mixture import PAPER_CRITERIA, Criterion, Judge
from moaa.api.prompts import Prompts
from moaa.client.budget import CharacterCounter, Window
from moaa.client.calls import Message
from moaa.client.ledgered import Calls
from moaa.data.rows import Comparison, RankingRow, SampleRow
from moaa.errors import CallError, ModelAbsent
from moaa.judge.compare import Pair, compare, outcome_of
from moaa.judge.criteria import parse_criteria
from moaa.judge.panel import majority, panel_score
from moaa.judge.prompts import question_text
from moaa.judge.ranking import pair_score, rank
from moaa.judge.row import judge_pair, judge_row, to_pair
from moaa.judge.verdict import parse_verdict

PROMPTS = effective(
    Prompts(
        criterion="{name};",
        criteria="CRITERIA q={question} a={answer_a} b={answer_b} {count} of {criteria}",
        judge="JUDGE q={question} a={answer_a} b={answer_b} by {criteria}",
        evaluation="({number}:{text})",
        meta_judge="META q={question} a={answer_a} b={answer_b} by {criteria} read {evaluations}",
        single="SINGLE q={question} a={answer_a} b={answer_b} by {criteria}",
    )
)
CHOICE = "Selected Criteria:\n1. Accuracy\n2. Depth\n3. Safety\nExplanation:\nClarity matters less."


def judge(method: str = "Mixture", **changes: Any) -> Judge:
    parts: dict[str, Any] = {"method": method}
    if method != "Single":
        parts["judges"] = [{"model": f"j{i}"} for i in range(3)]
    if method != "Panel":
        parts["aggregator"] = {"model": "agg"}
    return Judge.model_validate(parts | changes)


def user(text: str) -> list[Message]:
    return [Message(role="user", content=text)]


def quality(text: str) -> int:
    return int(text.removeprefix("answer "))


def shown(asked: Asked) -> tuple[str, str]:
    """Answers A and B as a prompt of the test's templates shows them."""
    content = asked.messages[0]["content"]
    first, rest = content.split(" a=")[1].split(" b=")
    return first, " ".join(rest.split(" ")[:2])


def by_quality(asked: Asked) -> str:
    """Judges that know: the answer with the higher number is better."""
    content = asked.messages[0]["content"]
    if content.startswith("CRITERIA"):
        return CHOICE
    if content.startswith("JUDGE"):
        return f"evaluation by {asked.model}"
    a, b = shown(asked)
    return f"so [[{'A' if quality(a) > quality(b) else 'B'}]]"


def row(*samples: str, id: str = "r") -> SampleRow:
    return SampleRow(id=id, messages=user("Q"), samples=list(samples))


def pair(a: str = "answer 1", b: str = "answer 2") -> Pair:
    return Pair("Q", 0, 1, a, b, "c0-1")


# Criteria


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (CHOICE, ["Accuracy", "Depth", "Safety"]),
        ("accuracy\nDEPTH\n**Safety**", ["Accuracy", "Depth", "Safety"]),
        ("1) Depth 2) Instruction  adherence 3) Relevance", ["Depth", "Instruction adherence", "Relevance"]),
        (
            "1. **Accuracy**: clarity depends on it\n2. Depth - safety aside\n3. Safety (and relevance)",
            ["Accuracy", "Depth", "Safety"],
        ),
        ("1. Accuracy, Clarity\n2. Depth\n3. Safety", None),
        ("Accuracy, Depth", None),
        ("Accuracy, Depth, Accuracy", None),
        ("Accuracy, Depth, Safety, Clarity", None),
        ("Accuracy, Depth, Beauty", None),
        ("Inaccuracy, Depth, Safety", None),
        ("", None),
        (
            "Clarity and Relevance come to mind.\n\n**Selected Criteria:**\n- Accuracy: facts\n- Depth\n- Safety",
            ["Accuracy", "Depth", "Safety"],
        ),
        (
            "Selected Criteria: Accuracy, Depth, Safety\nExplanation: Helpfulness is moot",
            ["Accuracy", "Depth", "Safety"],
        ),
        (
            "Selected Criteria:\n1. Accuracy\n2. Depth\n3. Safety\n\n## Explanation\nClarity",
            ["Accuracy", "Depth", "Safety"],
        ),
    ],
)
def test_criteria_are_read_strictly(text: str, expected: list[str] | None) -> None:
    found = parse_criteria(text, PAPER_CRITERIA, count=3)
    assert (None if found is None else [c.name for c in found]) == expected


def test_a_longer_name_wins_over_one_it_contains() -> None:
    choices = [Criterion(name=n, definition="d") for n in ("Depth", "Depth of thought", "Tone")]
    found = parse_criteria("1. depth of thought\n2. tone", choices, count=2)
    assert found is not None
    assert [c.name for c in found] == ["Depth of thought", "Tone"]


@settings(deadline=None)
@given(st.permutations(PAPER_CRITERIA), st.integers(1, 8))
def test_any_choice_in_the_asked_format_is_read_back(choices: list[Criterion], count: int) -> None:
    lines = "\n".join(f"{i}. {c.name}" for i, c in enumerate(choices[:count], start=1))
    assert (
        parse_criteria(f"Selected Criteria:\n{lines}\nExplanation:\nx", PAPER_CRITERIA, count=count) == choices[:count]
    )


# Verdicts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[[A]]", "A"),
        ("Both fine. [[B]]", "B"),
        ("[[ B ]].", "B"),
        ("[[A]] it is, for its facts.", "A"),
        ("[[A]] or [[B]]? I say [[A]].", "A"),
        ("[[A]] at first, then **[[B]]**\n", "B"),
        ("[[A]], but [[B]] is close", None),
        ("A", None),
        ("[A]", None),
        ("[[a]]", None),
        ("[[C]]", None),
        ("[[A", None),
        ("", None),
    ],
)
def test_verdicts_are_read_strictly(text: str, expected: str | None) -> None:
    assert parse_verdict(text) == expected


@settings(deadline=None)
@given(st.text(st.characters(exclude_characters="[")), st.sampled_from("AB"))
def test_text_before_a_verdict_does_not_change_it(before: str, label: str) -> None:
    assert parse_verdict(before) is None
    assert parse_verdict(f"{before}[[{label}]]") == label


def test_outcomes_are_told_of_the_pairs_a() -> None:
    assert [outcome_of("A", "ab"), outcome_of("B", "ab")] == [1, 0]
    assert [outcome_of("A", "ba"), outcome_of("B", "ba")] == [0, 1]
    assert outcome_of(None, "ab") is None


# Comparing


async def test_the_mixture_judges_in_both_orders_by_criteria_chosen_once() -> None:
    caller = ScriptedCaller(by_quality)
    made = await compare(pair(), judge(), PROMPTS, caller)
    assert made == Comparison(a=0, b=1, criteria=["Accuracy", "Depth", "Safety"], forward=0, backward=0, votes=[])
    assert caller.paths == [
        "c0-1/ab/j0",
        "c0-1/ab/j1",
        "c0-1/ab/j2",
        "c0-1/ab/meta",
        "c0-1/ba/j0",
        "c0-1/ba/j1",
        "c0-1/ba/j2",
        "c0-1/ba/meta",
        "c0-1/criteria",
    ]
    assert caller.at("c0-1/ab/j1").text == "<user>JUDGE q=Q a=answer 1 b=answer 2 by Accuracy;Depth;Safety;"
    assert caller.at("c0-1/ba/meta").text == (
        "<user>META q=Q a=answer 2 b=answer 1 by Accuracy;Depth;Safety; "
        "read (1:evaluation by j0)(2:evaluation by j1)(3:evaluation by j2)"
    )
    assert caller.at("c0-1/criteria").model == caller.at("c0-1/ab/meta").model == "agg"
    assert caller.at("c0-1/criteria").text.startswith("<user>CRITERIA q=Q a=answer 1 b=answer 2 3 of Instruction")


async def test_single_asks_the_aggregator_alone() -> None:
    caller = ScriptedCaller(by_quality)
    made = await compare(pair(), judge("Single"), PROMPTS, caller)
    assert (made["forward"], made["backward"], made["votes"]) == (0, 0, [])
    assert caller.paths == ["c0-1/ab/single", "c0-1/ba/single", "c0-1/criteria"]


async def test_no_criteria_to_choose_means_all_of_them_and_no_call() -> None:
    caller = ScriptedCaller(by_quality)
    made = await compare(pair(), judge("Single", criteria=0), PROMPTS, caller)
    assert made["criteria"] == [c.name for c in PAPER_CRITERIA]
    assert caller.paths == ["c0-1/ab/single", "c0-1/ba/single"]


async def test_a_panel_counts_votes_that_hold_in_both_orders() -> None:
    def answer(asked: Asked) -> str:
        if asked.model == "j0":
            return "[[A]]"  # follows the order
        return by_quality(asked)

    caller = ScriptedCaller(answer)
    made = await compare(pair("answer 5", "answer 2"), judge("Panel"), PROMPTS, caller)
    assert made["votes"] == [[1, 0], [1, 1], [1, 1]]
    assert (made["forward"], made["backward"]) == (1, 1)
    assert pair_score(made) == 1.0
    assert made["criteria"] == [c.name for c in PAPER_CRITERIA]
    assert not any("criteria" in path for path in caller.paths)


@pytest.mark.parametrize(
    ("votes", "score"),
    [
        ([[1, 1], [1, 1], [0, 0]], 1.0),
        ([[0, 0], [0, 0], [1, 0]], 0.0),
        ([[1, 1], [0, 0], [1, 0]], 0.5),
        ([[1, 0], [0, 1], [1, 0]], 0.5),
        ([[1, 1], [None, 1], [None, None]], None),
        ([[1, 1], [1, 1], [None, 1]], 1.0),
    ],
)
def test_panel_scores(votes: list[list[int | None]], score: float | None) -> None:
    assert panel_score(votes) == score


def test_a_majority_needs_more_than_half() -> None:
    assert majority([1, 0, 1]) == 1
    assert majority([0]) == 0
    assert majority([1, 0]) is None
    assert majority([None]) is None
    assert majority([]) is None


async def test_an_unreadable_verdict_is_asked_for_once_more_and_warmer() -> None:
    def answer(asked: Asked) -> str:
        if asked.path.endswith("meta") and asked.key == "":
            return "hard to say"
        return by_quality(asked)

    caller = ScriptedCaller(answer)
    made = await compare(pair(), judge(), PROMPTS, caller)
    assert (made["forward"], made["backward"]) == (0, 0)
    assert caller.at("c0-1/ab/meta").sampling.temperature == 0
    again = caller.at("c0-1/ab/meta", "retry1")
    assert again.sampling.temperature == Decimal("0.3")
    assert again.messages == caller.at("c0-1/ab/meta").messages


async def test_a_warm_judge_is_not_cooled_by_the_retry() -> None:
    caller = ScriptedCaller(lambda _: "?")
    warm = judge("Single", criteria=0, aggregator={"model": "agg", "temperature": "0.9"})
    await compare(pair(), warm, PROMPTS, caller)
    assert caller.at("c0-1/ab/single", "retry1").sampling.temperature == Decimal("0.9")


async def test_what_stays_unreadable_is_a_failed_comparison_and_no_score() -> None:
    caller = ScriptedCaller(lambda asked: CHOICE if asked.path.endswith("criteria") else "no idea")
    made = await compare(pair(), judge("Single"), PROMPTS, caller)
    assert (made["forward"], made["backward"]) == (None, None)
    assert pair_score(made) is None
    assert caller.paths.count("c0-1/ab/single#retry1") == 1

    caller = ScriptedCaller(lambda _: "Beauty")
    made = await compare(pair(), judge(), PROMPTS, caller)
    assert made == Comparison(a=0, b=1, criteria=[], forward=None, backward=None, votes=[])
    assert caller.paths == ["c0-1/criteria", "c0-1/criteria#retry1"]


async def test_one_readable_order_is_not_a_score() -> None:
    def answer(asked: Asked) -> str:
        return "?" if "/ba/" in asked.path else by_quality(asked)

    made = await compare(pair(), judge("Single"), PROMPTS, ScriptedCaller(answer))
    assert (made["forward"], made["backward"]) == (0, None)
    assert pair_score(made) is None


async def test_a_judge_that_fails_is_left_out_and_without_any_there_is_no_verdict() -> None:
    def answer(asked: Asked) -> str:
        if asked.model in broken:
            raise CallError("context-length", "too long")
        return by_quality(asked)

    broken = {"j1"}
    caller = ScriptedCaller(answer)
    made = await compare(pair(), judge(), PROMPTS, caller)
    assert made["forward"] == 0
    assert caller.at("c0-1/ab/meta").text.endswith("(1:evaluation by j0)(2:evaluation by j2)")
    broken = {"j0", "j1", "j2"}
    made = await compare(pair(), judge(), PROMPTS, ScriptedCaller(answer))
    assert (made["forward"], made["backward"]) == (None, None)
    broken = {"agg"}
    made = await compare(pair(), judge(), PROMPTS, ScriptedCaller(answer))
    assert (made["forward"], made["criteria"]) == (None, [])


async def test_a_failed_order_leaves_the_other_as_it_is() -> None:
    def answer(asked: Asked) -> str:
        if asked.path == "c0-1/ba/meta":
            raise CallError("timeout", "late")
        return by_quality(asked)

    made = await compare(pair(), judge(), PROMPTS, ScriptedCaller(answer))
    assert (made["forward"], made["backward"]) == (0, None)


async def test_long_evaluations_are_shortened_for_the_meta_judge() -> None:
    def answer(asked: Asked) -> str:
        return "e" * 3000 if asked.path.endswith("j0") else by_quality(asked)

    caller = ScriptedCaller(answer)
    windows = {"agg": Window(1024, CharacterCounter())}
    made = await compare(pair(), judge(), PROMPTS, caller, windows=windows)
    assert made["forward"] == 0
    assert "cut to fit" in caller.at("c0-1/ab/meta").text


@settings(deadline=None)
@given(st.sampled_from(["Mixture", "Single", "Panel"]), st.data())
async def test_swapping_the_answers_mirrors_the_outcome(method: str, data: st.DataObject) -> None:
    """Whatever a judge answers to a prompt, naming the answers the other way round gives the opposite score."""
    verdicts: dict[tuple[str, str, str], str] = {}

    def answer(asked: Asked) -> str:
        content = asked.messages[0]["content"]
        if content.startswith("CRITERIA"):
            return CHOICE
        if content.startswith("JUDGE"):
            return "evaluation"
        known = (asked.model, *shown(asked))
        if known not in verdicts:
            verdicts[known] = data.draw(st.sampled_from(["[[A]]", "[[B]]", "?"]))
        return verdicts[known]

    there = await compare(pair("answer 1", "answer 2"), judge(method), PROMPTS, ScriptedCaller(answer))
    back = await compare(pair("answer 2", "answer 1"), judge(method), PROMPTS, ScriptedCaller(answer))
    first, second = pair_score(there), pair_score(back)
    assert (first is None) == (second is None)
    if first is not None and second is not None:
        assert first + second == 1.0


def test_questions_of_several_turns_are_told_by_role() -> None:
    single = user("Q")
    assert question_text(single) == "Q"
    assert question_text([*single, Message(role="assistant", content="dropped")]) == "Q"
    told = question_text(
        [
            Message(role="system", content="S"),
            *single,
            Message(role="assistant", content="A"),
            Message(role="user", content="Q2"),
        ]
    )
    assert told == "[System instructions]\nS\n\n[User]\nQ\n\n[Assistant]\nA\n\n[User]\nQ2"


# Ranking


def judged(a: int, b: int, forward: int | None, backward: int | None) -> Comparison:
    return Comparison(a=a, b=b, criteria=[], forward=forward, backward=backward, votes=[])


def test_the_best_is_chosen_and_the_worst_rejected() -> None:
    made = rank(["x", "y", "z"], [judged(0, 1, 0, 0), judged(0, 2, 1, 1), judged(1, 2, 1, 1)])
    assert made.points == (0.5, 1.0, 0.0)
    assert (made.outcome, made.chosen, made.rejected) == ("pair", 1, 2)


def test_disagreeing_orders_are_half_a_point_each() -> None:
    made = rank(["x", "y"], [judged(0, 1, 1, 0)])
    assert made.points == (0.5, 0.5)
    assert (made.outcome, made.chosen) == ("tie", None)


def test_draws_go_to_the_head_to_head_winner_then_to_the_lower_index() -> None:
    # 0 and 1 have two points each of three; 1 beat 0. 2 and 3 have one each; 3 lost to 2.
    games = [
        judged(0, 1, 0, 0),
        judged(0, 2, 1, 1),
        judged(0, 3, 1, 1),
        judged(1, 2, 1, 1),
        judged(1, 3, 0, 0),
        judged(2, 3, 1, 1),
    ]
    made = rank(["w", "x", "y", "z"], games)
    assert made.points == (2 / 3, 2 / 3, 1 / 3, 1 / 3)
    assert (made.chosen, made.rejected) == (1, 3)
    level = [judged(0, 1, 1, 0), judged(0, 2, 1, 1), judged(0, 3, 1, 1), judged(1, 2, 1, 1), judged(1, 3, 1, 1)]
    made = rank(["w", "x", "y", "z"], [*level, judged(2, 3, 0, 1)])
    assert (made.chosen, made.rejected) == (0, 2)


def test_equal_texts_share_the_point_unjudged() -> None:
    made = rank(["x", "x", "y"], [judged(0, 2, 1, 1), judged(1, 2, 1, 1)])
    assert made.points == (0.75, 0.75, 0.0)
    assert (made.chosen, made.rejected) == (0, 2)
    assert rank(["x", "x"], []).outcome == "equal-texts"
    # The same text judged differently: best and worst read the same.
    odd = rank(["x", "x", "y"], [judged(0, 2, 1, 1), judged(1, 2, 0, 0)])
    assert odd.points == (0.75, 0.25, 0.5)
    assert odd.outcome == "equal-texts"


def test_too_few_valid_comparisons_drop_the_prompt() -> None:
    texts = ["w", "x", "y", "z"]
    games = [judged(a, b, 1, 1) for a, b in combinations(range(4), 2)]
    one_failed = [judged(0, 1, None, 1), *games[1:]]
    made = rank(texts, one_failed)
    assert (made.outcome, made.points[0]) == ("pair", 1.0)
    two_failed = [judged(0, 1, None, 1), judged(0, 2, None, None), *games[2:]]
    made = rank(texts, two_failed)
    assert made.outcome == "too-few-verdicts"
    assert made.points[0] is None
    assert made.points[3] == 0.0
    assert rank(["x", "y"], [judged(0, 1, None, None)]).outcome == "too-few-verdicts"


def test_a_ranking_refuses_what_makes_no_sense() -> None:
    with pytest.raises(ValueError, match="needs two"):
        rank(["x"], [])
    with pytest.raises(ValueError, match="samples 0 to 1"):
        rank(["x", "y"], [judged(0, 2, 1, 1)])


outcomes = st.sampled_from([0, 1, None])


@st.composite
def contests(draw: st.DrawFn) -> tuple[list[str], list[Comparison]]:
    n = draw(st.integers(2, 5))
    texts = draw(st.lists(st.sampled_from("abcdefg"), min_size=n, max_size=n))
    games = [judged(a, b, draw(outcomes), draw(outcomes)) for a, b in combinations(range(n), 2) if texts[a] != texts[b]]
    return texts, games


@settings(deadline=None)
@given(contests(), st.randoms())
def test_a_ranking_does_not_depend_on_numbering_or_order(contest: tuple[list[str], list[Comparison]], rng: Any) -> None:
    texts, games = contest
    made = rank(texts, games)
    new = list(range(len(texts)))
    rng.shuffle(new)  # sample i becomes sample new[i]
    moved_texts = [texts[new.index(i)] for i in range(len(texts))]
    moved = []
    for game in games:
        a, b, forward, backward = new[game["a"]], new[game["b"]], game["forward"], game["backward"]
        if a > b:
            a, b = b, a
            forward, backward = (None if o is None else 1 - o for o in (forward, backward))
        moved.append(judged(a, b, forward, backward))
    rng.shuffle(moved)
    again = rank(moved_texts, moved)
    assert [again.points[new[i]] for i in range(len(texts))] == list(made.points)
    if made.outcome in ("tie", "too-few-verdicts"):
        assert again.outcome == made.outcome
    if made.outcome == "pair":
        assert made.chosen is not None
        assert made.rejected is not None
        assert made.points[made.chosen] == max(p for p in made.points if p is not None)
        assert made.points[made.rejected] == min(p for p in made.points if p is not None)
        assert texts[made.chosen] != texts[made.rejected]


@settings(deadline=None)
@given(contests())
def test_points_stay_in_range_and_a_full_contest_shares_them_all(contest: tuple[list[str], list[Comparison]]) -> None:
    texts, games = contest
    points = rank(texts, games).points
    assert all(p is None or 0 <= p <= 1 for p in points)
    if all(pair_score(g) is not None for g in games):
        assert sum(p for p in points if p is not None) == pytest.approx(len(texts) / 2)


# Rows


async def test_a_row_of_five_is_ranked_by_ten_comparisons() -> None:
    caller = ScriptedCaller(by_quality)
    made = await judge_row(row(*(f"answer {i}" for i in (3, 5, 1, 4, 2))), judge(), PROMPTS, caller)
    assert len(caller.asked) == 10 * (1 + 2 * 4)
    assert made["points"] == [0.5, 1.0, 0.0, 0.75, 0.25]
    assert made["outcome"] == "pair"
    assert len(made["comparisons"]) == 10
    assert to_pair(made) == {
        "id": "r",
        "messages": user("Q"),
        "chosen": "answer 5",
        "rejected": "answer 1",
        "chosen_points": 1.0,
        "rejected_points": 0.0,
    }


async def test_any_order_of_the_samples_gives_the_same_pair() -> None:
    for order in permutations((1, 2, 3)):
        made = await judge_row(
            row(*(f"answer {i}" for i in order)), judge("Panel"), PROMPTS, ScriptedCaller(by_quality)
        )
        pair_row = to_pair(made)
        assert pair_row is not None
        assert (pair_row["chosen"], pair_row["rejected"]) == ("answer 3", "answer 1")


async def test_equal_samples_are_not_judged() -> None:
    caller = ScriptedCaller(by_quality)
    made = await judge_row(row("answer 1", "answer 1"), judge(), PROMPTS, caller)
    assert (made["outcome"], caller.asked, to_pair(made)) == ("equal-texts", [], None)


async def test_a_judge_that_follows_the_order_gives_no_pair() -> None:
    caller = ScriptedCaller(lambda asked: CHOICE if asked.path.endswith("criteria") else "[[A]]")
    made = await judge_row(row("answer 1", "answer 2", "answer 3"), judge("Single"), PROMPTS, caller)
    assert (made["outcome"], made["points"]) == ("tie", [0.5, 0.5, 0.5])
    assert to_pair(made) is None


async def test_every_call_that_can_be_made_is_made_before_the_row_waits() -> None:
    caller = ScriptedCaller(by_quality, absent=["j1"])
    with pytest.raises(ModelAbsent):
        await judge_row(row("answer 1", "answer 2", "answer 3"), judge(), PROMPTS, caller)
    assert len(caller.asked) == 3 * (1 + 2 * 2)


async def test_a_resumed_row_sends_nothing_twice_and_reads_the_same() -> None:
    digests = {name: name * 4 for name in ("j0", "j1", "j2", "agg")}

    def text(model: str, request: Any, number: int) -> str:
        content = request.messages[0]["content"]
        if content.startswith("CRITERIA"):
            return CHOICE
        return f"evaluation {request.seed}" if content.startswith("JUDGE") else f"[[{'AB'[request.seed % 2]}]]"

    samples = row("answer 1", "answer 2", "answer 3")
    ledger = MemoryLedger()
    # One model at a time, as with schedule InTurn: the row waits until each has had its turn.
    sent = 0
    made: RankingRow | None = None
    for served in ("agg", "j0", "j1", "j2", "agg"):
        clients = ScriptedClients(absent=[m for m in digests if m != served], answer=text)
        with suppress(ModelAbsent):
            made = await judge_row(samples, judge(), PROMPTS, Calls(clients, ledger, digests, 3, {}).of("r"))
        sent += len(clients.requests)
    together = ScriptedClients(answer=text)
    fresh = await judge_row(samples, judge(), PROMPTS, Calls(together, MemoryLedger(), digests, 3, {}).of("r"))
    assert made == fresh
    assert sent == len(together.requests) == 27


async def test_win_rates_score_an_answer_against_the_baseline() -> None:
    async def score(answer: str, baseline: str, caller: ScriptedCaller) -> float | None:
        return await judge_pair(user("Q"), answer, baseline, judge("Single"), PROMPTS, caller, path="s0/")

    caller = ScriptedCaller(by_quality)
    assert await score("answer 2", "answer 1", caller) == 1.0
    assert "s0/c0-1/ab/single" in caller.paths
    assert await score("answer 1", "answer 2", ScriptedCaller(by_quality)) == 0.0
    idle = ScriptedCaller(by_quality)
    assert await score("answer 1", "answer 1", idle) == 0.5
    assert idle.asked == []
    order = ScriptedCaller(lambda asked: CHOICE if asked.path.endswith("criteria") else "[[B]]")
    assert await score("answer 2", "answer 1", order) == 0.5
    assert await score("answer 2", "answer 1", ScriptedCaller(lambda _: "?")) is None
