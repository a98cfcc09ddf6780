"""Stages one after the other through their real jobs, store and plan, against scripted model servers."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from moaa.api.reading.load import load_text
from moaa.api.resource import MoAA
from moaa.contract.job import stage_job
from moaa.plan.fingerprint import identify
from moaa.plan.graph import build
from moaa.plan.result import StageResult
from moaa.store.objects.directory import DirectoryStore
from moaa.store.stages.shards import read_manifest, read_table
from moaa_jobs.runner.context import Context
from moaa_jobs.runner.settings import JobSettings
from moaa_jobs.stages import anchors, evaluate, generate, judge, promote, resolve, sample, stage_data
from moaa_jobs.tell.progress import Progress
from tests.endpoint import Endpoint, serve
from tests.model_folder import write_model

RUNS = {
    "resolve": resolve.run,
    "stage-data": stage_data.run,
    "anchors": anchors.run,
    "evaluate": evaluate.run,
    "generate": generate.run,
    "sample": sample.run,
    "judge": judge.run,
    "promote": promote.run,
}


def resource(folder: Path, url: str, **changes: Any) -> MoAA:
    """Two proposers, an aggregator and a judge behind one endpoint; a student with weights of its own."""
    write_model(folder / "student")
    prompts = [{"id": f"q{i}", "messages": [{"role": "user", "content": f"{i}+{i}"}]} for i in range(8)]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in prompts))
    held = [{"id": f"h{i}", "prompt": f"{i}*2", "answer": f"student({i}*2)"} for i in range(3)]
    (folder / "held.jsonl").write_text("".join(json.dumps(row) + "\n" for row in held))

    def model(name: str) -> dict[str, Any]:
        return {"name": name, "endpoint": {"url": url, "model": name, "maxConcurrency": 8}}

    spec: dict[str, Any] = {
        "storage": {"uri": f"file://{folder}/store"},
        "models": [
            *(model(name) for name in ("left", "right", "agg", "eva")),
            {"name": "student", "source": f"file://{folder}/student"},
        ],
        "student": "student",
        "mixture": {"layers": [{"proposers": [{"model": "left"}, {"model": "right"}]}], "aggregator": {"model": "agg"}},
        "judge": {
            "method": "Mixture",
            "judges": [{"model": "left"}, {"model": "right"}],
            "aggregator": {"model": "agg"},
            "criteria": 1,
        },
        "data": {"preference": [{"source": f"file://{folder}/prompts.jsonl", "limit": 4}], "decontaminationNgram": 0},
        "training": {"dpo": {"samples": 3}},
        "evaluation": {
            "selection": [
                {"name": "exact", "type": "ExactMatch", "source": f"file://{folder}/held.jsonl"},
                {
                    "name": "arena",
                    "type": "Pairwise",
                    "source": f"file://{folder}/held.jsonl",
                    "judge": {"method": "Single", "aggregator": {"model": "eva"}, "criteria": 0},
                },
            ]
        },
    }
    spec.update(changes)
    root = {"apiVersion": "moaa.dev/v1alpha1", "kind": "MoAA", "metadata": {"name": "chain"}, "spec": spec}
    return load_text(json.dumps(root))


def scripted(body: dict[str, Any]) -> str:
    """A world where the lexically greater answer is the better one, and everybody can see that."""
    content = body["messages"][-1]["content"]
    if "Selected Criteria" in content:
        return "Selected Criteria:\n1. Accuracy\nExplanation: it is what matters."
    if body["model"] in ("agg", "eva") and "[[A]]" in content:
        first, second = (between(content, f"answer_{x}") for x in "ab")
        return "Verdict: [[A]]" if first > second else "Verdict: [[B]]"
    if "answer_a" in content:
        return f"{body['model']} has looked at both"
    seed = f"#{body['seed'] % 7}" if body["temperature"] else ""
    heard = "+" if body["messages"][0]["role"] == "system" else ""
    return f"{body['model']}({content}){heard}{seed}"


def between(text: str, tag: str) -> str:
    return text.split(f"<{tag}>", 1)[1].split(f"</{tag}>", 1)[0]


SHOWN = "{question}<answer_a>{answer_a}</answer_a><answer_b>{answer_b}</answer_b>"
PROMPTS = {
    "criteria": f"{SHOWN}{{criteria}} Selected Criteria {{count}}",
    "judge": f"{SHOWN}{{criteria}}",
    "metaJudge": f"{SHOWN}{{evaluations}} [[A]] [[B]]",
    "single": f"{SHOWN} [[A]] [[B]]",
}


async def run_stage(
    declared: MoAA, folder: Path, stage: str, results: dict[str, StageResult], endpoints: Mapping[str, str]
) -> dict[str, list[dict[str, Any]]]:
    """Run one stage's job; adds its result and returns its tables."""
    store = DirectoryStore(folder / "store")
    node = build(declared).stages[stage]
    identity = identify(node, declared, results)
    assert identity is not None
    urls = {name: [url] for name, url in endpoints.items()}
    job = stage_job(identity, declared, results, run="default-chain-local", endpoints=urls)
    settings = JobSettings(job=folder / "job.json", work_dir=folder / "work")
    context = Context(job, declared, store, folder, Progress(stage, None), settings)
    await RUNS[node.kind](job, context)
    manifest = await read_manifest(store, identity.path)
    assert manifest is not None
    results[stage] = manifest.result()
    return {table: await read_table(store, manifest, table) for table in manifest.tables}


