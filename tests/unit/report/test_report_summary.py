"""summary.json: figures that follow from the rows, a stable form, and honest gaps."""

import json
import re
from dataclasses import replace

import pytest

from moaa.api.resource import Cost, Metadata
from moaa.plan.forecast.replicas import gpus_held
from moaa.plan.result import Output
from moaa.plan.slices import tables
from moaa.report.costs import gpu_hours, measured, usd
from moaa.report.html import render
from moaa.report.provenance import public_resource, public_text, without_secrets
from moaa.report.schema import Summary
from moaa.report.summary import summarise
from moaa.report.wording import plural
from moaa.rows import ScoreRow
from moaa.run.students import promoted, student_label
from moaa.run.view import RunView, StageView
from moaa.store.stages.manifest import TokenUsage
from tests.unit.report.test_report_html import Page
from tests.unit.report_world import (
    PROMPTS,
    RUN,
    digest,
    finished_run,
    not_started,
    rankings,
    resource,
    run_in_progress,
)

FINISHED = finished_run()
SUMMARY = summarise(FINISHED)


def stage(view: RunView, name: str) -> StageView:
    found = view.of(name)
    assert found is not None
    return found


def with_stage(view: RunView, changed: StageView) -> RunView:
    return replace(view, stages=tuple(changed if s.stage.id == changed.stage.id else s for s in view.stages))


def test_the_form_is_the_promised_one() -> None:
    document = json.loads(SUMMARY.to_json())
    assert document["format"] == "moaa.dev/summary/v1"
    assert {
        "id",
        "kind",
        "iteration",
        "status",
        "seconds",
        "rows",
        "promptTokens",
        "completionTokens",
        "attempts",
    } <= set(document["stages"][0])
    assert {"iteration", "model", "benchmark", "metric", "value", "low", "high", "n"} <= set(document["scores"][0])
    assert {"failures", "versions", "pairs", "judges", "training", "models", "lineage", "missing"} <= set(document)


def test_the_schema_is_closed_and_holds_every_field() -> None:
    schema = Summary.model_json_schema(by_alias=True)
    objects = [schema, *schema["$defs"].values()]
    assert all(o["additionalProperties"] is False for o in objects if o.get("type") == "object")
    assert Summary.model_validate_json(SUMMARY.to_json()) == SUMMARY


def test_the_same_run_gives_the_same_bytes() -> None:
    assert summarise(finished_run()).to_json() == SUMMARY.to_json()


def test_stages_are_in_the_order_of_the_graph() -> None:
    assert [s.id for s in SUMMARY.stages] == [s.stage.id for s in FINISHED.stages]
    assert SUMMARY.run.is_complete
    assert SUMMARY.run.iterations_closed == 2


def test_scores_are_means_of_their_rows() -> None:
    rows = [r for r in FINISHED.scores["i1-evaluate-dpo"] if r["benchmark"] == "math"]
    found = next(s for s in SUMMARY.scores if s.stage == "i1-evaluate-dpo" and s.benchmark == "math")
    assert found.value == pytest.approx(sum(r["score"] for r in rows) / PROMPTS, abs=1e-6)
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high
    assert (found.n, found.metric, found.use) == (PROMPTS, "exact match", "selection")


def test_the_gain_is_paired() -> None:
    found = next(g for g in SUMMARY.headline.gains if g.benchmark == "math")
    before = {
        r["id"]: r["score"] for r in FINISHED.scores["i0-evaluate"] if (r["benchmark"], r["model"]) == ("math", "base")
    }
    after = {r["id"]: r["score"] for r in FINISHED.scores["i2-evaluate-dpo"] if r["benchmark"] == "math"}
    assert found.value == pytest.approx(sum(after[i] - before[i] for i in before) / PROMPTS, abs=1e-6)
    assert (found.baseline, found.candidate) == ("start (llama)", "iteration 2 DPO")


