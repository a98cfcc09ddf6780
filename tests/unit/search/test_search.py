"""Mixture search: what may be tried, what is tried, how it goes on, and what is told of it."""

import json
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from moaa.errors import MoaaError, ResourceError, UsageError
from moaa.experiment.expand import Run
from moaa.search.show import mixture_yaml, result_json, result_view, trial_line
from moaa.search.space import Space, open_space
from moaa.search.trials import Scores, Searched, Tried, best, gain, mean_of, search
from tests.plan_helpers import tree

QUESTIONS = [f"q{i}" for i in range(40)]


def written(folder: Path, base: Mapping[str, Any] | None = None, **changes: Any) -> Path:
    """A search over three models of the small resource."""
    (folder / "base.yaml").write_text(yaml.safe_dump(dict(base or tree(spec__cost={"gpuHourUsd": "2"}))))
    document = {
        "apiVersion": "moaa.dev/v1alpha1",
        "kind": "Search",
        "metadata": {"name": "small"},
        "base": "base.yaml",
        "proposers": ["a", "b", "eva"],
        "mostSamples": 3,
        "mostProposals": 5,
        "trials": 25,
    }
    file = folder / "search.yaml"
    file.write_text(yaml.safe_dump({**document, **changes}))
    return file


def space_of(folder: Path, **changes: Any) -> Space:
    return open_space(written(folder, **changes))


def members(run: Run) -> dict[str, int]:
    assert run.resource.spec.mixture is not None
    return {p.model: p.samples for p in run.resource.spec.mixture.proposers}


def planted(run: Run) -> Scores:
    """Best with two samples of a, none of b, one of eva."""
    found = members(run)
    apart = sum(abs(found.get(model, 0) - wanted) for model, wanted in (("a", 2), ("b", 0), ("eva", 1)))
    return {"held": {name: 0.9 - 0.1 * apart + 0.01 * (i % 3) for i, name in enumerate(QUESTIONS)}}


async def searched(space: Space, measure: Any = planted) -> tuple[Searched, list[Run]]:
    asked: list[Run] = []

    async def measured(run: Run) -> Scores:
        asked.append(run)
        found: Scores = measure(run)
        return found

    told: list[Tried] = []
    found = await search(space, measured, told.append)
    assert told == found.tried
    return found, asked


async def test_the_optimiser_finds_the_planted_mixture_in_fewer_trials_than_there_are_mixtures(tmp_path: Path) -> None:
    space = space_of(tmp_path)
    assert space.size == 64
    found, asked = await searched(space)
    assert len(asked) == 26  # the base first
    assert asked[0].resource.spec.mixture == space.resource.spec.mixture
    assert best(found.tried).run.arm == "2 a + eva > agg"
    assert len({run.arm for run in asked}) == 26  # nothing is measured twice


async def test_a_search_that_was_killed_suggests_the_same_again(tmp_path: Path) -> None:
    space = space_of(tmp_path, trials=14)
    seen = 0

    def dies(run: Run) -> Scores:
        nonlocal seen
        seen += 1
        if seen == 12:
            raise KeyboardInterrupt
        return planted(run)

    whole, asked = await searched(space)
    first: list[Run] = []
    with pytest.raises(KeyboardInterrupt):
        await searched(space, lambda run: first.append(run) or dies(run))  # type: ignore[func-returns-value]
    assert [run.name for run in first] == [run.name for run in asked[:12]]
    again, _ = await searched(space)
    assert [one.run.name for one in again.tried] == [one.run.name for one in whole.tried]
    other, _ = await searched(space_of(tmp_path, seed=1, trials=14))
    assert [one.run.arm for one in other.tried] != [one.run.arm for one in whole.tried]