async def chain(declared: MoAA, folder: Path, endpoint: Endpoint, stages: list[str]) -> dict[str, dict[str, Any]]:
    results: dict[str, StageResult] = {}
    endpoints = {"student": endpoint.url, "@i1-sft": endpoint.url}
    return {stage: await run_stage(declared, folder, stage, results, endpoints) for stage in stages}


async def test_prompts_become_conversations_of_the_mixture(tmp_path: Path) -> None:
    async with serve(scripted) as endpoint:
        declared = resource(
            tmp_path,
            endpoint.url,
            data={"sft": [{"source": f"file://{tmp_path}/prompts.jsonl", "limit": 4}]},
            training={"sft": {}},
            evaluation={},
            judge=None,
        )
        made = await chain(declared, tmp_path, endpoint, ["i0-resolve", "i0-stage-data", "i1-generate"])
    rows = made["i1-generate"]["conversations"]
    assert len(rows) == 4
    for row in rows:
        user, assistant = row["messages"]
        assert [p["model"] for p in row["proposals"]] == ["left", "right"]
        assert all(p["text"].startswith(f"{p['model']}({user['content']})") for p in row["proposals"])
        assert assistant["content"].startswith(f"agg({user['content']})+")
        assert row["missing"] == row["shortened"] == 0


PROPOSERS = {"layers": [{"proposers": [{"model": "left"}, {"model": "right"}]}]}


