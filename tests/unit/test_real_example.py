"""`make real`: its data are sound, its resource plans one whole iteration, and a run that lacks something is told."""

import json
from dataclasses import replace
from html import escape
from pathlib import Path

import pytest

from examples.real import build
from examples.real.run import PREFERS, lacking, told
from moaa.api.evaluation import ExactMatch
from moaa.api.reading.check import warnings
from moaa.api.reading.load import load
from moaa.plan.graph import build as graph_of
from moaa.plan.stage import Kind
from moaa.report.schema import Summary
from moaa.report.summary import summarise
from tests.plan_helpers import run_all
from tests.unit.report_world import finished_run

REAL = Path(__file__).parents[2] / "examples" / "real"
RESOURCE = load(REAL / "moaa.yaml")
FOLLOWS = f"judge 'smollm2' {PREFERS} first: 90 of 96 comparisons"


def rows(name: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (REAL / "data" / f"{name}.jsonl").read_text().splitlines()]


# Data and resource.


def test_no_prompt_stands_twice_and_every_file_has_rows_enough() -> None:
    files = {name: rows(name) for name in ("sft", "preference", "exact", "judged")}
    prompts = [row["prompt"] for found in files.values() for row in found]
    ids = [row["id"] for found in files.values() for row in found]
    assert len({prompt.casefold() for prompt in prompts}) == len(prompts)
    assert len(set(ids)) == len(ids)
    assert {name: len(found) for name, found in files.items()} == {
        "sft": 60, "preference": 32, "exact": 28, "judged": 20,
    }  # fmt: skip


def test_only_the_questions_with_one_right_answer_hold_it() -> None:
    assert all(row["answer"].endswith(".") and len(row["answer"].split()) <= 6 for row in rows("exact"))
    assert all(set(row) == {"id", "prompt"} for name in ("sft", "preference", "judged") for row in rows(name))


def test_every_data_file_is_used_by_the_resource() -> None:
    spec = RESOURCE.spec
    sources = [s.source for s in (*spec.data.sft, *spec.data.preference)]
    sources += [b.source for b in (*spec.evaluation.selection, *spec.evaluation.report)]
    assert sorted(Path(s).name for s in sources) == sorted(p.name for p in (REAL / "data").iterdir())


def test_one_iteration_has_every_kind_of_stage_and_can_be_planned_to_its_end() -> None:
    stages = graph_of(RESOURCE).stages
    assert {stage.kind for stage in stages.values()} == set(Kind) - {Kind.AVERAGE}
    assert RESOURCE.spec.iterations == 1
    assert set(run_all(RESOURCE)[0]) == set(stages)
    assert any(isinstance(b, ExactMatch) for b in RESOURCE.spec.evaluation.selection)


def test_validate_says_of_it_only_that_it_judges_itself() -> None:
    assert [text for text in warnings(RESOURCE) if "also judges the training pairs" not in text] == []


# The model's file.


def test_a_missing_package_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "PACKAGE", "no-such-package")
    with pytest.raises(ValueError, match=r"no-such-package is not installed: `make real`"):
        build.find_gguf()


def test_another_file_than_the_known_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "PACKAGE", "pytest")
    monkeypatch.setattr(build, "FILE", "pytest/__init__.py")
    with pytest.raises(ValueError, match=r"pytest/__init__\.py has the sha256 [0-9a-f]{64}, not b179c952"):
        build.find_gguf()


def test_a_folder_that_is_there_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "PACKAGE", "no-such-package")
    (tmp_path / "config.json").write_text("{}")
    build.build(tmp_path)
    assert (tmp_path / "config.json").read_text() == "{}"


def test_a_model_that_fails_its_check_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: Path) -> str:
        raise ValueError(f"{folder.name} says Rome")

    monkeypatch.setattr(build, "find_gguf", lambda: tmp_path / "file.gguf")
    monkeypatch.setattr(build, "convert", lambda _, folder: (folder / "config.json").write_text("{}"))
    monkeypatch.setattr(build, "check", refuse)
    with pytest.raises(ValueError, match="says Rome"):
        build.build(tmp_path / "models" / "model")
    assert list((tmp_path / "models").iterdir()) == []


# What a finished run must hold.


def summary(*, named: bool = True) -> Summary:
    """Of a finished run whose judges are named as ones that follow the order, or not."""
    view = finished_run()
    stages = []
    for stage in view.stages:
        manifest = stage.manifest
        if manifest is not None and stage.stage.kind is Kind.JUDGE:
            manifest = manifest.model_copy(update={"warnings": [FOLLOWS] if named else []})
        stages.append(replace(stage, manifest=manifest))
    return summarise(replace(view, stages=tuple(stages)))


def test_a_run_with_all_results_and_a_named_judge_lacks_nothing() -> None:
    assert lacking(summary(), f"<li>{escape(FOLLOWS)}</li>") == []


def test_a_judge_that_is_not_named_is_told() -> None:
    found = lacking(summary(named=False), "")
    assert found[0] == "i1-judge does not name the judge as one that follows the order of the answers"


def test_a_report_that_does_not_show_it_is_told() -> None:
    assert lacking(summary(), "<li>nothing</li>")[0] == f"report.html does not show: {FOLLOWS}"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"training": []}, "no step of sft in the report"),
        ({"pairs": []}, "no preference pair in the report"),
        ({"scores": []}, "no scores in the report"),
    ],
)
def test_a_result_that_is_not_there_is_told(change: dict[str, object], sentence: str) -> None:
    assert sentence in lacking(summary().model_copy(update=change), escape(FOLLOWS))


def test_a_model_that_was_not_measured_and_a_stage_that_is_not_done_are_told() -> None:
    whole = summary()
    scores = [score for score in whole.scores if score.model != "mixture"]
    stages = [s.model_copy(update={"status": "failed"}) if s.id == "i1-dpo" else s for s in whole.stages]
    found = lacking(whole.model_copy(update={"scores": scores, "stages": stages}), escape(FOLLOWS))
    assert found[0] == "i1-dpo is failed"
    assert {text.partition(": ")[2] for text in found[1:]} == {"no score of mixture"}


def test_times_scores_and_doubts_are_told() -> None:
    text = "\n".join(told(summary()))
    assert "i1-dpo" in text
    assert "math of base" in text
    assert FOLLOWS in text
