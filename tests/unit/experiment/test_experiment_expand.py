"""From an experiment's file to its runs: patches, the grid, seeds, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import JsonValue

from moaa.errors import ResourceError, UsageError
from moaa.experiment.expand import expand
from moaa.experiment.patch import merged, steps_of, with_field
from tests.plan_helpers import tree

HEAD = {"apiVersion": "moaa.dev/v1alpha1", "kind": "Experiment", "metadata": {"name": "trial"}, "base": "base.json"}
ONE: dict[str, Any] = {"spec": {"mixture": {"layers": [{"proposers": [{"model": "a"}]}]}}}


def write(folder: Path, *, base: dict[str, Any] | None = None, **fields: Any) -> Path:
    (folder / "base.json").write_text(json.dumps(base or tree()))
    file = folder / "trial.json"
    file.write_text(json.dumps({**HEAD, **fields}))
    return file


def refused(folder: Path, **fields: Any) -> str:
    with pytest.raises(ResourceError) as caught:
        expand(write(folder, **fields))
    return str(caught.value)


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_patches_follow_the_examples_of_rfc_7396(target: JsonValue, patch: JsonValue, result: JsonValue) -> None:
    before = json.dumps(target)
    assert merged(target, patch) == result
    assert json.dumps(target) == before


def test_a_field_is_set_by_its_path() -> None:
    document: JsonValue = {"spec": {"data": {"sft": [{"limit": 1}, {"limit": 2}]}}}
    assert steps_of("spec.data.sft[1].limit") == ("spec", "data", "sft", 1, "limit")
    changed = with_field(document, steps_of("spec.data.sft[1].limit"), 9)
    assert changed == {"spec": {"data": {"sft": [{"limit": 1}, {"limit": 9}]}}}
    assert with_field({}, ("a", "b"), 1) == {"a": {"b": 1}}
    with pytest.raises(ValueError, match=r"entry \[2\] of a list that has 2"):
        with_field(document, steps_of("spec.data.sft[2].limit"), 9)
    with pytest.raises(ValueError, match="no field x"):
        with_field({"a": 1}, ("a", "x"), 9)
    for broken in ("spec..x", "spec.data[x]", "", "spec data"):
        with pytest.raises(ValueError, match="is no path of a field"):
            steps_of(broken)


def test_arms_grid_and_seeds_give_every_combination_the_first_arm_first(tmp_path: Path) -> None:
    found = expand(
        write(
            tmp_path,
            arms={"whole": {}, "one": ONE},
            grid={"spec.training.dpo.beta": ["0.01", "0.1"], "spec.data.sft[0].limit": [5]},
            seeds=[3, 4],
        )
    )
    assert found.arms == (
        "whole, beta 0.01, limit 5",
        "whole, beta 0.1, limit 5",
        "one, beta 0.01, limit 5",
        "one, beta 0.1, limit 5",
    )
    assert [run.seed for run in found.runs] == [3, 4] * 4
    last = found.runs[-1].resource
    assert (last.spec.seed, last.spec.data.sft[0].limit) == (4, 5)
    assert last.spec.training.dpo is not None
    assert str(last.spec.training.dpo.beta) == "0.1"
    assert last.spec.mixture is not None
    assert [p.model for p in last.spec.mixture.layers[0].proposers] == ["a"]
    assert last.spec.mixture.aggregator is not None
    assert last.spec.mixture.aggregator.model == "agg"


def test_without_arms_and_seeds_the_base_is_the_one_arm(tmp_path: Path) -> None:
    (run,) = expand(write(tmp_path, base=tree(spec__seed=7))).runs
    assert (run.arm, run.seed, run.resource.spec.seed) == ("base", 7, 7)


def test_a_run_is_called_after_its_arm_and_what_it_asks_for(tmp_path: Path) -> None:
    before = {run.arm: run.name for run in expand(write(tmp_path, arms={"whole": {}, "one": ONE})).runs}
    assert all(name.startswith(f"{arm}-") and len(name) == len(arm) + 7 for arm, name in before.items())
    priced = tree(spec__cost={"gpuHourUsd": "2"})
    assert {r.arm: r.name for r in expand(write(tmp_path, base=priced, arms={"whole": {}, "one": ONE})).runs} == before
    edited = {"spec": {**ONE["spec"], "iterations": 2, "data": {"allowReuse": True}}}
    after = {run.arm: run.name for run in expand(write(tmp_path, arms={"whole": {}, "one": edited})).runs}
    assert after["whole"] == before["whole"]
    assert after["one"] != before["one"]


def test_where_an_arm_differs_is_told_field_by_field(tmp_path: Path) -> None:
    found = expand(write(tmp_path, arms={"whole": {}, "one": ONE}, seeds=[1, 2]))
    assert found.changes("whole") == []
    assert found.changes("one") == ["spec.mixture.layers[0].proposers[1] b is gone"]


def test_paths_start_from_the_folder_of_the_file_that_names_them(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "base.json").write_text(
        json.dumps(tree(spec__storage={"uri": "file://./store"}, spec__data__sft=[{"source": "file://./a.jsonl"}]))
    )
    file = tmp_path / "deep" / "trial.json"
    arms = {"near": {}, "far": {"spec": {"data": {"sft": [{"source": "file://./b.jsonl"}]}}}}
    file.write_text(json.dumps({**HEAD, "base": "../base.json", "arms": arms}))
    near, far = (run.resource.spec for run in expand(file).runs)
    assert near.storage.uri == far.storage.uri == f"file://{tmp_path}/store"
    assert near.data.sft[0].source == f"file://{tmp_path}/a.jsonl"
    assert far.data.sft[0].source == f"file://{tmp_path}/deep/b.jsonl"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"arms": {"x": {"spec": {"storage": {"uri": "file:///b"}}}}},
            "arms.x.spec.storage: is not an arm's to change",
        ),
        ({"arms": {"x": {"spec": {"seed": 1}}}}, "arms.x.spec.seed: is not an arm's to change: write seeds"),
        ({"arms": {"x": {"metadata": {"name": "y"}}}}, "arms.x.metadata: is not a field here; fields here: spec"),
        ({"arms": {}}, "arms: is empty"),
        ({"arms": {"Big": {}}}, "arms.Big: must be lower-case"),
        ({"arms": {"a-name-that-is-too-long": {}}}, "is too long; an arm's name has at most 17 characters"),
        ({"grid": {"training.dpo.beta": ["1"]}}, "grid.training.dpo.beta: is not a field of spec"),
        ({"grid": {"spec.seed": [1]}}, "grid.spec.seed: is not the grid's to change"),
        ({"grid": {"spec.data.sft[4].limit": [1]}}, "arm base, limit 1: spec.data.sft[4].limit names entry [4]"),
        ({"grid": {"spec.training.dpo.beta": []}}, 'grid["spec.training.dpo.beta"]: is empty'),
        ({"seeds": [1, 1]}, "seeds: hold one twice"),
        ({"seeds": [-1]}, "seeds[0]: -1"),
        ({"armz": {}}, "armz: is not a field here; did you mean arms?"),
        ({"kind": "MoAA"}, "kind: \"MoAA\" is not read by this command; write 'Experiment'"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(tmp_path: Path, fields: dict[str, Any], said: str) -> None:
    assert said in refused(tmp_path, **fields)


def test_every_wrong_arm_is_named_with_its_field_at_once(tmp_path: Path) -> None:
    arms = {
        "good": {},
        "float": {"spec": {"training": {"dpo": {"beta": 0.1}}}},
        "stranger": {"spec": {"mixture": {"aggregator": {"model": "nobody"}}}},
        "typo": {"spec": {"mixtur": {}}},
    }
    said = refused(tmp_path, arms=arms)
    assert "arm float: spec.training.dpo.beta: 0.1 must be a number in quotes" in said
    assert 'arm stranger: spec.mixture.aggregator.model: "nobody"' in said
    assert "arm typo: spec.mixtur: is not a field here; did you mean mixture?" in said
    assert "3 problems" in said


def test_mistakes_of_the_file_and_of_arms_are_told_together(tmp_path: Path) -> None:
    arms = {
        "good": {},
        "moved": {"spec": {"storage": {"uri": "file:///b"}, "mixtur": {}}},
        "named": {"metadata": {"name": "y"}},
        "float": {"spec": {"training": {"dpo": {"beta": 0.1}}}},
    }
    grid = {"spec.seed": [1], "training.dpo.beta": ["1"], "spec.training.dpo.epochs": ["1", "2"]}
    said = refused(tmp_path, arms=arms, grid=grid, armz={}, seeds=[1, -1])
    assert "armz: is not a field here" in said
    assert "seeds[1]: -1" in said
    assert "arms.named.metadata: is not a field here" in said
    assert "arms.moved.spec.storage: is not an arm's to change" in said
    assert "grid.spec.seed: is not the grid's to change" in said
    assert "grid.training.dpo.beta: is not a field of spec" in said
    for epochs in ("1", "2"):
        assert f"arm moved, epochs {epochs}: spec.mixtur: is not a field here" in said
        assert f"arm float, epochs {epochs}: spec.training.dpo.beta: 0.1 must be a number in quotes" in said
    assert "10 problems" in said
    assert "asks for the same" not in said


def test_mistakes_of_the_base_are_told_with_those_of_the_file(tmp_path: Path) -> None:
    said = refused(tmp_path, base=tree(spec__student="nobody"), arms={"moved": {"spec": {"seed": 3}}}, seeds=[1, 1])
    assert said.startswith(f"{tmp_path}/trial.json: 3 problems")
    assert "seeds: hold one twice" in said
    assert "arms.moved.spec.seed: is not an arm's to change" in said
    assert "base base.json: spec.student: " in said


def test_an_arm_that_changes_nothing_is_refused(tmp_path: Path) -> None:
    said = refused(tmp_path, arms={"one": {}, "two": {"spec": {"iterations": 1}}})
    assert "arm two: asks for the same as arm one (seed 0); remove one" in said


def test_a_base_that_is_wrong_is_told_under_its_own_name(tmp_path: Path) -> None:
    said = refused(tmp_path, base=tree(spec__student="nobody"))
    assert said.startswith(f"{tmp_path}/base.json: ")
    with pytest.raises(ResourceError, match=r"trial\.json.*\n.*cannot be read"):
        expand(tmp_path / "no" / "trial.json")


def test_some_arms_can_be_asked_for_by_name(tmp_path: Path) -> None:
    found = expand(
        write(
            tmp_path, arms={"whole": {}, "one": ONE, "two": {"spec": {"iterations": 2, "data": {"allowReuse": True}}}}
        )
    )
    assert found.only([]).arms == ("whole", "one", "two")
    assert found.only(["two"]).arms == ("whole", "two")
    with pytest.raises(UsageError, match="--arm three: there is no such arm; the arms are whole; one; two"):
        found.only(["three"])
