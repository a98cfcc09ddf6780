"""The rules of the world "rules" under IFEval's own code, which scores them in the report: what is accepted, where it
differs from the checks that lessons are made with, and how many of the lessons' own texts it lets pass."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from examples.rules.rules import BY_NAME, RULES, Kwargs
from examples.rules.topics import read_sentences
from moaa.benchmark.instructions import given
from moaa_jobs.harness.child import harness

DIFFER: tuple[tuple[str, str, Kwargs, bool, bool], ...] = (
    # rule, answer, arguments, whether our check and whether IFEval's holds
    ("upper", "BREAD IS BAKED FROM FLOUR, WATER AND SALT.", {}, True, False),
    ("lower", "tomatoes are green.", {}, True, False),
    ("json", '```json\n{"answer": "Tea"}\n```', {}, False, True),
    ("end", '"Have a nice day."', {"end_phrase": "Have a nice day."}, False, True),
)
SOME_PASS: Mapping[str, range] = {"upper": range(140, 175), "lower": range(225, 240)}
"""Of the 240 texts that lessons make, where IFEval's code does not let all pass."""


async def test_every_rule_can_be_checked_by_ifevals_code(tmp_path: Path) -> None:
    asked = [(rule.instruction_id, given(dict(one))) for rule in RULES for one in rule.arguments]
    async with harness(tmp_path) as made:
        assert set(await made.refusals(asked)) == {""}


async def test_where_the_two_checks_differ(tmp_path: Path) -> None:
    async with harness(tmp_path) as made:
        for name, text, arguments, ours, theirs in DIFFER:
            rule = BY_NAME[name]
            assert rule.holds(text, arguments) is ours, text
            assert (await made.follow("Q", [rule.instruction_id], [dict(arguments)], text)).strict == [theirs], text


async def test_how_many_texts_of_lessons_keep_their_rule_for_ifevals_code(tmp_path: Path) -> None:
    passed: Counter[str] = Counter()
    async with harness(tmp_path) as made:
        for rule in RULES:
            arguments = dict(rule.arguments[0])
            for topic, said in read_sentences().items():
                for first in range(3):
                    text = rule.keep(said[first:] + said[:first], topic, arguments)
                    passed[rule.name] += (await made.follow("Q", [rule.instruction_id], [arguments], text)).strict[0]
    odd = {name: passed[name] for name in BY_NAME if passed[name] not in SOME_PASS.get(name, [240])}
    assert odd == {}