def test_win_rates_come_with_an_estimate_at_equal_length_and_both_lengths() -> None:
    for score in SUMMARY.scores:
        beside = (score.lc_estimate, score.lc_others, score.baseline_length)
        assert [figure is None for figure in beside] == [score.metric == "exact match"] * 3


def test_difficulty_comes_from_the_other_models_measured_up_to_then() -> None:
    rates = [s for s in SUMMARY.scores if s.benchmark == "arena"]
    start = [s for s in rates if s.stage == "i0-evaluate"]
    assert all(s.lc_others in (len(start) - 1, len(start) - 2) for s in start), "the baseline itself tells nothing"
    first = next(s for s in rates if s.stage == "i1-evaluate-sft")
    last = next(s for s in rates if s.stage == "i2-evaluate-dpo")
    assert first.lc_others is not None
    assert last.lc_others is not None
    assert last.lc_others == first.lc_others + 3
    shorter = {**FINISHED.scores, "i2-evaluate-dpo": ()}
    again = summarise(replace(FINISHED, scores=shorter)).scores
    assert [s for s in again if s.benchmark == "arena"] == rates[:-1], "a later student changes nothing"


def test_lengths_of_some_rows_only_give_no_estimate() -> None:
    rows = FINISHED.scores["i1-evaluate-sft"]
    lacking = tuple(ScoreRow(**{**r, "baseline_length": None}) if r["id"] == "q0003" else r for r in rows)
    found = summarise(replace(FINISHED, scores={**FINISHED.scores, "i1-evaluate-sft": lacking})).scores
    sft = next(s for s in found if (s.stage, s.benchmark) == ("i1-evaluate-sft", "arena"))
    assert (sft.lc_estimate, sft.lc_others, sft.baseline_length) == (None, None, None)


def test_the_promoted_student_is_read_off_the_weights() -> None:
    assert promoted(FINISHED) == "@i2-dpo"
    close = stage(FINISHED, "i2-promote")
    assert close.manifest is not None
    stays = close.manifest.with_(
        outputs={"model": Output(digest=digest("weights of i1-dpo"))}, decision="The previous student stays: so."
    )
    kept = with_stage(FINISHED, replace(close, manifest=stays))
    assert promoted(kept) == "@i1-dpo", "the previous student stayed"
    last = summarise(kept).promotions[-1]
    assert last.promoted == "iteration 1 DPO"
    assert last.reason == "The previous student stays: so."


def edited(view: RunView, **changes: object) -> RunView:
    """The run whose file was edited after its iterations were closed."""
    stages = tuple(replace(s, resource=view.resource) if s.stage.iteration else s for s in view.stages)
    return replace(view, resource=resource(**changes), stages=stages)


def test_closed_iterations_are_told_by_what_they_were_made_with() -> None:
    evaluation = {
        "gate": {"rule": "LowerBound", "minGain": "0.5"},
        "selection": [
            {
                "name": "math",
                "type": "Pairwise",
                "source": "s3://d/m.jsonl",
                "judge": {"method": "Single", "aggregator": {"model": "llama"}},
            }
        ],
        "bootstrap": 200,
    }
    training = {"sft": {}, "dpo": {}, "resources": {"workers": 64}}
    found = summarise(edited(FINISHED, evaluation=evaluation, training=training, cost={"gpuHourUsd": "4.4"}))
    assert found.promotions == SUMMARY.promotions
    assert found.headline.gains == SUMMARY.headline.gains
    assert [s for s in found.scores if s.iteration] == [s for s in SUMMARY.scores if s.iteration]
    for now, then in zip(found.stages, SUMMARY.stages, strict=True):
        assert now.gpu_hours == then.gpu_hours
    assert found.stages[4].usd == pytest.approx(2 * (SUMMARY.stages[4].usd or 0), rel=1e-4), (
        "prices may be stated later"
    )


