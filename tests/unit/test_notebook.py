"""`import moaa`: a run read from Python, also where an event loop runs, as in a notebook."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

import moaa
from moaa.errors import MoaaError, UsageError
from moaa.report.schema import Summary
from tests.unit.report_store import Filled, fill
from tests.unit.report_world import finished_run

ROOT = Path(__file__).parent.parent.parent
WORLD = finished_run()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Filled:
    return asyncio.run(fill(tmp_path_factory.mktemp("whole"), WORLD))


@pytest.fixture(scope="module")
def run(whole: Filled) -> moaa.Run:
    storage = WORLD.resource.spec.storage.with_(uri=f"file://{whole.folder}")
    return moaa.open_run(WORLD.resource.with_(spec=WORLD.resource.spec.with_(storage=storage)))


def test_stages_scores_and_curves(run: moaa.Run) -> None:
    assert {stage.status for stage in run.stages} == {"done"}
    assert isinstance(run.summary, Summary)
    scores = run.scores()
    assert scores.num_rows == len(run.summary.scores)
    assert {"model", "benchmark", "value", "low", "high", "n"} <= set(scores.column_names)
    assert [row["loss"] for row in run.curve("i1-sft").to_pylist()] == [row["loss"] for row in WORLD.curves["i1-sft"]]
    assert repr(run).startswith(f"<{run.name}: {len(run.stages)} of {len(run.stages)} stages done. ")


async def test_rows_inside_a_running_loop(run: moaa.Run) -> None:
    parts = list(run.parts("i1-judge", "rankings"))
    assert len(parts) > 1
    assert run.table("i1-judge", "rankings").num_rows == sum(part.num_rows for part in parts)
    assert set(run.tables("i1-judge")) >= {"rankings", "pairs"}


def test_what_is_not_there_is_named(run: moaa.Run, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"i9-judge: there is no such stage; the stages are i0-resolve, "):
        run.table("i9-judge", "rankings")
    with pytest.raises(UsageError, match=r"i1-judge has no table 'rows', only "):
        run.table("i1-judge", "rows")
    storage = run.resource.spec.storage.with_(uri=f"file://{tmp_path}")
    empty = moaa.open_run(run.resource.with_(spec=run.resource.spec.with_(storage=storage)))
    with pytest.raises(UsageError, match=r"i1-sft is not done \(waiting\)"):
        empty.curve("i1-sft")
    with pytest.raises(AttributeError, match="has no attribute 'opne_run'"):
        moaa.opne_run  # noqa: B018 - the mistake that is tested


def test_estimates_of_a_file() -> None:
    found = {part.stage: part for part in moaa.estimates(ROOT / "examples" / "first.yaml")}
    assert found["i1-generate"].rows == 1000


def test_a_run_that_is_started_tells_events_and_its_failure(tmp_path: Path) -> None:
    file = tmp_path / "moaa.yaml"
    file.write_text("kind: MoAA\n")
    started = moaa.start(file)
    assert list(started) == []
    with pytest.raises(MoaaError, match=rf"{file}: \d+ problems"):
        started.wait()
    assert not started.is_running


def test_who_leaves_the_events_early_ends_no_run() -> None:
    program = 'import time\nfor i in range(3): print(\'{"event": "e%d"}\' % i, flush=True); time.sleep(0.05)'
    started = moaa.Started([sys.executable, "-c", program])
    for event in started:
        assert event == {"event": "e0"}
        break
    assert [event["event"] for event in started] == ["e1", "e2"]
    started.wait()
    started.wait()


def test_the_example_notebook_runs(run: moaa.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = json.loads((ROOT / "examples" / "look.ipynb").read_text())["cells"]
    monkeypatch.setattr("moaa.notebook.load", lambda _: run.resource)
    names: dict[str, Any] = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    assert names["run"].name == run.name
    assert names["disagreed"]
