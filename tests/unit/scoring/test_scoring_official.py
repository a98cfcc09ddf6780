"""`python -m benchmarks.official` on a made-up folder: it passes, fails where a figure is off, says what it needs."""

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks import official
from moaa.scoring.alpaca_eval import length_controlled, win_rate
from moaa.scoring.reward_bench import SECTIONS, reward_bench

COUNT = 60
MODELS = ("one", "two", "three")


def alpaca(folder: Path, *, off: float = 0.0) -> None:
    """Figures of three made-up models, official ones from our own formulas; `off` is added to the LC of the last."""
    rng = np.random.default_rng(5)
    lengths = {name: rng.integers(100, 3000, COUNT).tolist() for name in ("baseline", "verbose", "concise", *MODELS)}
    questions = [
        {"question": i, "difficulty": float(rng.normal()), "baseline_length": lengths["baseline"][i]}
        | {f"{run}_length": lengths[run][i] for run in official.RUNS}
        | {f"{run}_score_fitted": float(rng.random()) for run in official.RUNS}
        for i in range(COUNT)
    ]
    rows = [
        {"model": model, "row": i, "question": i, "preference": 1 + float(rng.random())}
        | {"baseline_length": lengths["baseline"][i], "length": lengths[model][i]}
        for model in MODELS
        for i in range(COUNT)
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / official.ANNOTATIONS)
    pq.write_table(pa.Table.from_pylist(questions), folder / official.QUESTIONS)
    data = official.AlpacaData({m: [r for r in rows if r["model"] == m] for m in MODELS}, questions, {})
    table = [published(data, model) for model in MODELS]
    table[-1]["length_controlled_winrate"] += off
    pq.write_table(pa.Table.from_pylist(table), folder / official.OFFICIAL)


def published(data: official.AlpacaData, model: str) -> dict[str, Any]:
    subject = data.subject(model)
    raw, lc = win_rate([row.score for row in subject.values()]), length_controlled(subject, data.known)
    return {
        "model": model,
        "win_rate": 100 * raw.rate,
        "standard_error": 100 * raw.standard_error,
        "discrete_win_rate": 100 * raw.discrete,
        "n_draws": float(raw.draws),
        "length_controlled_winrate": 100 * lc.rate,
        "lc_standard_error": 100 * lc.standard_error,
        "weight_difficulty": lc.weights[1],
        "weight_bias": lc.weights[2],
    }


def others(folder: Path) -> None:
    subsets = {name: 0.25 for names in SECTIONS.values() for name in names}
    names = ("math", "reasoning", "coding", "stem")
    data = {
        "arena_hard_v0.1": [{"model": "base", "score": 50.0, "rating_q025": 50.0, "rating_q975": 50.0}],
        "mt_bench": {
            "scores": [{"model": "one", "score": 7.50625}],
            "questions": [{"question": i, "category": names[i % 4], "turns": 2} for i in range(40)],
        },
        "rewardbench": {"model": "r", "subsets": subsets, "official_sections": reward_bench(subsets).sections},
    }
    with gzip.open(folder / official.OTHERS, "wt") as file:
        json.dump(data, file)


def run(monkeypatch: pytest.MonkeyPatch, folder: Path | None) -> int:
    monkeypatch.setattr(sys, "argv", ["official"])
    if folder is None:
        monkeypatch.delenv(official.VARIABLE, raising=False)
    else:
        monkeypatch.setenv(official.VARIABLE, str(folder))
    return official.main()


def test_equal_figures_pass_and_the_last_line_is_one_object(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alpaca(tmp_path)
    others(tmp_path)
    assert run(monkeypatch, tmp_path) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert figures["failures"] == []
    assert figures["alpacaEval.models"] == 3
    assert figures["alpacaEval.lcMax"] == pytest.approx(0, abs=1e-9)
    assert figures["lcEstimate.max"] > 0


def test_a_figure_beyond_its_limit_fails_and_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alpaca(tmp_path, off=0.25)
    others(tmp_path)
    assert run(monkeypatch, tmp_path) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "beyond its limit: three: -0.2500, allowed 0.2" in lines
    assert any(text.startswith("three: -0.25") for text in json.loads(lines[-1])["failures"])


def test_without_a_folder_it_says_what_it_needs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, None) == 2
    assert "MOAA_EVAL_DATA is not set" in capsys.readouterr().err
    alpaca(tmp_path)
    assert run(monkeypatch, tmp_path) == 2
    assert "no file other_official.json.gz" in capsys.readouterr().err


def test_the_document_holds_differences_only(tmp_path: Path) -> None:
    alpaca(tmp_path)
    others(tmp_path)
    result = official.measure(tmp_path)
    text = official.document(result, "0" * 40)
    shown = pq.read_table(tmp_path / official.OFFICIAL).to_pylist()[0]["length_controlled_winrate"]
    assert any(f"{shown:.4f}" in line for line in result.lines)
    assert f"{shown:.2f}" not in text
    assert "All within." in text