def test_a_promotion_is_told_as_it_was_written_down_with_what_is_doubtful() -> None:
    made = stage(FINISHED, "i1-promote")
    assert made.manifest is not None
    doubts = ["raw win rates on arena decided over iteration 1 DPO, not those at equal length: because"]
    manifest = made.manifest.with_(decision="iteration 1 DPO is promoted: its gain.", warnings=doubts)
    view = with_stage(FINISHED, replace(made, manifest=manifest))
    first = summarise(view).promotions[0]
    assert (first.reason, first.doubts) == ("iteration 1 DPO is promoted: its gain.", doubts)
    assert summarise(replace(view, scores={})).promotions[0].reason == first.reason, "needs no scores"
    page = Page(render(view, summarise(view)))
    promotion = page.text[page.text.index("Iteration 1: iteration 1 DPO is promoted") :]
    assert promotion.index("Its gain.") < promotion.index(doubts[0])
    assert page.text.count(doubts[0]) == 1, "not among those about judges, too"
    assert doubts[0][1:] not in summarise(view).headline.verdict, "another student was promoted since"


def test_a_start_that_stayed_for_want_of_questions_is_no_students_failure() -> None:
    few = "nobody could be promoted by math: 12 questions; give more"
    stays = {"outputs": {"model": Output(digest=digest("llama"))}, "warnings": [few]}
    view = FINISHED
    for name in ("i1-promote", "i2-promote"):
        made = stage(view, name)
        assert made.manifest is not None
        view = with_stage(view, replace(made, manifest=made.manifest.with_(**stays)))
    assert summarise(view).headline.verdict == (
        "No trained student passed the gate: the student is what it was at the start. "
        "Nobody could be promoted by math: 12 questions; give more."
    )


def test_a_promotion_that_wrote_nothing_down_says_so() -> None:
    made = stage(FINISHED, "i1-promote")
    assert made.manifest is not None
    silent = replace(made, manifest=made.manifest.with_(decision=""))
    reason = summarise(with_stage(FINISHED, silent)).promotions[0].reason
    assert reason == "The promotion did not write down what decided."


def test_what_became_of_the_rows_of_every_source() -> None:
    assert [d.table for d in SUMMARY.data] == [table for table, _ in tables(resource())]
    first = SUMMARY.data[0]
    assert (first.read, first.failed, first.duplicates, first.contaminated, first.over_limit, first.rows) == (
        104, 1, 1, 1, 1, 100,
    )  # fmt: skip
    assert first.ignored == {"<b>rating</b>": 99}
    assert summarise(not_started()).data == []


def test_pairs_and_judges() -> None:
    pairs = SUMMARY.pairs[0]
    assert pairs.prompts == 120 == pairs.kept + sum(pairs.dropped.values())
    assert pairs.verdicts == 2400
    whole, *alone = [j for j in SUMMARY.judges if j.stage == "i1-judge"]
    assert (whole.judge, whole.role, whole.asked, whole.failures) == ("Panel", "method", None, {})
    assert [(j.judge, j.role, j.asked) for j in alone] == [
        (name, "verdict", 2400) for name in ("gemma2-27b", "qwen2-72b", "wizardlm")
    ]
    for orders in (j.orders for j in (whole, *alone)):
        assert orders is not None
        counted = orders.agreed + orders.first_place_won + orders.second_place_won + orders.no_verdict
        assert counted == orders.comparisons == 1200
    assert all(j.agreement is not None for j in [whole, *alone])
    for j in alone:
        votes = [c["votes"][alone.index(j)] for row in rankings(1) for c in row["comparisons"]]
        missing = sum(vote.count(None) for vote in votes)
        assert j.failures == ({"unreadable": missing} if missing else {})
        assert j.orders is not None
        assert j.orders.first_place_won == sum(vote == [1, 0] for vote in votes)


