"""A real browser for tests: headless Chromium, and all that it and axe hold against a page.

Chromium is the machine's own (`chromium` of PATH, or Google's), or else the one that `playwright install chromium` put
into the user's cache. `scripts/machine.py` has looked for the same before `make test` begins.
"""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, ConsoleMessage, Page, Request, WebError, async_playwright

from scripts.machine import BROWSERS

RULES = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    "resultTypes": ["violations"],
}
"""Of axe: what WCAG 2.2 asks at level AA, and what Deque advises beside it."""
_AXE = Axe().axe_script
HEIGHT = 900


@dataclass(frozen=True)
class View:
    """A window that a page is looked at in."""

    width: int
    scheme: Literal["light", "dark"]

    def __str__(self) -> str:
        return f"{self.width}-{self.scheme}"


VIEWS = (View(1280, "light"), View(1280, "dark"), View(400, "light"), View(400, "dark"))


@dataclass
class Noticed:
    """What went wrong while pages were open, as it came."""

    origin: str
    problems: list[str] = field(default_factory=list)

    def console(self, message: ConsoleMessage) -> None:
        """Chromium tells of what the policy forbade here, too."""
        if message.type in ("error", "warning"):
            self.problems.append(f"console: {message.text}")

    def request(self, request: Request) -> None:
        address = urlsplit(request.url)
        if address.scheme != "data" and f"{address.scheme}://{address.netloc}" != self.origin:
            self.problems.append(f"requested {request.url}")

    def script(self, error: WebError) -> None:
        self.problems.append(f"script: {error.error}")

    def dialog(self, *_: object) -> None:
        self.problems.append("a script of somebody else ran")


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Chromium, until the end of the block."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=found)
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def window(browser: Browser, address: str, *, has_scripts: bool = True) -> AsyncIterator[tuple[Page, Noticed]]:
    """An empty page for addresses below `address`, and what is noticed of it meanwhile."""
    parts = urlsplit(address)
    noticed = Noticed(f"{parts.scheme}://{parts.netloc}")
    context = await browser.new_context(base_url=address, reduced_motion="reduce", java_script_enabled=has_scripts)
    context.on("console", noticed.console)
    context.on("request", noticed.request)
    context.on("weberror", noticed.script)
    context.on("dialog", noticed.dialog)
    try:
        page = await context.new_page()
        await look(page, VIEWS[0])
        yield page, noticed
    finally:
        await context.close()


async def look(page: Page, view: View) -> None:
    """Give the page this size and these colours."""
    await page.set_viewport_size({"width": view.width, "height": HEIGHT})
    await page.emulate_media(color_scheme=view.scheme)


async def faults(page: Page) -> list[str]:
    """What axe finds in any of the views, and where the page is wider than its window."""
    await page.evaluate(_AXE)
    told = []
    for view in VIEWS:
        await look(page, view)
        found = await page.evaluate("options => axe.run(options)", RULES)
        told += [f"{view}: {one['id']}: {one['help']}: {node['html'][:300]}: {node.get('failureSummary', '')}"
                 for one in found["violations"] for node in one["nodes"]]  # fmt: skip
        width, shown = await page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        told += [f"{view}: the page is {width} wide in a window of {shown}"] if width > shown else []
    return told


PAPER = 718
"""Width of A4 between margins of a centimetre, in CSS pixels."""
_LOST = """() => {
  const lost = [], texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const text = texts.currentNode, holder = text.parentElement;
    if (!text.data.trim() || holder.closest("nav, .skip, style, title, desc, .narrow")) continue;
    const range = document.createRange();
    range.selectNodeContents(text);
    const boxes = [...range.getClientRects()], words = text.data.trim().slice(0, 80);
    if (!holder.checkVisibility() || !boxes.length) lost.push(`not shown: ${words}`);
    else if (boxes.some(box => box.right > innerWidth + 1 || box.left < -1)) lost.push(`beyond the edge: ${words}`);
    for (let around = holder; around && around !== document.documentElement; around = around.parentElement) {
      const style = getComputedStyle(around);
      if ((style.overflowX !== "visible" && around.scrollWidth > around.clientWidth + 1) ||
          (style.overflowY !== "visible" && around.scrollHeight > around.clientHeight + 1)) {
        lost.push(`cut off: ${words}`);
        break;
      }
    }
  }
  return lost;
}"""


async def lost_in_print(page: Page) -> list[str]:
    """Texts that somebody who prints the page does not get: closed, cut off, or beyond the edge of the paper."""
    await page.emulate_media(media="print")
    await page.set_viewport_size({"width": PAPER, "height": HEIGHT})
    found: list[str] = await page.evaluate(_LOST)
    await page.emulate_media(media="screen")
    return found
