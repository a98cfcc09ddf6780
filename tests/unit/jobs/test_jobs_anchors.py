"""Stage anchors through its real job, store and report, against scripted model servers."""

import json
from pathlib import Path
from typing import Any

import pytest

from moaa.anchors.own import own_pairs
from moaa.anchors.pairs import anchor_pairs
from moaa.errors import DataError
from moaa.report.html import render
from moaa.report.summary import summarise
from moaa.run.collect import collect
from moaa.run.records import run_id
from moaa.store.objects.directory import DirectoryStore
from moaa_jobs.runner.context import Permanent
from tests.endpoint import serve
from tests.unit.jobs.test_jobs_chain import PROMPTS, between, chain, resource, scripted

STAGES = ["i0-resolve", "i0-stage-data", "i0-anchors"]


@pytest.fixture(autouse=True)
def _few_made_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The jobs are what is tried here, over real connections."""
    monkeypatch.setattr("moaa.anchors.pairs.MADE", 2)


def pairs(folder: Path, count: int = 20, **changes: Any) -> dict[str, Any]:
    """Pairs that the scripted world can tell: the lexically greater answer is the better one."""
    rows = [{"prompt": f"{i}?", "chosen": f"z{i}", "rejected": [f"a{i}"], "subset": "abc"[i % 3]} for i in range(count)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"source": {"source": f"file://{folder}/pairs.jsonl"}} | changes


def judged(body: dict[str, Any]) -> str:
    """As in the chain, but every model can judge alone, and `left` names the first answer always."""
    content = body["messages"][-1]["content"]
    if body["model"] == "left" and "[[A]]" in content:
        return "Verdict: [[A]]"
    if "Selected Criteria" not in content and "[[A]]" in content:
        first, second = (between(content, f"answer_{x}") for x in "ab")
        return "Verdict: [[A]]" if first > second else "Verdict: [[B]]"
    return scripted(body)


async def test_judges_are_measured_and_the_report_shows_the_best_beside_the_mixture(tmp_path: Path) -> None:
    async with serve(judged) as endpoint:
        owner = resource(tmp_path, endpoint.url, prompts=PROMPTS, anchors=pairs(tmp_path))
        made = await chain(owner, tmp_path, endpoint, STAGES)
    assert len(made["i0-stage-data"]["anchors"]) == 20
    rows = made["i0-anchors"]["verdicts"]
    kinds = {kind: sum(row["kind"] == kind for row in rows) for kind in ("labelled", "degenerate", "padded", "same")}
    assert kinds == {"labelled": 20 * 5, **dict.fromkeys(("degenerate", "padded", "same"), 2 * 5)}, (
        "two declared judges"
    )
    assert len(rows) == sum(kinds.values()), "half of one word is none"
    view = await collect(owner, DirectoryStore(tmp_path / "store"), run_id(owner))
    assert view.unreadable == ()
    summary = summarise(view)
    assert [(j.judge, j.declared, j.accuracy, j.first) for j in summary.anchors] == [
        ("training judge", ["spec.judge"], 1.0, 0.5),
        ("judge of arena", ["spec.evaluation.selection[1].judge"], 1.0, 0.5),
        ("left", [], 0.5, 1.0),
        ("right", [], 1.0, 0.5),
        ("agg", [], 1.0, 0.5),
    ]
    assert summary.anchors[0].members == ["left", "right", "agg"]
    assert summary.anchors[0].subsets == {"a": 1.0, "b": 1.0, "c": 1.0}
    assert (summary.anchors[0].floor, summary.anchors[1].floor) == (0.5, None)
    stage = next(s for s in view.stages if s.stage.id == "i0-anchors")
    assert stage.manifest is not None
    assert stage.manifest.metrics["training judge.accuracy"] == 1.0
    assert stage.manifest.metrics["left.first"] == 1.0
    page = render(view, summary)
    assert "Judges on anchors" in page
    assert "best alone" in page


async def test_our_own_pairs_need_no_data(tmp_path: Path) -> None:
    async with serve(judged) as endpoint:
        single = {"method": "Single", "aggregator": {"model": "eva"}, "criteria": 0}
        owner = resource(tmp_path, endpoint.url, prompts=PROMPTS, anchors={"floor": "0"}, judge=single)
        made = await chain(owner, tmp_path, endpoint, STAGES)
    assert "anchors" not in made["i0-stage-data"]
    assert len(made["i0-anchors"]["verdicts"]) == len(anchor_pairs(own_pairs()))


async def test_a_judge_below_its_floor_ends_the_run_before_dpo_and_a_lower_floor_asks_nothing_again(
    tmp_path: Path,
) -> None:
    always = {"method": "Single", "aggregator": {"model": "left"}, "criteria": 0}
    async with serve(judged) as endpoint:
        owner = resource(tmp_path, endpoint.url, prompts=PROMPTS, anchors=pairs(tmp_path), judge=always)
        with pytest.raises(Permanent) as refused:
            await chain(owner, tmp_path, endpoint, STAGES)
        asked = len(endpoint.requests)
        view = await collect(owner, DirectoryStore(tmp_path / "store"), run_id(owner))
        lower = resource(tmp_path, endpoint.url, prompts=PROMPTS, anchors=pairs(tmp_path, floor="0"), judge=always)
        made = await chain(lower, tmp_path, endpoint, STAGES)
        assert len(endpoint.requests) == asked
    assert str(refused.value) == (
        "i0-anchors: the training judge (spec.judge: Single of left) is right on 50.0 % of 20 questions (95 % interval "
        "29.9 to 70.1), which is not shown to be above 0.5 (spec.anchors.floor); of the models alone, judge of arena "
        "is right on 100.0 % of 20 questions (95 % interval 83.9 to 100.0). Name other judges, give more pairs if "
        "there are few, or lower the floor to go on with it"
    )
    assert {row["judge"] for row in made["i0-anchors"]["verdicts"]} == {"training judge", "judge of arena"}
    stage = view.of("i0-anchors")
    assert stage is not None
    assert stage.status == "started", "there is no manifest"
    summary = summarise(view)
    assert [(j.judge, j.accuracy, j.questions, j.shortfall, j.is_whole) for j in summary.anchors] == [
        (
            "training judge",
            0.5,
            20,
            "is right on 50.0 % of 20 questions (95 % interval 29.9 to 70.1), which is not shown to be above 0.5",
            False,
        ),
        ("judge of arena", 1.0, 20, None, False),
    ]
    page = render(view, summary)
    assert "<b>not passed: it is right on 50.0 % of 20 questions" in page
    assert "The stage is not done" in page


async def test_an_evaluation_judge_stops_the_run_only_below_a_floor_of_its_own(tmp_path: Path) -> None:
    def blind(body: dict[str, Any]) -> str:
        return "Verdict: [[B]]" if body["model"] == "eva" else judged(body)

    async with serve(blind) as endpoint:
        owner = resource(tmp_path, endpoint.url, prompts=PROMPTS, anchors=pairs(tmp_path))
        await chain(owner, tmp_path, endpoint, STAGES)
        view = await collect(owner, DirectoryStore(tmp_path / "store"), run_id(owner))
        stage = next(s for s in summarise(view).stages if s.id == "i0-anchors")
        said = [text for text in stage.warnings if text.startswith("the judge of arena")]
        assert said[:2] == [
            "the judge of arena is right on 50.0 % of 20 questions (95 % interval 29.9 to 70.1): not shown to beat a "
            "coin",
            "the judge of arena names the answer that stands second in 100 % of its verdicts on anchors",
        ]
        strict = resource(tmp_path, endpoint.url, prompts=PROMPTS, anchors=pairs(tmp_path, evaluationFloor="0.5"))
        with pytest.raises(Permanent, match=r"judge of arena .* \(spec.anchors.evaluationFloor\)"):
            await chain(strict, tmp_path, endpoint, STAGES)


async def test_too_few_labelled_questions_are_told_before_a_judge_is_asked(tmp_path: Path) -> None:
    async with serve(judged) as endpoint:
        owner = resource(tmp_path, endpoint.url, prompts=PROMPTS, anchors=pairs(tmp_path, 19))
        with pytest.raises(DataError, match=r"^spec.anchors.source: 19 questions, and no judge .* fewer than 20"):
            await chain(owner, tmp_path, endpoint, STAGES)
        assert endpoint.requests == []