def test_the_judges_of_an_evaluation_are_told_and_their_consistency_stands_with_the_score() -> None:
    criteria, whole, alone = (
        next(j for j in SUMMARY.judges if (j.stage, j.role) == ("i1-evaluate-dpo", role))
        for role in ("criteria", "method", "verdict")
    )
    assert [(j.benchmark, j.judge, j.asked) for j in (criteria, whole, alone)] == [
        ("arena", "gpt-judge", PROMPTS), ("arena", "Single", None), ("arena", "gpt-judge", 2 * PROMPTS),
    ]  # fmt: skip
    assert criteria.orders is None
    assert whole.orders == alone.orders
    rows = [r["score"] for r in FINISHED.scores["i1-evaluate-dpo"] if r["benchmark"] == "arena"]
    assert alone.orders is not None
    assert alone.orders.first_place_won == rows.count(0.5), "a draw of the fake judge follows the first place"
    scores = {(s.stage, s.benchmark, s.model): s.position_consistency for s in SUMMARY.scores}
    assert scores["i1-evaluate-dpo", "arena", "dpo"] == pytest.approx(1 - rows.count(0.5) / PROMPTS, abs=1e-5)
    assert scores["i1-evaluate-dpo", "math", "dpo"] is None, "nobody judges it"
    assert scores["i0-evaluate", "arena", "base"] is None, "it is its own baseline"


def test_costs_are_gpu_hours_and_tokens_at_their_prices() -> None:
    spec = FINISHED.resource.spec
    judged = stage(FINISHED, "i1-evaluate-sft")
    assert judged.manifest is not None
    usage = {"gpt-judge": TokenUsage(calls=1, prompt_tokens=2_000_000, completion_tokens=100_000)}
    manifest = judged.manifest.with_(seconds=7200.0, usage=usage)
    assert gpus_held(spec, judged.stage) == 1, "the student's one GPU; the endpoint has none of ours"
    longer = replace(judged, manifest=manifest)
    assert gpu_hours(FINISHED, longer) == 2
    assert gpu_hours(FINISHED, replace(longer, spared_gpu_seconds=1800.0)) == 1.5
    assert usd(FINISHED, longer) == pytest.approx(2 * 2.2 + 2 * 2.5 + 0.1 * 10)


def test_plan_and_report_tell_the_same_of_a_stage_that_is_done() -> None:
    spec = FINISHED.resource.spec
    for view in FINISHED.stages:
        assert view.manifest is not None
        told = next(s for s in SUMMARY.stages if s.id == view.stage.id)
        took = measured(view.stage, view.manifest, made_with=FINISHED.resource, results={}, prices=spec)
        assert (took.rows, took.calls or None) == (told.rows, told.calls), told.id
        assert (took.prompt_tokens, took.completion_tokens) == (told.prompt_tokens, told.completion_tokens), told.id
        assert took.hours == view.manifest.seconds / 3600
        assert took.gpu_hours == pytest.approx(told.gpu_hours, rel=1e-5)
        assert (float(took.usd) if took.usd is not None else None) == pytest.approx(told.usd or 0.0, rel=1e-5), told.id
    trained = stage(FINISHED, "i1-sft")
    assert trained.manifest is not None
    said = trained.manifest.with_(metrics={**trained.manifest.metrics, "tokens": 4096.0})
    assert measured(trained.stage, said, made_with=FINISHED.resource, results={}, prices=spec).trained_tokens == 4096
    unpriced = spec.with_(cost=Cost())
    assert (
        measured(trained.stage, trained.manifest, made_with=FINISHED.resource, results={}, prices=unpriced).usd is None
    )


def test_a_missing_price_is_no_price_of_zero() -> None:
    view = finished_run(resource(cost={}))
    summary = summarise(view)
    assert next(s for s in summary.stages if s.id == "i1-sft").usd is None
    assert "Cost is incomplete: spec.cost.gpuHourUsd is not stated." in summary.missing