async def generated(folder: Path, mixture: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    async with serve(scripted) as endpoint:
        declared = resource(
            folder,
            endpoint.url,
            data={"sft": [{"source": f"file://{folder}/prompts.jsonl", "limit": 4}]},
            training={"sft": {}},
            evaluation={},
            mixture=mixture,
            prompts=PROMPTS,
        )
        made = await chain(declared, folder, endpoint, ["i0-resolve", "i0-stage-data", "i1-generate"])
    return made["i1-generate"]


async def test_combined_answers_are_rows_of_their_own(tmp_path: Path) -> None:
    rows = (await generated(tmp_path, {"method": "Combined", **PROPOSERS}))["conversations"]
    assert [(row["id"].partition("/")[2], row["wrote"]) for row in rows] == [
        ("p0/s0", ["left"]),
        ("p1/s0", ["right"]),
    ] * 4
    assert len({row["id"] for row in rows}) == 8
    assert all(row["messages"][-1]["content"].startswith(f"{row['wrote'][0]}(") for row in rows)


async def test_the_best_answer_is_taught_and_its_judge_is_watched(tmp_path: Path) -> None:
    made = await generated(tmp_path, {"method": "BestOfN", **PROPOSERS})
    assert [row["wrote"] for row in made["conversations"]] == [["right"]] * 4
    assert all(len(row["proposals"]) == 2 for row in made["conversations"])
    verdicts = [row for row in made["judgements"] if row["role"] == "verdict"]
    assert [(row["order"], row["verdict"]) for row in verdicts] == [("ab", "B"), ("ba", "A")] * 4
    assert {row["id"] for row in verdicts} == {row["id"] for row in made["conversations"]}
    manifest = json.loads(next(tmp_path.glob("store/stages/generate/*/*/manifest.json")).read_text())
    assert manifest["metrics"] == {"wrote.right": 4.0}


@pytest.mark.parametrize("method", ["Random", "Single"])
async def test_one_model_answers_a_row_without_proposals(tmp_path: Path, method: str) -> None:
    mixture = {"method": method, **(PROPOSERS if method == "Random" else {"aggregator": {"model": "agg"}})}
    made = await generated(tmp_path, mixture)
    assert set(made) == {"conversations"}
    for row in made["conversations"]:
        assert row["messages"][-1]["content"].startswith(f"{row['wrote'][0]}(")
        assert row["proposals"] == []


async def test_samples_are_judged_in_both_orders_and_become_pairs(tmp_path: Path) -> None:
    async with serve(scripted) as endpoint:
        declared = resource(tmp_path, endpoint.url, prompts=PROMPTS)
        stages = ["i0-resolve", "i0-stage-data", "i0-evaluate", "i1-sample", "i1-judge"]
        made = await chain(declared, tmp_path, endpoint, stages)
    samples = {row["id"]: row["samples"] for row in made["i1-sample"]["samples"]}
    assert len(samples) == 4
    rankings = {row["id"]: row for row in made["i1-judge"]["rankings"]}
    pairs = {row["id"]: row for row in made["i1-judge"]["pairs"]}
    assert rankings.keys() == samples.keys()
    for row_id, texts in samples.items():
        if len(set(texts)) == 1:
            assert row_id not in pairs
            continue
        assert pairs[row_id]["chosen"] == max(texts)
        assert pairs[row_id]["rejected"] == min(texts)
        for comparison in rankings[row_id]["comparisons"]:
            assert comparison["forward"] == comparison["backward"]
            assert comparison["criteria"] == ["Accuracy"]


async def test_comparisons_that_decide_nothing_are_skipped_counted_and_found_after_an_edit(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stages = ["i0-resolve", "i0-stage-data", "i0-evaluate", "i1-sample", "i1-judge"]
    dpo = {"dpo": {"samples": 8, "pairs": {"consistent": True}}}
    caplog.set_level("INFO")
    async with serve(scripted) as endpoint:
        declared = resource(tmp_path, endpoint.url, prompts=PROMPTS, training=dpo)
        whole = await chain(declared, tmp_path, endpoint, stages)
        asked = len(endpoint.requests)
        assert declared.spec.judge is not None
        judging = {**declared.spec.judge.model_dump(mode="json", by_alias=True), "comparisons": "Adaptive"}
        fewer = resource(tmp_path, endpoint.url, prompts=PROMPTS, training=dpo, judge=judging)
        made = await chain(fewer, tmp_path, endpoint, stages)
        assert len(endpoint.requests) == asked, "calls have the same names, so verdicts that were paid for are found"
    assert made["i1-judge"]["pairs"]
    assert [(row["id"], row["chosen"], row["rejected"]) for row in made["i1-judge"]["pairs"]] == [
        (row["id"], row["chosen"], row["rejected"]) for row in whole["i1-judge"]["pairs"]
    ]
    comparisons = [c for row in made["i1-judge"]["rankings"] for c in row["comparisons"]]
    skipped = sum(len(c["skipped"] or []) for c in comparisons)
    assert skipped > 0
    assert all(c["score"] is None for c in comparisons if c["skipped"])
    said = [message for message in caplog.messages if message.startswith("prompts_ranked stage=i1-judge")]
    assert "skipped-verdicts" not in said[0]
    assert f"skipped-verdicts={skipped}" in said[1]


async def test_a_reward_model_orders_answers_for_judges_and_then_judges_alone(tmp_path: Path) -> None:
    stages = ["i0-resolve", "i0-stage-data", "i0-evaluate", "i1-sample", "i1-judge"]
    dpo = {"dpo": {"samples": 6}}
    async with serve(scripted) as endpoint:
        whole = resource(tmp_path, endpoint.url, prompts=PROMPTS, training=dpo)
        rm = {"name": "rm", "kind": "Reward", "endpoint": {"url": endpoint.url, "model": "rm"}}
        models = [*whole.model_dump(mode="json", by_alias=True, exclude_defaults=True)["spec"]["models"], rm]
        assert whole.spec.judge is not None
        judges = {**whole.spec.judge.model_dump(mode="json", by_alias=True), "rewardModel": "rm"}
        made = await chain(whole, tmp_path, endpoint, stages)
        asked = len(endpoint.requests)
        ordered = resource(
            tmp_path, endpoint.url, prompts=PROMPTS, training=dpo, models=models,
            judge={**judges, "comparisons": "Seeded"},
        )  # fmt: skip
        seeded = await chain(ordered, tmp_path, endpoint, stages)
        assert len(endpoint.requests) == asked, "verdicts that were paid for are found"
        scores = len(endpoint.scored)
        alone = {"method": "RewardModel", "rewardModel": "rm"}
        scored = resource(tmp_path, endpoint.url, prompts=PROMPTS, training=dpo, models=models, judge=alone)
        by_score = await chain(scored, tmp_path, endpoint, stages)
        assert (len(endpoint.requests), len(endpoint.scored)) == (asked, scores), "and so are scores"
    ends = [
        [(p["id"], p["chosen"], p["rejected"]) for p in one["i1-judge"]["pairs"]] for one in (made, seeded, by_score)
    ]
    assert ends[0]
    assert ends[0] == ends[1] == ends[2]
    texts = {row["id"]: row["samples"] for row in made["i1-sample"]["samples"]}
    assert scores == sum(len(set(samples)) for samples in texts.values())
    for row in by_score["i1-judge"]["rankings"]:
        assert row["scores"] == [float(ord(text[-1])) for text in row["samples"]]
        assert row["comparisons"] == []
    assert {row["role"] for row in by_score["i1-judge"]["judgements"]} == {"score"}
    manifests = [json.loads(p.read_text()) for p in tmp_path.glob("store/stages/judge/*/*/manifest.json")]
    counted = [m["metrics"] for m in manifests if "seed-agreed" in m["metrics"]]
    assert len(counted) == 1
    assert counted[0]["seed-agreed"] > 0
    assert "seed-opposed" not in counted[0]
    assert sorted(m["usage"]["rm"]["calls"] for m in manifests if "rm" in m["usage"]) == [0, scores]


async def test_rules_drop_pairs_with_counts_and_ask_no_judge_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stages = ["i0-resolve", "i0-stage-data", "i0-evaluate", "i1-sample", "i1-judge"]

    def manifests() -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in tmp_path.glob("store/stages/judge/*/*/manifest.json")]

    async with serve(scripted) as endpoint:
        loose = await chain(resource(tmp_path, endpoint.url, prompts=PROMPTS), tmp_path, endpoint, stages)
        asked = len(endpoint.requests)
        [first] = manifests()
        caplog.set_level("INFO")
        caplog.clear()
        ruled = resource(
            tmp_path,
            endpoint.url,
            prompts=PROMPTS,
            training={"dpo": {"samples": 3, "pairs": {"minRejectedPoints": "0.9"}}},
        )
        made = await chain(ruled, tmp_path, endpoint, stages)
        assert len(endpoint.requests) == asked, "verdicts that were paid for are found"
    second = next(one for one in manifests() if one != first)
    before, after = loose["i1-judge"], made["i1-judge"]
    assert before["pairs"]
    assert not after["pairs"]
    assert [{**row, "outcome": ""} for row in after["rankings"]] == [
        {**row, "outcome": ""} for row in before["rankings"]
    ]
    pairs, equal = len(before["pairs"]), len(before["rankings"]) - len(before["pairs"])
    assert first["metrics"] == {"outcome.pair": pairs} | ({"outcome.equal-texts": equal} if equal else {})
    assert second["metrics"] == {"outcome.none-to-reject": pairs} | ({"outcome.equal-texts": equal} if equal else {})
    assert f"none-to-reject={pairs}" in next(
        m for m in caplog.messages if m.startswith("prompts_ranked stage=i1-judge")
    )


@pytest.mark.parametrize(
    ("method", "starts"),
    [
        ("Mixture", ["agg(", "agg(", "agg("]),
        ("Combined", ["left(", "right("]),
        ("Single", ["agg(", "agg(", "agg("]),
    ],
)
async def test_pairs_of_the_mixtures_own_answers(tmp_path: Path, method: str, starts: list[str]) -> None:
    mixture: dict[str, Any] = {"method": method}
    mixture |= PROPOSERS if method != "Single" else {}
    mixture |= {"aggregator": {"model": "agg"}} if method != "Combined" else {}
    async with serve(scripted) as endpoint:
        declared = resource(
            tmp_path,
            endpoint.url,
            prompts=PROMPTS,
            mixture=mixture,
            evaluation={},
            training={"dpo": {"samples": 3, "samplesFrom": "Mixture"}},
        )
        made = await chain(declared, tmp_path, endpoint, ["i0-resolve", "i0-stage-data", "i1-sample", "i1-judge"])
    for row in made["i1-sample"]["samples"]:
        assert all(text.startswith(start) for text, start in zip(row["samples"], starts, strict=True))
        assert row["messages"][-1]["role"] == "user"
    assert all(pair["chosen"] > pair["rejected"] for pair in made["i1-judge"]["pairs"])


async def test_iteration_zero_measures_everybody_and_baselines_tie_with_themselves(tmp_path: Path) -> None:
    async with serve(scripted) as endpoint:
        declared = resource(tmp_path, endpoint.url, prompts=PROMPTS)
        made = await chain(declared, tmp_path, endpoint, ["i0-resolve", "i0-stage-data", "i0-evaluate"])
    scores = made["i0-evaluate"]["scores"]
    labels = {row["model"] for row in scores}
    assert labels == {"base", "left", "right", "aggregator", "mixture"}
    exact = {row["model"]: row["score"] for row in scores if row["benchmark"] == "exact" and row["id"] == "h0"}
    assert exact["base"] == 1.0
    assert exact["left"] == 0.0
    arena = {row["model"]: row["score"] for row in scores if row["benchmark"] == "arena" and row["id"] == "h0"}
    assert arena["base"] == 0.5
    assert arena["left"] == 0.0  # "left(" < "student("
    assert len(scores) == 2 * 3 * 5


@pytest.mark.parametrize(
    ("held", "score"),
    [
        pytest.param(("student(0*2)", "student(1*2)", "wrong", "wrong"), "50.0 ± 25.0", id="with an interval"),
        pytest.param(("student(0*2)",), "75.0", id="one question says nothing about the spread"),
    ],
)
async def test_an_evaluation_says_how_good_its_own_student_is(
    tmp_path: Path, held: tuple[str, ...], score: str
) -> None:
    results: dict[str, StageResult] = {}
    async with serve(scripted) as endpoint:
        declared = resource(tmp_path, endpoint.url, prompts=PROMPTS)
        rows = [{"id": f"h{i}", "prompt": f"{i}*2", "answer": answer} for i, answer in enumerate(held)]
        (tmp_path / "held.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        for stage in ("i0-resolve", "i0-stage-data", "i0-evaluate"):
            await run_stage(declared, tmp_path, stage, results, {"student": endpoint.url})
    assert results["i0-evaluate"].score == score
    assert results["i0-stage-data"].score is None


async def test_another_judge_scores_the_stored_answers_and_nobody_writes_them_again(tmp_path: Path) -> None:
    stages = ["i0-resolve", "i0-stage-data", "i0-evaluate"]

    def declared(url: str, judge: str) -> MoAA:
        made = resource(tmp_path, url).model_dump(mode="json", by_alias=True, exclude_unset=True)
        made["spec"]["evaluation"]["selection"][1]["judge"]["aggregator"]["model"] = judge
        made["spec"]["prompts"] = PROMPTS
        return load_text(json.dumps(made))

    async with serve(scripted) as endpoint:
        first = await chain(declared(endpoint.url, "eva"), tmp_path, endpoint, stages)
        asked = len(endpoint.requests)
        again = await chain(declared(endpoint.url, "agg"), tmp_path, endpoint, stages)
        new = endpoint.requests[asked:]
    assert {body["model"] for body in new} == {"agg"}
    assert all("[[A]]" in body["messages"][-1]["content"] for body in new), "verdicts only"
    assert first["i0-evaluate"]["answers"] == again["i0-evaluate"]["answers"]
    assert {row["judge"] for row in again["i0-evaluate"]["judgements"]} == {"agg"}
