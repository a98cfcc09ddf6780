"""What must not move when code does: values of today, against those that were written down (`tests/golden`)."""

import json

import pytest

from tests.golden import book
from tests.golden.topics import TOPICS


@pytest.mark.parametrize("topic", TOPICS)
def test_values_are_the_golden_ones(topic: str) -> None:
    """A difference is a mistake, or a decision that is written down with `python -m tests.golden.write`."""
    golden = json.loads(book.file_of(topic).read_text())
    now = json.loads(book.canonical(TOPICS[topic]()))
    if found := book.report(golden, now):
        pytest.fail(f"{topic}.json: {found}\nIf it is meant: python -m tests.golden.write {topic}", pytrace=False)


def test_every_file_has_its_topic_and_the_form_that_is_written() -> None:
    files = {file.stem: file for file in book.FOLDER.glob("*.json")}
    assert files.keys() == TOPICS.keys()
    for file in files.values():
        text = file.read_text()
        assert text == book.canonical(json.loads(text)), f"{file.name}: write it with python -m tests.golden.write"


def test_all_golden_values_stay_small() -> None:
    assert sum(file.stat().st_size for file in book.FOLDER.glob("*.json")) < 1_500_000


@pytest.mark.parametrize(
    ("golden", "now", "said"),
    [
        ({"a": {"b": 1}}, {"a": {"b": 2}}, "a.b: golden 1, now 2"),
        ({"a": 1}, {}, "a: golden 1, now absent"),
        ({}, {"a": [1]}, "a: new, [1]"),
        ({"a": 1}, {"a": "1"}, 'a: golden 1, now "1"'),
        ([1, 2], [1, 3], "[1]: golden 2, now 3"),
        ([1, 2], [1, 5, 2], ": golden has 2 items, now 3\n[1]: new, 5"),
        ("x\ny", "x\nz", ":\n    --- golden\n    +++ now\n    @@ -1,2 +1,2 @@\n     x\n    -y\n    +z"),
        ([1], [1], ""),
    ],
)
def test_a_report_names_the_place_and_both_values(golden: object, now: object, said: str) -> None:
    assert book.report(golden, now) == said


def test_a_report_counts_what_it_leaves_out() -> None:
    lines = book.report(list(range(30)), list(range(1, 31))).splitlines()
    assert len(lines) == book.SHOWN + 1
    assert lines[-1] == "and 10 more differences"
