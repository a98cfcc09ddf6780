"""The documentation as a site, in a real browser: nothing comes from elsewhere, its search finds, pages fit."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import expect

from tests.browser import VIEWS, chromium, look, window

pytestmark = pytest.mark.asyncio(loop_scope="module")
ROOT = Path(__file__).parents[2]
PAGES = ("", "docs/tutorial/", "docs/reference/", "docs/view/", "docs/install/", "benchmarks/", "CHANGELOG/")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The address of the site as `make docs` builds it."""
    out = tmp_path_factory.mktemp("site")
    program = Path(sys.executable).with_name("mkdocs")
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    build = await asyncio.create_subprocess_exec(program, "build", "--quiet", "--site-dir", out, cwd=ROOT, env=quiet)
    assert await build.wait() == 0

    async def index(asked: web.Request) -> web.StreamResponse:
        return web.FileResponse(out / asked.match_info["path"] / "index.html")

    app = web.Application()
    app.router.add_get("/{path:(?:.*/)?}", index)
    app.router.add_static("/", out)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    await runner.cleanup()


async def test_pages_come_whole_from_the_site_itself_and_fit_their_windows(site: str) -> None:
    async with chromium() as browser, window(browser, site) as (page, noticed):
        for name in PAGES:
            await page.goto(name)
            await expect(page.get_by_role("heading", level=1)).to_have_count(1)
            for view in VIEWS:
                await look(page, view)
                width, shown = await page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
                assert (name, view, width) == (name, view, min(width, shown))
        await look(page, VIEWS[0])
        search = page.get_by_role("textbox", name="Search")
        await search.click()
        await search.press_sequentially("whenCut")
        await expect(page.locator(".md-search-result__link").first).to_be_visible(timeout=60_000)
    assert noticed.problems == []
