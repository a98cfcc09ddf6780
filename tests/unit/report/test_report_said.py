"""What judges said: counted by judge, drawn at random, shown with names a reader knows."""

from dataclasses import replace

import pytest

from moaa.report.html import render
from moaa.report.page import judge_groups
from moaa.report.said import ENDING_CHARS, MOST, Shown, groups
from moaa.report.summary import summarise
from moaa.rows import JudgementRow
from moaa.run.tally import Orders
from moaa.run.trail import KEPT, Compared, Heard, Trail
from tests.unit.report.test_report_html import Page
from tests.unit.report_world import finished_run, judgements, not_started, resource

WORLD = finished_run()


def judgement(
    order: str, verdict: str | None, *, judge: str = "j", role: str = "verdict", **more: object
) -> JudgementRow:
    failure = "" if verdict or role != "verdict" else "unreadable"
    row = JudgementRow(
        id="r", benchmark="", model="", sample=0, a=0, b=1, order=order, role=role, judge=judge, verdict=verdict,
        text="said", failure=failure, longer=None, probability=None, mass=None,
    )  # fmt: skip
    return {**row, **more}  # type: ignore[typeddict-item]  # columns by name


@pytest.mark.parametrize(
    ("forward", "backward", "expected"),
    [
        ("A", "B", Orders(agreed=1)),
        ("B", "A", Orders(agreed=1)),
        ("A", "A", Orders(first=1)),
        ("B", "B", Orders(second=1)),
        ("A", None, Orders(missing=1)),
    ],
)
def test_verdicts_name_answers_as_they_were_shown(forward: str | None, backward: str | None, expected: Orders) -> None:
    trail = Trail("7")
    trail.add([judgement("ab", forward), judgement("ba", backward)])
    assert trail.judges["", "verdict", "j"].orders == expected
    assert trail.methods["", ""] == expected


def test_judges_are_counted_by_part_and_together_by_majority() -> None:
    trail = Trail("7")
    said = [judgement("", None, judge="chief", role="criteria", failure="cut")]
    for order, verdicts in (("ab", "AAB"), ("ba", "BBB")):
        said.append(judgement(order, None, judge="writer", role="evaluation"))
        said += [judgement(order, verdict, judge=f"j{i}") for i, verdict in enumerate(verdicts)]
    trail.add(said)
    trail.add([judgement("ab", None, id="other", judge="j0"), judgement("ba", "A", id="other", judge="j0")])
    assert trail.judges["", "criteria", "chief"] == Heard(1, {"cut": 1})  # type: ignore[arg-type]  # equal to a Counter
    assert trail.judges["", "evaluation", "writer"] == Heard(2)
    assert trail.judges["", "verdict", "j0"].orders == Orders(agreed=1, missing=1)
    assert trail.judges["", "verdict", "j0"].failures == {"unreadable": 1}
    assert trail.judges["", "verdict", "j2"].orders == Orders(second=1)
    assert trail.methods["", ""] == Orders(agreed=1, missing=1)
    assert trail.comparisons == {"": 2}


def test_verdicts_by_log_probabilities_have_an_order_bias_and_a_mass() -> None:
    trail = Trail("7")
    trail.add([judgement("ab", "A", probability=0.9, mass=0.5), judgement("ba", "A", probability=0.6, mass=0.75)])
    trail.add([judgement("ab", "A", id="hard"), judgement("ba", "B", id="hard")])
    heard = trail.judges["", "verdict", "j"]
    assert (heard.asked, heard.weighed, heard.mass) == (4, 2, 1.25)
    assert heard.bias == pytest.approx(0.5)
    assert heard.orders == Orders(agreed=1, first=1), "the likelier letter is the verdict"
    soft = next(one for one in trail.drawn[""] if one.place.id != "hard")
    compared = Compared(soft, "ask", ("one", "other"), 0.65)
    view = replace(
        WORLD, trails={**WORLD.trails, "i1-judge": trail}, compared={**WORLD.compared, "i1-judge": (compared,)}
    )
    row = next(j for j in summarise(view).judges if (j.stage, j.judge) == ("i1-judge", "j"))
    assert (row.order_bias, row.mass) == (0.25, 0.625)
    page = Page(render(view, summarise(view))).text
    assert "+0.25" in page
    assert "prefers sample 1 (first 90 %, letters 50 %)" in page
    assert "prefers sample 2 (first 60 %, letters 75 %)" in page
    assert "0.65 points for sample 1" in page
    assert "Order bias" not in Page(render(WORLD, summarise(WORLD))).text, "where no verdict has one"


