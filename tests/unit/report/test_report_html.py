"""The page: self-contained, nothing of a user's text acts as markup, every part is there, gaps are said."""

import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

from moaa.plan.stage import Kind
from moaa.report.html import render
from moaa.report.page import MAX_CHARS, cut, example, why
from moaa.report.summary import summarise
from moaa.rows import Comparison, ProposalRecord, RankingRow
from moaa.run.view import RunView, StageView
from tests.unit.report_world import LONG, finished_run, hostile, not_started, resource, run_in_progress

VOID = {"meta", "link", "br", "img", "input", "hr"}
SVG_LEAVES = {"line", "rect", "path", "circle", "polygon"}


class Page(HTMLParser):
    """Counts tags, checks that they nest, and keeps what a reader sees."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.open: list[str] = []
        self.seen: list[str] = []
        self.headings: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002  HTMLParser's
        self.tags[tag] += 1
        assert tag in SVG_LEAVES

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.seen.append(data)

    @property
    def text(self) -> str:
        return "".join(self.seen)


def page_of(view: RunView) -> tuple[str, Page]:
    text = render(view, summarise(view))
    return text, Page(text)


FINISHED_TEXT, FINISHED = page_of(finished_run())


def test_nothing_is_loaded_and_nothing_runs() -> None:
    assert FINISHED.tags["script"] == FINISHED.tags["iframe"] == FINISHED.tags["img"] == 0
    assert not [a for a in FINISHED.attributes if a[1].startswith("on")]
    targets = [value for _, name, value in FINISHED.attributes if name in ("href", "src", "srcset", "action", "data")]
    assert all(t.startswith("#") or t == "data:," for t in targets)
    style = FINISHED_TEXT[FINISHED_TEXT.index("<style>") : FINISHED_TEXT.index("</style>")]
    assert "@import" not in style
    assert "url(" not in style
    assert "default-src 'none'" in FINISHED_TEXT


def test_only_a_mixture_s_judges_are_said_to_have_no_verdicts() -> None:
    sentence = "there are no verdicts of theirs to agree or disagree"
    judge = {"judges": [{"model": "gemma2-27b"}], "aggregator": {"model": "qwen2-72b"}}
    assert sentence in page_of(finished_run(resource(judge=judge)))[1].text
    assert sentence not in FINISHED.text


def test_hostile_text_is_shown_and_does_nothing() -> None:
    assert '<script>document.title="owned"</script>' in FINISHED.text, "shown as it was written"
    assert "{{ 7*7 }} {% raw %}" in FINISHED.text
    assert "&lt;b&gt; &amp;" in FINISHED.text, "entities in an answer stay what the model wrote"
    assert FINISHED.tags["style"] == 1
    assert FINISHED.tags["title"] > 1, "of the page and of every chart"
    assert LONG in FINISHED.text
    assert "السلام عليكم" in FINISHED.text


def test_text_that_html_cannot_hold_is_replaced() -> None:
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u2028]", FINISHED_TEXT)
    FINISHED_TEXT.encode("utf-8")
    assert "\ufffd\ufffd[31m" in FINISHED.text


def test_texts_have_their_own_direction() -> None:
    shown = [value for tag, name, value in FINISHED.attributes if (tag, name) == ("div", "class") and value == "text"]
    directions = [value for tag, name, value in FINISHED.attributes if (tag, name) == ("div", "dir")]
    assert len(shown) == len(directions) > 10
    assert set(directions) == {"auto"}


def test_endless_texts_are_cut_and_say_so() -> None:
    assert cut("x" * MAX_CHARS) == "x" * MAX_CHARS
    assert cut("x" * 9000).endswith("… (5,000 more characters)")
    assert "… (5,000 more characters)" in FINISHED.text


def test_sources_show_what_became_of_their_rows_and_which_columns_nobody_read() -> None:
    page = render(finished_run(), summarise(finished_run()))
    assert '<section id="data">' in page
    assert "<code>&lt;b&gt;rating&lt;/b&gt;</code> (99)" in page
    assert '<section id="data">' not in render(not_started(), summarise(not_started()))


def test_sections_and_their_links_match() -> None:
    anchors = [value for tag, name, value in FINISHED.attributes if (tag, name) == ("section", "id")]
    links = [value[1:] for tag, name, value in FINISHED.attributes if (tag, name) == ("a", "href") and value != "#main"]
    assert links == anchors
    assert len(set(anchors)) == len(anchors)


def test_headings_descend_one_level_at_a_time() -> None:
    levels = [int(h[1]) for h in FINISHED.headings]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))


def test_tables_say_what_their_headers_head() -> None:
    assert FINISHED.tags["caption"] == FINISHED.tags["table"]
    assert FINISHED.tags["th"] == len([a for a in FINISHED.attributes if a[:2] == ("th", "scope")])


def test_charts_have_titles_and_both_widths() -> None:
    assert FINISHED.tags["svg"] == 2 * FINISHED.tags["figure"] == FINISHED.tags["desc"]


def test_the_verdict_and_the_decision_are_there() -> None:
    view = finished_run()
    summary = summarise(view)
    assert summary.headline.verdict in FINISHED.text
    for promotion in summary.promotions:
        assert why(promotion) in FINISHED.text
    assert "Nothing is missing" in FINISHED.text


def test_chosen_and_rejected_are_those_of_the_pair() -> None:
    view = finished_run()
    clearest = view.tallies["i2-judge"].clearest
    assert clearest is not None
    pair = view.pairs["i2-judge"][clearest["id"]]
    chosen = re.search(r"✓ chosen, sample (\d)", FINISHED.text)
    assert chosen
    assert clearest["samples"][int(chosen[1]) - 1] == pair["chosen"]


def test_it_says_where_the_student_is_and_how_to_take_it() -> None:
    whole = finished_run()
    stages = []
    for stage in whole.stages:
        assert stage.manifest is not None
        outputs = stage.manifest.outputs
        folder = {name: output.with_(uri=f"stages/{stage.stage.id}/{name}") for name, output in outputs.items()}
        is_trained = stage.stage.kind in (Kind.SFT, Kind.DPO)
        stages.append(replace(stage, manifest=stage.manifest.with_(outputs=folder)) if is_trained else stage)
    view = replace(whole, stages=tuple(stages))
    place = summarise(view).headline.weights
    assert place == "stages/i2-dpo/model"
    _, page = page_of(view)
    assert f"s3://lab-runs/moaa/{place}" in page.text
    assert "moaa export FILE --model DIR --sft DIR --pairs DIR\n" in page.text
    assert ("a", "href", "#take") in page.attributes
    remote = replace(view, run="research-llama-8b-0f3c")
    assert "moaa export FILE --model DIR --sft DIR --pairs DIR --uid 0f3c\n" in page_of(remote)[1].text
    assert ("a", "href", "#take") not in FINISHED.attributes, "this world's students have no folder"


def test_no_folder_of_the_host_is_shown() -> None:
    world = resource(
        storage={"uri": "file:///home/alice/runs/llama"},
        data={"sft": [{"source": "file:///home/alice/sft.jsonl"}], "preference": [{"source": "hf://datasets/a/b"}]},
        iterations=1,
    )
    text, page = page_of(finished_run(world))
    assert "alice" not in text
    assert "file://…/runs/llama" in page.text


def test_stages_have_their_times() -> None:
    assert ("time", "datetime", "2026-03-02T09:00:00Z") in FINISHED.attributes
    assert "2026-03-02 08:00 to 2026-03-03 03:00 UTC" in " ".join(FINISHED.text.split())


def test_a_partial_report_says_so() -> None:
    _, page = page_of(run_in_progress())
    assert "This report is partial." in page.text
    assert "8 of 19 stages are done" in page.text
    assert "stopped by a failure" in page.text
    assert "spec.training.dpo.batchSize: out of memory" in page.text
    assert "No iteration is closed yet" in page.text


def test_a_report_before_the_first_stage() -> None:
    _, page = page_of(not_started())
    for phrase in (
        "in progress",
        "Nothing has been measured yet",
        "No conversations yet",
        "No training stage is done yet",
    ):
        assert phrase in page.text


def test_parts_that_a_run_does_not_have_leave_no_empty_section() -> None:
    world = resource(training={"sft": {}, "resources": {"workers": 8}}, judge=None, evaluation={})
    view = replace(not_started(world), conversations={"i1-generate": (hostile(),)})
    _, page = page_of(view)
    anchors = [value for tag, name, value in page.attributes if (tag, name) == ("section", "id")]
    assert not {"judging", "verdicts", "lengths", "answers"} & set(anchors)


def test_a_hostile_problem_is_escaped() -> None:
    view = run_in_progress()
    broken = tuple(
        StageView(s.stage, "failed", problem="</p><script>1</script>\ud800") if s.status == "failed" else s
        for s in view.stages
    )
    _, page = page_of(replace(view, stages=broken))
    assert page.tags["script"] == 0


def test_turns_without_proposals_are_the_datas_own() -> None:
    shown = example("i1-generate", {**hostile(), "proposals": []})
    assert [t.layers for t in shown.turns] == [[]]
    assert shown.system.startswith("Answer </title>")


def test_proposals_stand_beside_the_turn_and_layer_they_were_made_for() -> None:
    plain = finished_run().conversations["i1-generate"][0]
    deep = ProposalRecord(path="turn0/layer10/p0/s0", model="late", text="later layer")
    early = ProposalRecord(path="turn0/layer2/p0/s0", model="early", text="earlier layer")
    shown = example("i1-generate", {**plain, "proposals": [deep, early, *plain["proposals"]]})
    assert [model for model, _ in shown.turns[0].layers[0]] == ["wizardlm", "qwen2-72b", "gemma2-27b"]
    assert [layer[0][0] for layer in shown.turns[0].layers[1:]] == ["early", "late"], "layers in number order"
    assert [model for model, _ in shown.turns[1].layers[0]] == ["qwen2-72b", "gemma2-27b"]
    assert shown.turns[1].question == "And on Mars?"


def test_what_rules_of_pairs_dropped_has_columns_and_a_part_of_the_chart() -> None:
    view = finished_run()
    assert "Orders disagree" not in render(view, summarise(view))
    tally = view.tallies["i2-judge"]
    ruled = replace(
        tally, pairs=tally.pairs - 31, outcomes=tally.outcomes + Counter({"orders-disagree": 24, "small-margin": 7})
    )
    view = replace(view, tallies={**view.tallies, "i2-judge": ruled})
    page = render(view, summarise(view))
    table = page[page.index("<span>Preference pairs") :].split("</tbody>")[0]
    heads = re.findall(r"<th[^>]*>([^<]*)</th>", table.split("</thead>")[0])
    [first, second] = re.findall(r"(?s)<tr>(.*?)</tr>", table)[1:]
    at = heads.index("Orders disagree")
    assert heads[at : at + 2] == ["Orders disagree", "Small margin"]
    cells = [re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", line) for line in (first, second)]
    assert [line[at : at + 2] for line in cells] == [["0", "0"], ["24", "7"]]
    assert len(cells[0]) == len(cells[1]) == len(heads)
    assert "dropped by a rule 31" in page


def test_what_a_reward_model_and_judges_say_of_each_other_is_told() -> None:
    view = finished_run()
    assert "reward model" not in render(view, summarise(view))
    tally = view.tallies["i2-judge"]
    assert tally.clearest is not None
    scores: list[float | None] = [1.25, *[None] * (len(tally.clearest["samples"]) - 1)]
    row: RankingRow = {**tally.clearest, "scores": scores}
    outcomes = tally.outcomes + Counter({"seed-contradicted": 3})
    judged = replace(tally, seconded=30, opposed=10, clearest=row, outcomes=outcomes)
    view = replace(view, tallies={**view.tallies, "i2-judge": judged})
    summary = summarise(view)
    assert [(p.seeds, p.seed_correlation) for p in summary.pairs] == [(0, None), (40, 0.5)]
    page = render(view, summary)
    assert "Iteration 2: the judges and the reward model correlate by 0.50" in page
    assert "Judges against scores" in page
    assert "unscored or contradicted 3" in page
    assert "<td>1.25</td>" in page


def test_skipped_verdicts_have_a_column_and_a_place_in_the_matrix() -> None:
    view = finished_run()
    assert "Skipped" not in render(view, summarise(view))
    tally = view.tallies["i2-judge"]
    clearest = tally.clearest
    assert clearest is not None
    first, *others = clearest["comparisons"]
    halved: Comparison = {**first, "score": None, "backward": None, "votes": [], "skipped": ["ba"]}
    row: RankingRow = {**clearest, "comparisons": [halved, *others]}
    judged = replace(tally, skipped_verdicts=41, single_verdicts=41, clearest=row)
    view = replace(view, tallies={**view.tallies, "i2-judge": judged})
    page = render(view, summarise(view))
    table = page[page.index("<span>Preference pairs") :].split("</tbody>")[0]
    heads = re.findall(r"<th[^>]*>([^<]*)</th>", table.split("</thead>")[0])
    lines = [re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", line) for line in re.findall(r"(?s)<tr>(.*?)</tr>", table)[1:]]
    assert [line[heads.index("Skipped")] for line in lines] == ["0", "41"]
    assert {len(line) for line in lines} == {len(heads)}
    assert "in brackets the one order that was asked" in page
    assert re.search(r"<td>\([01]\)</td>", page)