def test_work_of_another_run_is_named() -> None:
    made = stage(FINISHED, "i1-generate")
    assert made.manifest is not None
    reused = with_stage(FINISHED, replace(made, manifest=made.manifest.with_(run="research-other-local")))
    found = {s.id: s.reused_from for s in summarise(reused).stages}
    assert found["i1-generate"] == "research-other-local"
    assert found["i1-sft"] is None
    assert made.manifest.run == RUN


def test_lineage_names_teachers_and_their_licences() -> None:
    sft, dpo = SUMMARY.lineage[:2]
    assert sft.teachers == ["wizardlm", "qwen2-72b", "gemma2-27b", "qwen15-110b"]
    assert sft.licenses == ["llama3.1", "apache-2.0", "tongyi-qianwen", "gemma"]
    assert dpo.parent == "iteration 1 SFT"
    assert SUMMARY.lineage[2].parent == "iteration 1 DPO", "iteration 2 starts from whom iteration 1 promoted"
    assert next(m for m in SUMMARY.models if m.name == "gpt-judge").license is None


def test_roles() -> None:
    roles = {m.name: m.roles for m in SUMMARY.models}
    assert roles["llama"] == ["student"]
    assert roles["wizardlm"] == ["proposer", "judge"]
    assert roles["gpt-judge"] == ["evaluation judge"]


def test_a_run_in_progress_is_partial_and_says_so() -> None:
    summary = summarise(run_in_progress())
    assert summary.headline.conclusion == "Open"
    assert not summary.run.is_complete
    status = {s.id: s.status for s in summary.stages}
    assert (status["i1-judge"], status["i1-dpo"], status["i2-sft"]) == ("done", "failed", "waiting")
    assert any(m.startswith("i1-dpo failed: spec.training.dpo.batchSize") for m in summary.missing)
    assert any(m.startswith("Not begun") and "i1-promote" in m for m in summary.missing)
    assert next(s for s in summary.stages if s.id == "i1-dpo").seconds is None


@pytest.mark.parametrize(
    ("problem", "told"),
    [
        ("out of memory.", "i1-dpo failed: out of memory."),
        ("the job ended; its last lines:\n  line 1\n  line 2", "i1-dpo failed: the job ended; its last lines."),
        ("", "i1-dpo failed: no reason was recorded."),
        ("x" * 400, f"i1-dpo failed: {'x' * 300}…."),
    ],
)
def test_a_failure_is_told_in_one_line(problem: str, told: str) -> None:
    view = run_in_progress()
    failed = replace(stage(view, "i1-dpo"), problem=problem)
    assert told in summarise(with_stage(view, failed)).missing


@pytest.mark.parametrize(("refused", "count"), [(1.0, 1), (0.0, 0)])
def test_a_training_that_asked_for_packing_and_went_without_is_noted(refused: float, count: int) -> None:
    done = stage(FINISHED, "i1-sft")
    assert done.manifest is not None
    changed = {"metrics": {"packing_refused": refused}}
    view = with_stage(FINISHED, replace(done, manifest=done.manifest.model_copy(update=changed)))
    summary = summarise(view)
    notes, html = summary.notes, render(view, summary)
    assert len([note for note in notes if note.startswith("i1-sft asked for packing but trained without it")]) == count
    assert all(note in html for note in notes)


@pytest.mark.parametrize(
    ("metric", "told"),
    [
        ("too_long_dropped", "i1-sft left out 3 of 40 rows longer than maxLength."),
        ("too_long_cut", "i1-sft cut the prompts of 3 of 40 rows, which were longer than maxLength."),
    ],
)
def test_what_became_of_rows_that_are_too_long_is_noted(metric: str, told: str) -> None:
    done = stage(FINISHED, "i1-sft")
    assert done.manifest is not None
    for count in (3.0, 0.0):
        changed = {"rows_in": 40, "metrics": {**done.manifest.metrics, metric: count}}
        view = with_stage(FINISHED, replace(done, manifest=done.manifest.model_copy(update=changed)))
        assert [note for note in summarise(view).notes if "maxLength" in note] == ([told] if count else [])