async def test_a_small_space_is_tried_whole_and_without_the_optimiser(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    space = space_of(tmp_path, proposers=["a", "b"], mostSamples=2, mostProposals=3, aggregators=["agg", "a"])
    found, _ = await searched(space)
    assert [one.run.arm for one in found.tried[1:]] == [
        f"{mixture} > {aggregator}"
        for aggregator in ("agg", "a")
        for mixture in ("b", "2 b", "a", "a + b", "a + 2 b", "2 a", "2 a + b")
    ]
    with pytest.raises(ModuleNotFoundError):
        await searched(space_of(tmp_path))


async def test_what_is_over_the_limit_is_not_measured_and_is_told(tmp_path: Path) -> None:
    plain = space_of(tmp_path)
    costs = {str(candidate): plain.cost(plain.run(candidate, 1)).usd for candidate in plain.all()}
    limit = sorted(cost for cost in costs.values() if cost is not None)[len(costs) // 3]
    found, asked = await searched(space_of(tmp_path, limit={"usd": f"{limit:.3f}"}, trials=5))
    assert len(asked) > 2
    for run in asked[1:]:
        assert (costs[run.arm] or Decimal(0)) <= Decimal(f"{limit:.3f}")
    assert found.refused
    assert all("for 1,000 prompts, over" in why for why in found.refused.values())
    with pytest.raises(UsageError, match=r"none of 64 mixtures is within mostProposals and limit.*GPU-hours"):
        await searched(space_of(tmp_path, limit={"gpuHours": "0.000001"}, trials=5))


async def test_a_trial_that_fails_is_kept_and_the_base_s_failure_ends_the_search(tmp_path: Path) -> None:
    def half(run: Run) -> Scores:
        if "b" in members(run) and run.arm != "base":
            raise MoaaError("model b has no server")
        return planted(run)

    space = space_of(tmp_path, trials=12)
    found, asked = await searched(space, half)
    failed = [one for one in found.tried if one.problem]
    assert failed
    assert all("b" in members(one.run) and not one.scores for one in failed)
    assert len(asked) == 13
    assert best(found.tried).problem == ""

    def never(_: Run) -> Scores:
        raise MoaaError("no server")

    with pytest.raises(MoaaError, match="no server"):
        await searched(space, never)


def test_a_trial_differs_from_the_base_in_its_mixture_alone(tmp_path: Path) -> None:
    proposers = [{"model": "a", "temperature": "0.9", "samples": 2}, {"model": "b"}]
    base = tree(spec__mixture__layers=[{"proposers": proposers}], spec__mixture__minProposals=3)
    space = space_of(tmp_path, base=base, common={"spec": {"iterations": 1, "evaluation": {"bootstrap": 200}}})
    run = space.run(space.candidate((1, 0, 1), "agg"), 7)
    assert (run.arm, run.name.rpartition("-")[0]) == ("a + eva > agg", "trial-7")
    assert run.resource.spec.mixture is not None
    first, second = run.resource.spec.mixture.proposers
    assert (first.temperature, first.samples) == (Decimal("0.9"), 1)
    assert (second.temperature, second.samples) == (Decimal("0.7"), 1)
    assert run.resource.spec.mixture.min_proposals == 2
    assert run.resource.spec.evaluation.bootstrap == 200
    plain = space.resource.spec
    assert run.resource.spec.model_copy(update={"mixture": plain.mixture}) == plain


WRONG: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "undeclared": ({"proposers": ["a", "nobody"]}, {}, r"proposers\[1\].*is not declared in spec.models"),
    "twice": ({"proposers": ["a", "a"]}, {}, r"proposers\[1\].*stands there twice"),
    "no selection": ({}, {"spec__evaluation__selection": []}, "no benchmark in evaluation.selection"),
    "unmeasured": ({}, {"spec__evaluation__members": False}, "sets evaluation.members: false"),
    "another method": (
        {},
        {"spec__mixture": {"method": "Single", "aggregator": {"model": "a"}}},
        "has no mixture of one layer",
    ),
    "unpriced": ({"limit": {"usd": "3"}}, {}, "needs prices"),
    "misspelt": ({"trails": 3}, {}, "trails.*did you mean trials"),
    "misspelt limit": ({"limit": {"eur": "3"}}, {}, r"limit\.eur.*fields here: usd, gpuHours"),
    "no trials": ({"trials": 0}, {}, "trials"),
    "another kind": ({"kind": "Experiment"}, {}, "kind"),
}


@pytest.mark.parametrize("name", WRONG)
def test_mistakes_are_told_before_anything_runs(tmp_path: Path, name: str) -> None:
    changes, base, said = WRONG[name]
    with pytest.raises(ResourceError, match=said):
        open_space(written(tmp_path, tree(**base), **changes))


def tried(space: Space, arm: str, scores: Scores, usd: str = "1") -> Tried:
    run = space.baseline()
    cost = replace(space.cost(run), usd=Decimal(usd))
    return Tried(Run(arm, run.seed, run.resource), None, cost, scores)


def test_the_best_has_the_highest_mean_over_benchmarks_and_of_equals_the_lowest_cost(tmp_path: Path) -> None:
    space = space_of(tmp_path)
    uneven: Scores = {"x": {"1": 1.0}, "y": {str(i): 0.0 for i in range(9)}}
    assert mean_of(uneven) == 0.5
    equal: Scores = {"x": {"1": 0.5}, "y": {"1": 0.5}}
    listed = [tried(space, "dear", uneven, "3"), tried(space, "cheap", equal, "2"), tried(space, "failed", {})]
    assert best(listed).run.arm == "cheap"
    with pytest.raises(ValueError, match="at least one score"):
        mean_of({"x": {}})


def test_the_difference_is_paired_and_its_interval_holds_for_all_mixtures(tmp_path: Path) -> None:
    space = space_of(tmp_path)
    base = tried(space, "base", {"held": {name: i % 2 / 2 for i, name in enumerate(QUESTIONS)}})
    better = tried(space, "x", {"held": {name: i % 2 / 2 + 0.1 * (i % 3) for i, name in enumerate(QUESTIONS)}})
    one, many = (gain(better, base, resamples=400, confidence=0.95, compared=number) for number in (1, 20))
    assert one.mean == pytest.approx(0.0975)
    assert one.low is not None
    assert one.high is not None
    assert many.low is not None
    assert 0 < many.low < one.low < one.mean < one.high


async def test_what_is_printed_names_the_best_and_warns_of_luck(tmp_path: Path) -> None:
    space = space_of(tmp_path, trials=6, limit={"usd": "3"})
    found, _ = await searched(space)
    console = Console(width=160, record=True, file=StringIO())
    console.print(result_view(space, found))
    text = console.export_text()
    assert "small: 6 mixtures tried" in text
    assert "a little lucky" in text
    winner = best(found.tried)
    assert mixture_yaml(winner).strip().splitlines()[0] == "mixture:"
    assert yaml.safe_load(mixture_yaml(winner))["mixture"]["layers"]
    assert trial_line(winner, 3).startswith(f"trial 3, {winner.run.arm} (")
    kept = json.loads(result_json(found))
    assert [one["mixture"] for one in kept["trials"]] == [one.run.arm for one in found.tried]
    assert kept["trials"][0]["scores"]["held"]["q0"] == found.tried[0].scores["held"]["q0"]
