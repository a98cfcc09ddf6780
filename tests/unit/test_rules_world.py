"""The world "rules": its checkers, its lessons and prompts, and how stored answers become scores, controls, claims."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from examples.rules import controls
from examples.rules.courses import CHAIR, SIZES, courses
from examples.rules.data import WORLDS, files, write
from examples.rules.lessons import CAST, Lesson, Teacher
from examples.rules.rules import BY_NAME, RULES, Kwargs, keeps
from examples.rules.run import ARMS, CLAIMS, FIRST, HERE, MODEL, NAMES, over_seeds, place, table, verdicts
from examples.rules.stored import Rules, read_rules
from examples.rules.topics import REPORT, SELECTION, TAUGHT, read_sentences, taught
from moaa.api.prompts import effective
from moaa.api.reading.load import load
from moaa.conversation import Message
from moaa.experiment.expand import expand
from moaa.judge.reading import parse_verdict
from moaa.rows import ConversationRow, ProposalRecord, SampleRow

PROMPTS = effective(load(HERE / "moaa.yaml").spec.prompts)
SMALL = WORLDS["small"]
KEPT: Mapping[str, tuple[str, str, Kwargs]] = {
    # rule: (an answer that keeps it, one that nearly does, arguments)
    "title": ("<<Tea>>\nIt is warm.", "<<Tea\nIt is warm.>>", {}),
    "end": ("Tea is warm. have a nice day.", "Tea. Have a nice day. Bye.", {"end_phrase": "Have a nice day."}),
    "quotation": ('"Tea is warm."', '"Tea" is warm.', {}),
    "upper": ("TEA IS 80 DEGREES.", "TEA IS WARM, yes.", {}),
    "json": ('{"answer": "Tea"}', '{"answer": Tea}', {}),
    "lower": ("tea is warm.", "Tea is warm.", {}),
    "commas": ("Tea is warm and wet.", "Tea is warm, and wet.", {}),
    "bullets": ("* Warm.\n* Wet.\n- Brown.", "* Warm.\n* Wet.", {"num_bullets": 3}),
    "short": ("Tea is warm.", "tea " * 15, {"relation": "less than", "num_words": 15}),
}


def teacher(seed: str) -> Teacher:
    rules = [BY_NAME[name] for name in SMALL.rules]
    return Teacher(TAUGHT[: SMALL.taught], rules, PROMPTS, seed=seed)


def said(lesson: Lesson) -> str:
    return "\n".join([*(m["content"] for m in lesson.messages), lesson.reply])


# Rules.


@pytest.mark.parametrize("name", [rule.name for rule in RULES])
def test_a_rule_tells_an_answer_that_keeps_it_from_one_that_nearly_does(name: str) -> None:
    kept, broken, arguments = KEPT[name]
    rule = BY_NAME[name].instruction_id
    assert keeps(f"\n{kept} ", [rule], [arguments])
    assert not keeps(broken, [rule], [arguments])
    assert not keeps("", [rule], [arguments])


def test_an_answer_has_to_keep_all_of_its_rules() -> None:
    both = [BY_NAME["upper"].instruction_id, BY_NAME["commas"].instruction_id]
    assert keeps("TEA IS WARM.", both, [{}, {}])
    assert not keeps("TEA, WARM.", both, [{}, {}])
    with pytest.raises(ValueError, match="argument 2"):
        keeps("TEA", both, [{}])


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_can_make_a_text_that_keeps_it_of_every_topic(rule: object) -> None:
    found = next(one for one in RULES if one is rule)
    for topic, sentences in read_sentences().items():
        for arguments in found.arguments:
            assert found.holds(found.keep(sentences, topic, arguments), arguments), topic


# Lessons and prompts.


def test_topics_stand_once_and_have_three_sentences_where_they_are_taught() -> None:
    topics = [*TAUGHT, *SELECTION, *REPORT]
    assert len(set(topics)) == len(topics) == 120
    assert {len(sentences) for sentences in read_sentences().values()} == {3}


def test_every_rule_has_one_member_that_is_taught_it() -> None:
    assert sorted(rule for rules in CAST.values() for rule in rules) == sorted(BY_NAME)


def test_lessons_name_no_topic_that_is_measured_and_are_the_same_for_a_seed() -> None:
    def all_of(seed: str) -> list[Lesson]:
        drawn = teacher(seed)
        return [*drawn.solo([BY_NAME["json"]], TAUGHT[:5]), *drawn.aggregate(60), *drawn.council(30), *drawn.judge(40)]

    lessons = all_of("0")
    assert lessons == all_of("0")
    assert lessons != all_of("1")
    forms = [f"about {topic}." for topic in (*SELECTION, *REPORT)] + [f"special about {t}?" for t in REPORT]
    assert not [one for one in lessons if any(form in said(one) for form in forms)]


def test_the_chair_is_taught_to_return_a_proposal_that_keeps_the_rule_wherever_it_stands() -> None:
    places = []
    for lesson in teacher("0").aggregate(200):
        [system, user] = lesson.messages
        assert user["role"] == "user"
        lines = system["content"].split("\n1. ", 1)[1]
        places += [lines.index(lesson.reply) for _ in [0] if lesson.reply in lines]
    assert 150 <= len(places) < 200  # where no proposal keeps the rule, one is mended
    assert len(set(places)) > 20


def test_courses_hold_the_lessons_that_their_sizes_say() -> None:
    [member] = courses("member-a", SMALL, SIZES["small"], seed=0)
    assert (len(member.lessons), member.epochs) == (40, 4)  # two of its rules are in the small world, 20 topics each
    first, second = courses(CHAIR, SMALL, SIZES["small"], seed=0)
    assert [len(first.lessons), len(second.lessons)] == [140 + 2 * 50, 160 + 2 * 30]
    assert first.lessons[:140] == list(teacher("0").aggregate(140))
    assert first.seed != second.seed


def test_the_judge_is_taught_both_orders_of_every_pair() -> None:
    lessons = list(teacher("0").judge(30))
    for forward, backward in zip(lessons[::2], lessons[1::2], strict=True):
        assert (forward.reply[-5:], backward.reply[-5:]) == ("[[A]]", "[[B]]")
        assert [parse_verdict(one.reply) for one in (forward, backward)] == ["A", "B"]
        assert all(one.reply in one.messages[0]["content"] for one in (forward, backward))
        assert forward.messages != backward.messages


def test_the_chair_sees_proposals_as_the_members_make_them_and_one_that_keeps_the_rule_most_times() -> None:
    mended = 0
    for lesson in teacher("0").council(100):
        [system, _] = lesson.messages
        mended += lesson.reply not in system["content"]
        assert all(f"\n{number}. " in system["content"] for number in (1, 2, 3))
    assert 0 < mended < 20


@pytest.mark.parametrize("name", list(WORLDS))
def test_no_prompt_of_a_world_stands_twice_and_none_is_measured_and_trained(name: str) -> None:
    world = WORLDS[name]
    found = files(world, seed=0)
    texts = [question.text for asked in found.values() for question in asked]
    assert len(set(texts)) == len(texts)
    trained = {q.topic for part in ("sft", "preference") for q in found[part]}
    assert trained == set(TAUGHT[: world.taught])
    assert not trained & {q.topic for q in found["report"]}
    assert len(found["report"]) == world.report * len(world.rules)


def test_rows_are_in_the_format_of_ifeval(tmp_path: Path) -> None:
    write(SMALL, tmp_path, seed=0)
    rows = [json.loads(line) for line in (tmp_path / "report.jsonl").read_text().splitlines()]
    assert {tuple(row) for row in rows} == {("id", "prompt", "instruction_id_list", "kwargs")}
    assert {len(row["kwargs"]) == len(row["instruction_id_list"]) == 1 for row in rows} == {True}
    assert read_rules(tmp_path / "report.jsonl")["report-0002"] == (
        ["startend:end_checker"], [rows[2]["kwargs"][0]],
    )  # fmt: skip


def test_seeds_train_on_other_topics_and_are_measured_on_the_same_questions() -> None:
    one, other = files(SMALL, seed=0), files(SMALL, seed=1)
    assert not {q.topic for q in one["sft"]} & {q.topic for q in other["sft"]}
    assert one["report"] == other["report"]


@pytest.mark.parametrize("name", list(WORLDS))
def test_judges_are_measured_on_pairs_about_topics_that_the_chair_was_not_taught(name: str, tmp_path: Path) -> None:
    write(WORLDS[name], tmp_path, seed=1)
    pairs = [json.loads(line) for line in (tmp_path / "anchors.jsonl").read_text().splitlines()]
    learnt = set(taught(1)[: SIZES[name].chair_topics])
    assert {question.topic for question, _, _ in teacher("0").pairs(200)} <= set(TAUGHT[: SMALL.taught])
    assert len(pairs) >= 40
    assert not [pair for pair in pairs if any(f"about {topic}." in pair["prompt"] for topic in learnt)]


# Arms, controls, claims.


def test_a_seed_has_its_own_folder_in_every_path_but_the_models(tmp_path: Path) -> None:
    expanded = expand(place(tmp_path / "seed-3", seed=3))
    assert {run.seed for run in expanded.runs} == {3}
    spec = expanded.of(FIRST)[0].resource.spec
    paths = [str(spec.storage.uri), *(str(model.source) for model in spec.models)]
    assert [path for path in paths if "seed-3" not in path] == [f"file://{MODEL}"]
    assert "seed-3" in spec.data.sft[0].source


def test_the_arms_can_be_planned_and_share_the_student_up_to_its_samples() -> None:
    expanded = expand(ARMS)
    assert expanded.arms == (FIRST, *NAMES)
    assert load(HERE / "moaa.yaml").spec.student == "smollm2"


def conversation(row_id: str, *texts: str) -> ConversationRow:
    proposals = [ProposalRecord(path=f"p{n}", model=f"member-{'abc'[n]}", text=text) for n, text in enumerate(texts)]
    messages = [Message(role="user", content="Tell."), Message(role="assistant", content="said")]
    return ConversationRow(
        id=row_id, messages=messages, proposals=proposals, missing=0, absent=[], shortened=0, wrote=["chair"]
    )  # fmt: skip


def test_controls_take_the_best_member_and_a_random_one(tmp_path: Path) -> None:
    rows = [conversation("r0", "no", "YES", "no"), conversation("r1", "no", "YES", " "), conversation("r2", "no")]
    rules: dict[str, Rules] = {row["id"]: (["change_case:english_capital"], [{}]) for row in rows}
    told = controls.write(rows, rules, tmp_path, seed=0)
    assert told == "of 3 prompts, 2 have an answer of member-b (one-member) and 3 of any (random-member)"
    written = [json.loads(line) for line in (tmp_path / "one-member.jsonl").read_text().splitlines()]
    assert [row["messages"][-1]["content"] for row in written] == ["YES", "YES"]
    drawn = (tmp_path / "random-member.jsonl").read_text()
    controls.write(rows, rules, tmp_path, seed=0)
    assert (tmp_path / "random-member.jsonl").read_text() == drawn


def test_the_rules_that_are_kept_half_the_time_are_asked_about_in_every_form(tmp_path: Path) -> None:
    asked = {rule: [q for q in files(SMALL, seed=1)["preference"] if q.rule.name == rule] for rule in SMALL.rules}
    rows: list[SampleRow] = []
    rules: dict[str, Rules] = {}
    for rule, found in asked.items():  # title never, upper always, end nearly, json half the time
        for number, question in enumerate(found):
            name, right = f"{rule}-{number}", question.rule.keep(["It is. It", "Is.", "So."], "Tea", question.kwargs)
            kept = {"title": 0, "upper": 4, "end": 3, "json": 2, "quotation": 4, "lower": 4}[rule]
            rows.append(SampleRow(id=name, messages=[], samples=[right] * kept + ["No. no"] * (4 - kept)))
            rules[name] = ([question.rule.instruction_id], [question.kwargs])
    assert controls.half_kept(rows, rules) == ["json", "end"]
    told = controls.write_half_kept(rows, rules, tmp_path, SMALL, seed=1)
    assert told == "the student keeps json and end most nearly half the time: 48 prompts (half-kept)"
    written = [json.loads(line) for line in (tmp_path / "half-kept.jsonl").read_text().splitlines()]
    assert len({row["prompt"] for row in written}) == len(written) == 48
    assert {row["instruction_id_list"][0] for row in written} == {BY_NAME[n].instruction_id for n in ("json", "end")}
    sft = {question.topic for question in files(SMALL, seed=1)["sft"]}
    assert not [row for row in written if any(f"about {topic}." in row["prompt"] for topic in sft)]


def test_claims_name_scores_that_the_arms_have() -> None:
    claims = yaml.safe_load(CLAIMS.read_text())["claims"]
    sides = [side for claim in claims for side in (claim["first"], claim["second"])]
    named = {name for side in sides for name in ([side] if isinstance(side, str) else side["best"])}
    added = {shown for names in NAMES.values() for shown in names.values()}
    assert named == {"base", *CAST, "aggregator", "mixture", "sft", "dpo"} | added
    assert len(claims) == 11  # claims.yaml divides the error by this


def test_a_claim_holds_only_where_all_its_scores_were_measured() -> None:
    question = [str(n) for n in range(60)]
    good, bad = dict.fromkeys(question, 1.0), dict.fromkeys(question, 0.0)
    found = {v.id: v.holds for v in verdicts({"sft": good, "base": bad, "mixture": good})}
    assert found["sft-beats-base"] is True
    assert found["sft-nears-mixture"] is True
    assert found["judge-matters"] is None


def test_seeds_are_averaged_by_question_and_missing_answers_are_counted() -> None:
    scores = over_seeds([{"sft": {"a": 1.0, "b": 0.0}, "dpo": {"a": 1.0}}, {"sft": {"a": 0.0, "b": 0.0}}])
    assert scores == {"sft": {"a": 0.5, "b": 0.0}}
    rules: dict[str, Rules] = {
        "a": (["punctuation:no_comma"], [{}]), "b": (["punctuation:no_comma"], [{}]),
        "c": (["detectable_format:title"], [{}]),
    }  # fmt: skip
    assert list(table(scores, rules))[2:] == ["| sft | 25 | – | 25 | 1 |"]