def test_rows_that_a_benchmark_leaves_out_have_a_column_where_there_are_any() -> None:
    assert "Not asked" not in render(FINISHED, SUMMARY)
    done = stage(FINISHED, "i0-stage-data")
    assert done.manifest is not None
    metrics = {**done.manifest.metrics, "eval-math.read": 111, "eval-math.unasked": 7}
    view = with_stage(FINISHED, replace(done, manifest=done.manifest.model_copy(update={"metrics": metrics})))
    row = re.search("<tr><th[^>]*>eval-math</th>(.*?)</tr>", render(view, summarise(view)))
    assert row is not None
    assert re.findall(">([0-9]+)<", row[1]) == ["111", "1", "7", "1", "1", "1", "100"]


def test_a_run_that_has_not_begun() -> None:
    summary = summarise(not_started())
    assert summary.scores == []
    assert summary.headline.promoted == "start (llama)"
    assert summary.models[0].digest is None


def test_no_benchmark_is_said_to_be_missing() -> None:
    summary = summarise(finished_run(resource(evaluation={})))
    assert summary.headline.conclusion == "NotMeasured"
    assert any("No benchmark is declared" in m for m in summary.missing)


@pytest.mark.parametrize(
    ("student", "label"),
    [("llama", "start (llama)"), ("@i3-sft", "iteration 3 SFT"), ("other", "other"), (None, "an earlier student")],
)
def test_labels_of_students(student: str | None, label: str) -> None:
    assert student_label(student, "llama") == label


def test_secrets_in_urls_and_pod_templates_stay_out() -> None:
    assert without_secrets("https://user:key@host:8443/v1?api_key=s3cret#x") == "https://host:8443/v1"
    models = [
        {"name": "llama", "source": "hf://a/b", "serving": {"template": {"spec": {"env": "s3cret"}}}},
        {"name": "far", "endpoint": {"url": "https://me:s3cret@host/v1", "model": "m"}},
    ]
    evaluation = {"selection": [{"name": "math", "type": "ExactMatch", "source": "file:///x.jsonl"}]}
    world = resource(models=models, mixture=None, judge=None, training={"sft": {}}, evaluation=evaluation, data={})
    assert "s3cret" not in json.dumps(public_resource(world))
    assert "https://host/v1" in json.dumps(public_resource(world))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("s3://AKIA:s3cret@bucket/rows.jsonl", "s3://bucket/rows.jsonl"),
        ("s3://AKIA:s3/cr?e#t@bucket/rows.jsonl?versionId=1", "s3://bucket/rows.jsonl"),
        ("s3://AKIA:/s3cret@bucket/rows.jsonl", "s3://bucket/rows.jsonl"),
        ("s3://AKIA:s3cret/bucket", "s3://…"),
        ("https://minio:9000?sig=s3cret", "https://minio:9000"),
        ("https://[::1]:8000/v1", "https://[::1]:8000/v1"),
        ("file:///home/me@here/rows.jsonl", "file://…/rows.jsonl"),
        ("hf://owner/name@main", "hf://owner/name@main"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert without_secrets(url) == shown
    assert public_text(f"could not read '{url}' twice") == f"could not read '{shown}' twice"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("file:///home/alice/runs/tiny", "file://…/runs/tiny"),
        ("file:///rows.jsonl", "file:///rows.jsonl"),
        ("file:///tmp/rows/", "file://…/rows/"),
        ("see /home/alice/work/logs/i1-sft.log: no space", "see …/logs/i1-sft.log: no space"),
        ("'/Users/alice/x.jsonl' is gone", "'…/x.jsonl' is gone"),
        ("HTTP 404 of /v1/chat/completions", "HTTP 404 of /v1/chat/completions"),
        ("https://host/home/page/x", "https://host/home/page/x"),
        (
            "one and/or the other, 3/4, ~/data/x, stages/dpo/tmp/x",
            "one and/or the other, 3/4, ~/data/x, stages/dpo/tmp/x",
        ),
    ],
)
def test_a_path_is_shown_without_the_folders_of_the_host(text: str, shown: str) -> None:
    assert public_text(text) == shown
    assert public_text(shown) == shown


