"""`moaa search` as a command: its plan, what it refuses, and a whole search over runs that are made up."""

import json
from pathlib import Path
from typing import Any

import pytest

from moaa.api import MoAA
from moaa.cli import main
from moaa.experiment.expand import Run
from moaa.rows import ScoreRow
from moaa.run.view import RunView
from tests.unit.search.test_search import planted, written


@pytest.fixture
def carried(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Runs that were carried out, with the stage they were to stop after; each scores as planted."""
    runs: list[tuple[str, str]] = []

    async def carry_out(resource: MoAA, _store: Any, settings: Any, **_: Any) -> None:
        runs.append((resource.metadata.name, settings.until))

    async def collect(resource: MoAA, _store: Any, run: str) -> RunView:
        scores = planted(Run("", 0, resource))["held"]
        rows = [
            ScoreRow(
                benchmark="held", model=model, id=id, score=score if model == "mixture" else 0.0, length=1.0,
                baseline_length=None, refused=None, repeated=None,
            )
            for id, score in scores.items() for model in ("base", "mixture")
        ]  # fmt: skip
        return RunView(resource, run, (), scores={"i0-evaluate": tuple(rows)})

    monkeypatch.setattr("moaa.cli.run.carry_out", carry_out)
    monkeypatch.setattr("moaa.run.collect.collect", collect)
    monkeypatch.setattr("moaa.cli.run.be_runner", lambda: None)
    return runs


def test_a_search_measures_each_mixture_to_its_evaluation_and_names_the_best(
    tmp_path: Path, carried: list[tuple[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path, proposers=["a", "eva"], trials=15)
    assert main.main(["search", str(file), "--out", str(tmp_path / "out")]) == 0
    assert len(carried) == 15  # the base and every mixture but those of none or too many proposals
    assert {until for _, until in carried} == {"i0-evaluate"}
    kept = json.loads((tmp_path / "out" / "search.json").read_text())["trials"]
    assert max(kept, key=lambda one: one["score"])["mixture"] == "2 a + eva > agg"
    printed = capsys.readouterr().out
    assert "mixture:" in printed
    assert "trial 1, eva > agg" in printed


def test_a_plan_starts_nothing(
    tmp_path: Path, carried: list[tuple[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["search", str(written(tmp_path)), "--plan"]) == 0
    printed = capsys.readouterr().out
    assert "small: 25 of 64 mixtures beside the base's" in printed
    assert "the base's mixture for 1,000 prompts: GPU-h " in printed
    assert carried == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--rows", "eval-held=3"], "--rows has no effect with a search"),
        (["--plan", "--out", "x"], "--out has no effect"),
    ],
)
def test_options_without_effect_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    assert main.main(["search", str(written(tmp_path)), *options]) == 2
    assert said in capsys.readouterr().err


def test_a_mixture_without_scores_is_no_zero(
    tmp_path: Path, carried: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def nothing(resource: MoAA, _store: Any, run: str) -> RunView:
        return RunView(resource, run, ())

    monkeypatch.setattr("moaa.run.collect.collect", nothing)
    assert main.main(["search", str(written(tmp_path))]) == 1
    assert "no question of held has a score of the mixture" in capsys.readouterr().err
    assert len(carried) == 1