def test_a_draw_says_nothing_of_the_order_and_labels_are_told() -> None:
    trail = Trail("7")
    trail.add([judgement("ba", "A", label="A>>B", failure=""), judgement("ab", None, label="A=B", failure="")])
    trail.add([judgement("ba", "A", id="x", label="A>B"), judgement("ab", "B", id="x", label="B>A")])
    assert trail.judges["", "verdict", "j"].orders == trail.methods["", ""] == Orders(agreed=1)
    assert trail.judges["", "verdict", "j"].failures == {}
    draw = next(one for one in trail.drawn[""] if one.place.id == "r")
    told = [said.told for said in _shown(trail, Compared(draw, "ask", ("one", "other"), 0.5)).said]
    assert told == ["prefers sample 2 (A>>B)", "finds them equal (A=B)"]


def test_a_graded_answer_stands_alone() -> None:
    trail = Trail("7")
    first = judgement("turn 1", None, role="grade", label="8", text="Fine. [[8]]")
    trail.add([first, judgement("turn 2", None, role="grade", failure="unreadable")])
    heard = trail.judges["", "grade", "j"]
    assert (heard.asked, heard.failures, heard.orders, trail.methods) == (2, {"unreadable": 1}, Orders(), {})
    shown = _shown(trail, Compared(trail.drawn[""][0], "ask", ("one", None), 0.8))
    assert shown.answers == [("sample 1", "one")]
    assert [(said.part, said.order, said.told) for said in shown.said] == [
        ("grade", "turn 1", "grade 8"),
        ("grade", "turn 2", "no grade: unreadable"),
    ]


def _shown(trail: Trail, compared: Compared) -> Shown:
    """As the page has it, whose text is looked at as well."""
    view = replace(
        WORLD, trails={**WORLD.trails, "i1-judge": trail}, compared={**WORLD.compared, "i1-judge": (compared,)}
    )
    [shown] = next(group for group in groups(view) if group.title == "i1-judge").shown
    page = Page(render(view, summarise(view))).text
    assert all(said.told in page and said.order in page for said in shown.said)
    return shown


def test_scores_are_counted_and_are_no_comparisons() -> None:
    trail = Trail("7")
    scored = [judgement("", None, judge="rm", role="score", a=i, b=i, label=f"{i}.5") for i in range(3)]
    trail.add([*scored, judgement("", None, judge="rm", role="score", a=3, b=3, failure="context-length")])
    assert trail.judges["", "score", "rm"].asked == 4
    assert trail.judges["", "score", "rm"].failures == {"context-length": 1}
    assert (dict(trail.comparisons), trail.drawn) == ({}, {}), "no group of comparisons without one"
    trail.add([judgement("a", None, role="score", label="1.5"), judgement("b", None, role="score", label="-2")])
    assert trail.comparisons[""] == 1, "a duel of two that were scored"


def test_the_share_of_the_first_place() -> None:
    assert Orders(agreed=2, first=2).first_share == 0.75, "each comparison has two verdicts"
    assert Orders(agreed=4, second=4).first_share == 0.25
    assert Orders(missing=3).first_share is None


@pytest.mark.parametrize("parts", [1, 2, 7])
def test_the_draw_depends_on_seed_and_rows_and_on_no_parts(parts: int) -> None:
    judge = next(s.stage for s in WORLD.stages if s.stage.id == "i1-judge")
    rows = judgements(WORLD.resource, judge)
    size = len(rows) // 6 // parts * 6 or 6
    trail, other = Trail("7/i1-judge"), Trail("8/i1-judge")
    for start in range(0, len(rows), size):
        trail.add(rows[start : start + size])
    other.add(rows)
    assert trail == WORLD.trails["i1-judge"]
    places = [one.place for one in trail.drawn[""]]
    assert len(places) == KEPT < trail.comparisons[""] == 1200
    assert places != [one.place for one in other.drawn[""]]
    assert len({place.id for place in places}) > 1, "not the first rows"


