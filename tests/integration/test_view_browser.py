"""The pages of `moaa view`, and the report, in a real browser: wide and narrow, light and dark, by keyboard, without
scripts, while a run goes on."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from moaa.data.schemas import CONVERSATIONS
from moaa.experiment.compare import compare
from moaa.experiment.html import render as render_comparison
from moaa.report.html import render
from moaa.report.summary import summarise
from moaa.run.records import write_resource
from moaa.run.view import RunView
from moaa.store.stages.manifest import StageManifest
from moaa.view import scan
from moaa.view.server import serve
from moaa.view.site import Site
from tests.browser import chromium, faults, lost_in_print, window
from tests.unit.experiment.test_experiment_compare import experiment, half_better, views
from tests.unit.report_store import Filled, copied, fill, put
from tests.unit.report_world import RUN, finished_run, not_started, rankings, run_in_progress
from tests.unit.view.test_view import HOSTILE
from tests.unit.view.test_view_live import publish

pytestmark = pytest.mark.asyncio(loop_scope="module")
WORLD = finished_run()
OTHER = "research-other-local"
STAGE = f"/run/{RUN}/stage"
BOTH = f"a={RUN}~i0-evaluate~base&b={RUN}~i1-evaluate-dpo~dpo"
QUESTION = next(row["id"] for row in WORLD.scores["i0-evaluate"] if row["benchmark"] == "math")
PAGES = {
    "runs": "/",
    "run": f"/run/{RUN}",
    "stage": f"{STAGE}/i1-judge",
    "training": f"{STAGE}/i1-dpo",
    "table": f"{STAGE}/i1-judge/rankings",
    "searched": f"{STAGE}/i1-judge/rankings?outcome=pair&text=a",
    "conversation": f"{STAGE}/i1-generate/conversations/0/0",
    "ranking": f"{STAGE}/i1-judge/rankings/0/1",
    "pair": f"{STAGE}/i1-judge/pairs/0/0",
    "answer": f"{STAGE}/i1-evaluate-dpo/answers/0/0",
    "changed": f"/compare?{BOTH}",
    "question": f"/compare/question?{BOTH}&benchmark=math&id={QUESTION}",
    "two-runs": f"/compare?run={RUN}&with={OTHER}",
    "absent": "/run/nobody",
}


@dataclass(frozen=True)
class Shown:
    """A store and the server that shows it."""

    filled: Filled
    address: str


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as found:
        yield found


@asynccontextmanager
async def shown(filled: Filled) -> AsyncIterator[str]:
    """The address of a server of its own."""
    runner, address = await serve(Site(filled.store), host="127.0.0.1", port=0, hosts=())
    try:
        yield address
    finally:
        await runner.cleanup()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def whole(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shown]:
    """A run that has closed its first iteration of two, and another that has just begun."""
    filled = await fill(tmp_path_factory.mktemp("whole"), WORLD, until="i1-promote")
    await write_resource(filled.store, RUN, WORLD.resource)
    await write_resource(
        filled.store, OTHER, WORLD.resource.with_(metadata=WORLD.resource.metadata.with_(name="other"))
    )
    async with shown(filled) as address:
        yield Shown(filled, address)


@pytest.mark.parametrize("name", PAGES)
async def test_a_page_reads_well_in_every_window(browser: Browser, whole: Shown, name: str) -> None:
    async with window(browser, whole.address) as (page, noticed):
        answer = await page.goto(PAGES[name])
        assert answer is not None
        assert answer.status == (404 if name == "absent" else 200)
        assert await faults(page) == []
    assert [one for one in noticed.problems if name != "absent" or "404 (Not Found)" not in one] == []


STOPS = """() => [...document.querySelectorAll("a[href], button, input, select, summary, [tabindex='0']")]
  .filter((one) => one.checkVisibility() && one.type !== "hidden").length"""
FOCUSED = """() => {
  const one = document.activeElement, style = getComputedStyle(one), box = one.getBoundingClientRect();
  return { number: [...document.querySelectorAll("*")].indexOf(one),
    is_seen: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2 && box.width > 0 && box.right > 0 };
}"""


@pytest.mark.parametrize("name", ["run", "table", "ranking", "changed"])
async def test_the_keyboard_reaches_everything_in_order_and_shows_where_it_is(
    browser: Browser, whole: Shown, name: str
) -> None:
    async with window(browser, whole.address) as (page, _):
        await page.goto(PAGES[name])
        stops, seen = await page.evaluate(STOPS), list[int]()
        assert stops > 5
        for _ in range(stops):
            await page.keyboard.press("Tab")
            found = await page.evaluate(FOCUSED)
            assert found["is_seen"], await page.evaluate("document.activeElement.outerHTML")
            seen.append(found["number"])
        assert seen == sorted(set(seen))


async def press_on(page: Page, name: str) -> None:
    """Tab to the link or button of that name, press Enter, and wait for the page to which it leads."""
    for _ in range(200):
        await page.keyboard.press("Tab")
        if await page.evaluate("document.activeElement.innerText") == name:
            async with page.expect_navigation():
                await page.keyboard.press("Enter")
            return
    raise AssertionError(f"no {name!r} is reached by Tab in {page.url}")


async def test_a_reader_with_a_keyboard_alone_finds_out_what_a_judge_said(browser: Browser, whole: Shown) -> None:
    async with window(browser, whole.address) as (page, noticed):
        await page.goto("/")
        await page.keyboard.press("Tab")
        await expect(page.get_by_text("Skip to the content")).to_be_in_viewport()
        await page.keyboard.press("Enter")
        await press_on(page, RUN)
        await expect(page.get_by_role("heading", level=1)).to_have_text("llama-8b")
        await press_on(page, "i1-judge")
        await press_on(page, "rankings")
        await page.get_by_label("Outcome").focus()
        await page.keyboard.type("pair")
        await press_on(page, "Search")
        await page.wait_for_url("**outcome=pair**")
        await press_on(page, await page.locator("#rows tbody th a").first.inner_text())
        await expect(page.get_by_role("heading", name="What judges said")).to_be_visible()
        reply = page.locator("details.talk[open] details.reply").first
        await reply.locator("summary").focus()
        await page.keyboard.press("Enter")
        await expect(reply.locator(".text")).to_be_visible()
    assert noticed.problems == []


async def test_every_page_has_one_heading_above_all_and_its_parts_are_named(browser: Browser, whole: Shown) -> None:
    """As a screen reader lists them."""
    async with window(browser, whole.address) as (page, _):
        for name, address in PAGES.items():
            await page.goto(address)
            await expect(page.get_by_role("heading", level=1), name).to_have_count(1)
            await expect(page.get_by_role("main"), name).to_have_count(1)
            await expect(page.get_by_role("navigation", name="Where you are")).to_have_count(1)
        await page.goto(PAGES["run"])
        for part in ("Stages", "Scores by iteration", "Training", "Promotions", "Models and licences"):
            await expect(page.get_by_role("region", name=part, exact=True)).to_have_count(1)


async def test_a_page_follows_a_run_that_goes_on(browser: Browser, whole: Shown, tmp_path: Path) -> None:
    """By itself, and without taking away what the reader is at."""
    filled = copied(whole.filled, tmp_path, until="i1-sample")
    async with shown(filled) as address, window(browser, address) as (page, noticed):
        await page.clock.install()
        await page.goto(PAGES["stage"])
        await expect(page.get_by_text("There are none yet.")).to_be_visible()
        await publish(filled, 1)
        await page.clock.run_for(11_000)
        await expect(page.get_by_role("link", name="rankings")).to_be_visible()
        await page.goto(PAGES["run"])
        line = page.locator("#stages tr", has_text="i1-judge")
        await expect(line).to_contain_text("1 of ")
        await page.get_by_label("Before").focus()
        await publish(filled, 0)
        await page.clock.run_for(11_000)
        await expect(line).to_contain_text("2 of ")
        await expect(page.get_by_label("Before")).to_be_focused()
    assert noticed.problems == []


async def test_a_page_says_that_its_server_has_gone(browser: Browser, whole: Shown) -> None:
    async with window(browser, whole.address) as (page, _):
        await page.clock.install()
        async with shown(whole.filled) as address:
            await page.goto(address + PAGES["run"][1:])
        await page.clock.run_for(11_000)
        await expect(page.get_by_role("status")).to_have_text("The server does not answer; this page is as it was.")
        await expect(page.get_by_role("heading", level=1)).to_have_text("llama-8b")


@pytest.mark.parametrize("has_scripts", [True, False])
async def test_a_search_goes_on_by_itself_or_by_a_link(
    browser: Browser, whole: Shown, monkeypatch: pytest.MonkeyPatch, has_scripts: bool
) -> None:
    """Each answer of the server has time for one part of the table."""
    monkeypatch.setattr(scan, "SEARCH_S", 0.0)
    monkeypatch.setattr(scan, "AT_ONCE", 1)
    ranked = rankings(1)
    wanted = next(row["id"] for row in ranked[len(ranked) // 2 :])
    async with window(browser, whole.address, has_scripts=has_scripts) as (page, noticed):
        await page.goto(f"{PAGES['table']}?id={wanted}")
        if not has_scripts:
            await expect(page.locator("#rows tbody tr")).to_have_count(0)
            await page.get_by_role("link", name="Search on").click()
        await expect(page.locator("#rows tbody tr")).to_have_count(1)
        if has_scripts:
            await expect(page.locator("#more")).to_contain_text(f"Looked at {len(ranked)} rows")
    assert noticed.problems == []


async def test_without_scripts_nothing_but_the_following_is_lost(browser: Browser, whole: Shown) -> None:
    async with window(browser, whole.address, has_scripts=False) as (page, noticed):
        await page.goto("/")
        for name in (RUN, "i1-judge", "rankings"):
            await page.get_by_role("link", name=name, exact=True).first.click()
        await page.locator("#rows tbody th a").first.click()
        await expect(page.get_by_role("heading", level=1)).to_contain_text("Row ")
        await page.locator("details.talk[open] details.reply > summary").first.click()
        await expect(page.locator("details.reply[open] .text").first).to_be_visible()
    assert noticed.problems == []


async def test_what_models_and_users_wrote_does_nothing(browser: Browser, whole: Shown, tmp_path: Path) -> None:
    filled = copied(whole.filled, tmp_path, until="i1-generate")
    stage = filled.results["i1-generate"].path
    file = tmp_path / stage / "manifest.json"
    row = {
        "id": HOSTILE, "messages": [{"role": "user", "content": HOSTILE}, {"role": "assistant", "content": HOSTILE}],
        "proposals": [{"path": "turn0/layer0/p0/s0", "model": HOSTILE, "text": HOSTILE}], "missing": 1,
        "absent": [{"path": HOSTILE, "model": HOSTILE, "reason": HOSTILE}], "shortened": 0, "wrote": [HOSTILE],
    }  # fmt: skip
    ref = await put(filled.store, f"{stage}/out/9/x.parquet", [row], CONVERSATIONS)
    manifest = StageManifest.model_validate_json(file.read_text())
    told = manifest.with_(tables={"conversations": [ref]}, failures={HOSTILE: 1}, examples={HOSTILE: HOSTILE})
    file.write_text(told.model_dump_json(by_alias=True))
    async with shown(filled) as address, window(browser, address) as (page, noticed):
        for rest in ("", "/conversations", "/conversations/0/0"):
            await page.goto(f"{STAGE}/i1-generate{rest}")
            await expect(page.get_by_text("alert(1)").first).to_be_visible()
            assert await page.locator("main script, main img").count() == 0
            assert await faults(page) == []
    assert noticed.problems == []


def comparison(folder: Path) -> str:
    found = experiment(folder, "one", "two", seeds=(1, 2))
    return render_comparison(compare(found, views(found, half_better), {}))


REPORTS = {
    "whole": lambda _: render_view(finished_run()),
    "in-progress": lambda _: render_view(run_in_progress()),
    "not-started": lambda _: render_view(not_started()),
    "experiment": comparison,
}


def render_view(view: RunView) -> str:
    return render(view, summarise(view))


@pytest.mark.parametrize("name", REPORTS)
async def test_a_report_reads_well_in_every_window(browser: Browser, tmp_path: Path, name: str) -> None:
    """As one opens it: a file, without a server."""
    file = tmp_path / "report.html"
    file.write_text(REPORTS[name](tmp_path), encoding="utf-8")
    async with window(browser, "file:///") as (page, noticed):
        await page.goto(file.as_uri())
        assert await faults(page) == []
        assert await lost_in_print(page) == []
    assert noticed.problems == []