def test_the_summary_says_when_stages_ran_and_the_run() -> None:
    run, stages = SUMMARY.run, SUMMARY.stages
    assert (run.started, run.finished) == ("2026-03-02T08:00:00Z", stages[-1].finished)
    assert run.elapsed_seconds == len(stages) * 3600
    assert (stages[1].started, stages[1].finished) == ("2026-03-02T09:00:00Z", "2026-03-02T10:00:00Z")
    waiting = summarise(not_started())
    assert {stage.started for stage in waiting.stages} == {None}
    assert (waiting.run.started, waiting.run.finished, waiting.run.elapsed_seconds) == (None, None, None)


def test_stages_of_another_run_are_left_out_of_the_run_s_time() -> None:
    first, *rest = FINISHED.stages
    assert first.manifest is not None
    found = replace(first, manifest=first.manifest.with_(run="research-other-local"))
    assert summarise(replace(FINISHED, stages=(found, *rest))).run.started == "2026-03-02T09:00:00Z"


def test_a_report_of_a_resource_from_a_cluster_holds_no_secret() -> None:
    keyed = "s3://AKIA:s3cret@lab-data/rows.jsonl"
    models = FINISHED.resource.model_dump(mode="json", by_alias=True, exclude_unset=True)["spec"]["models"]
    spec = {
        "storage": {"uri": "s3://lab-runs/moaa?key=s3cret", "endpoint": "https://minio:9000?sig=s3cret"},
        "models": [{**model, "source": f"{keyed}/{model['name']}"} for model in models if "source" in model],
        "data": {"sft": [{"source": keyed}], "preference": [{"source": keyed}]},
        "evaluation": {"selection": [{"name": "math", "type": "ExactMatch", "source": keyed}]},
    }
    metadata = {"name": "m", "annotations": {"kubectl.kubernetes.io/last-applied-configuration": json.dumps("s3cret")}}
    world = resource(**spec).model_copy(update={"metadata": Metadata.model_validate(metadata)})
    view = replace(finished_run(world), unreadable=(f"{keyed}: not there.",))
    failed = replace(stage(view, "i2-sft"), manifest=None, status="failed", problem=f"{keyed}: not there")
    view = with_stage(view, failed)
    summary = summarise(view)
    html = render(view, summary)
    assert "s3cret" not in summary.to_json()
    assert "s3cret" not in html
    assert html.count("s3://lab-data/rows.jsonl") > 4


def test_calls_tell_what_was_cut_and_what_failed_in_the_servers_words() -> None:
    (entry,) = [c for c in SUMMARY.calls if c.cut]
    model = entry.model
    asked = plural(entry.calls + entry.reused, "call")
    assert (entry.stage, entry.cut, entry.thoughts) == ("i1-generate", {"aggregator": 2, "proposer": 40}, 5)
    (failure,) = entry.failures
    assert (failure.reason, failure.calls) == ("refused", 2)
    assert failure.example == "model 'm': HTTP 403: flagged by https://x.example/filter"
    told = [note for note in SUMMARY.notes if note.startswith(f"i1-generate: of {asked} to {model}, ")]
    assert [note.split(", ", 1)[1].split(";")[0] for note in told] == [
        "42 ended at the limit of tokens (2 as aggregator, 40 as proposer)",
        "3 were allowed fewer tokens than maxTokens says, because the prompt filled the window",
        "1 came back without a count of tokens, so tokens and cost are shown too low.",
    ]
    examples = {f.reason: f.example for f in SUMMARY.failures if f.stage == "i1-generate"}
    assert examples == {"too-long": "row q7: HTTP 400: see https://x.example/help", "no-verdict": None}