def test_comparisons_are_drawn_evenly() -> None:
    """By chance alone each of 20 rows is drawn in 200 of 1000 draws; six standard deviations are 76."""
    rows = [judgement(order, "A", id=str(i)) for i in range(20) for order in ("ab", "ba")]
    times = dict.fromkeys(map(str, range(20)), 0)
    for seed in range(1000):
        trail = Trail(str(seed))
        trail.add(rows)
        for one in trail.drawn[""]:
            times[one.place.id] += 1
    assert sum(times.values()) == 1000 * KEPT
    assert all(abs(count - 200) < 76 for count in times.values())


def test_the_page_names_answers_verdicts_and_judges() -> None:
    found = groups(WORLD)
    judged = next(group for group in found if group.title == "i1-judge")
    assert (judged.total, {len(group.shown) for group in found}) == (1200, {MOST // len(found)})
    for shown in judged.shown:
        names = [name for name, _ in shown.answers]
        assert all(name.startswith("sample ") for name in names)
        for name, text in shown.answers:
            assert text is not None
            assert text.startswith(name.capitalize())
        for said in shown.said:
            assert said.order in [f"{name} shown first" for name in names]
            assert said.told in [*(f"prefers {name}" for name in names), "no verdict: unreadable"]
    measured = next(group for group in found if group.title == "i2-evaluate-sft, arena")
    [choice, *verdicts] = measured.shown[0].said
    assert (choice.part, choice.order, choice.told) == ("choice of criteria", "", "")
    assert [name for name, _ in measured.shown[0].answers] == ["iteration 2 SFT", "start (llama)"]
    assert [said.order for said in verdicts] == ["iteration 2 SFT shown first", "start (llama) shown first"]


def test_long_replies_are_folded_at_their_end_and_whole_below() -> None:
    said = next(one for group in groups(WORLD) for shown in group.shown for one in shown.said if len(one.text) > 400)
    assert said.ending.endswith(("[[A]]", "[[B]]"))
    assert len(said.ending) == ENDING_CHARS + 1
    page = Page(render(WORLD, summarise(WORLD)))
    assert said.text in page.text
    assert page.tags["script"] == 0, "what a judge writes is text"


def test_the_table_of_judges_has_them_together_only_where_they_are_several() -> None:
    groups = dict(judge_groups(summarise(WORLD)))
    assert [(j.judge, j.role) for j in groups["i1-evaluate-dpo, arena"]] == [
        ("gpt-judge", "criteria"),
        ("gpt-judge", "verdict"),
    ], "one judge is the method"
    panel = ["Panel", "gemma2-27b", "qwen2-72b", "wizardlm"]
    assert [j.judge for j in groups["i1-judge"]] == panel


def test_a_page_of_many_iterations_shows_few_comparisons_and_says_of_how_many() -> None:
    many = finished_run(resource(iterations=12))
    found = groups(many)
    assert len(found) == 1 + 3 * 12 > MOST
    assert [len(group.shown) for group in found] == [0] * (len(found) - MOST) + [1] * MOST, "the newest"
    text = Page(render(many, summarise(many))).text
    total = sum(group.total for group in found)
    assert f"{MOST} of {total:,}" in text
    assert f"i12-judge: 1 of {1200:,} comparisons" in text


def test_endless_replies_leave_the_page_one_that_can_be_mailed() -> None:
    def endless(one: Compared) -> Compared:
        said = tuple({**row, "text": "<" * 1_000_000 + "[[A]]"} for row in one.drawn.said)
        return replace(one, drawn=replace(one.drawn, said=said))  # type: ignore[arg-type]  # rows with another text

    compared = {name: tuple(map(endless, some)) for name, some in WORLD.compared.items()}
    view = replace(WORLD, compared=compared)
    text = render(view, summarise(view))
    assert "… (990,005 more characters)" in text
    assert len(text) < 8_000_000, "each < takes four"


def test_a_run_in_which_nobody_judged_has_no_such_part() -> None:
    assert "What judges said" not in Page(render(not_started(), summarise(not_started()))).text
