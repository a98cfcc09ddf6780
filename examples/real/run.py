"""`make real`: one iteration with a real instruct model on this machine, the report, and what has to stand in it.

Exit code 0 says that every stage is done, that training and evaluation left their results, and that the run named the
judge, which follows the order of the answers. What the scores are is a finding, printed and not judged.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from html import unescape
from pathlib import Path

from moaa.api.file_uri import file_path
from moaa.api.reading.load import load
from moaa.plan.stage import Kind
from moaa.report.schema import Summary

HERE = Path(__file__).resolve().parent
RESOURCE = HERE / "moaa.yaml"
PREFERS = "prefers whichever answer stands"
"""How `moaa_jobs.runner.health` names a judge that follows the order."""
MEASURED = ("base", "mixture", "sft", "dpo")
"""Labels of scores that every benchmark must have."""
PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0", "GOMP_SPINCOUNT": "0"}
"""Threads that wait give their core away: where other programs have work, spinning makes training many times slower."""


def lacking(summary: Summary, page: str) -> list[str]:
    """What the run should have left and did not, a sentence each. `page` is the text of report.html."""
    return [
        *(f"{stage.id} is {stage.status}" for stage in summary.stages if stage.status != "done"),
        *_trained(summary),
        *_measured(summary),
        *_named(summary, unescape(page)),
    ]


def _trained(summary: Summary) -> Iterator[str]:
    found = {training.kind for training in summary.training if training.steps and training.tokens}
    yield from (f"no step of {kind} in the report" for kind in ("sft", "dpo") if kind not in found)
    if not any(pairs.kept for pairs in summary.pairs):
        yield "no preference pair in the report"


def _measured(summary: Summary) -> Iterator[str]:
    scores = {(score.benchmark, score.model) for score in summary.scores}
    for benchmark in sorted({name for name, _ in scores}):
        yield from (f"{benchmark}: no score of {model}" for model in MEASURED if (benchmark, model) not in scores)
    if not scores:
        yield "no scores in the report"


def _named(summary: Summary, page: str) -> Iterator[str]:
    for stage in summary.stages:
        if stage.kind != Kind.JUDGE:
            continue
        named = [text for text in stage.warnings if PREFERS in text]
        if not named:
            yield f"{stage.id} does not name the judge as one that follows the order of the answers"
        yield from (f"report.html does not show: {text}" for text in named if text not in page)


def told(summary: Summary) -> Iterator[str]:
    """Times, scores and what the run says against its members, as lines to print."""
    yield "Minutes by stage, with the start of its model server:"
    for stage in summary.stages:
        if stage.wall_seconds is not None:
            yield f"  {stage.wall_seconds / 60:6.1f}  {stage.id}"
    yield "Scores:"
    for score in summary.scores:
        interval = "" if score.low is None or score.high is None else f" [{score.low:.2f}, {score.high:.2f}]"
        yield f"  {score.value:6.2f}{interval}  {score.benchmark} of {score.model} ({score.metric}, n = {score.n})"
    yield "In doubt:"
    yield from (f"  {stage.id}: {text}" for stage in summary.stages for text in stage.warnings)


def run(*command: str) -> int:
    """As a user would; the exit code."""
    return subprocess.run(command, check=False, env={**PASSIVE, **os.environ}).returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workdir", type=Path, default=Path("runs/real"), help="logs, scratch and the report")
    workdir = parser.parse_args().workdir
    started = time.monotonic()
    report = workdir / "report"
    moaa, resource = str(Path(sys.executable).with_name("moaa")), str(RESOURCE)
    [model] = load(RESOURCE).spec.models
    for command in (
        (sys.executable, "-m", "examples.real.build", "--out", str(file_path(str(model.source)))),
        (moaa, "run", resource, "--workdir", str(workdir)),
        (moaa, "report", resource, "--out", str(report)),
    ):
        if code := run(*command):
            return code
    summary = Summary.model_validate_json((report / "summary.json").read_text())
    print("\n".join(["", *told(summary)]))
    problems = lacking(summary, (report / "report.html").read_text())
    for problem in problems:
        print(f"LACKING: {problem}")
    print(f"\nDone in {(time.monotonic() - started) / 60:.1f} minutes; report: {report}/report.html")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
