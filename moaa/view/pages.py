"""One function a page: reads what the address asks for and fills in a template."""

import asyncio
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple
from urllib.parse import quote, urlencode

from aiohttp import web
from jinja2 import Environment

from moaa.errors import UsageError
from moaa.plan.kinds.table import KINDS
from moaa.report import figures
from moaa.report import page as report_page
from moaa.report.html import environment, page_text
from moaa.report.said import SAID_CHARS
from moaa.store.stages.row_groups import open_part
from moaa.view import compare, detail, scan
from moaa.view.compare import Subject
from moaa.view.filters import Query, filters_of, query_of
from moaa.view.listing import cell, listing_of
from moaa.view.scan import ROWS, Page, Place
from moaa.view.site import Absent, Found, Site

_PLACING = ("part", "row")
"""Fields of a table's address that are no search."""


async def runs(site: Site, _: web.Request) -> str:
    """Every run of the store."""
    return _page("runs.html.j2", title="Runs", runs=await site.runs(), store=site.store.uri)


async def run(site: Site, request: web.Request) -> str:
    """One run: stages, scores, curves, models."""
    measured = await site.measured(request.match_info["run"])
    found, summary = measured.found, measured.summary
    view = found.view
    drawn = await asyncio.to_thread(
        lambda: (
            figures.progress_figures(view, summary),
            figures.curve_figures(view),
            report_page.score_groups(view, summary),
        )
    )
    return _page(
        "run.html.j2",
        title=summary.run.name,
        found=found,
        summary=summary,
        run=summary.run,
        spec=view.resource.spec,
        score_figures=drawn[0],
        curve_figures=drawn[1],
        score_groups=drawn[2],
        totals=report_page.totals(summary.stages),
        subjects=compare.subjects(found),
        others=[line.run for line in await site.runs() if line.run != view.run],
    )


async def stage(site: Site, request: web.Request) -> str:
    """One stage: what it read and wrote, failures, calls."""
    measured = await site.measured(request.match_info["run"])
    found, summary = measured.found, measured.summary
    shown = found.stage(request.match_info["stage"])
    name = shown.stage.id
    return _page(
        "stage.html.j2",
        title=name,
        found=found,
        run=_named(found),
        stage=shown,
        line=next(line for line in summary.stages if line.id == name),
        tables=found.tables(shown),
        failures=[one for one in summary.failures if one.stage == name],
        calls=[one for one in summary.calls if one.stage == name],
        promotion=next((one for one in summary.promotions if one.stage == name), None),
        progress=found.progress.get(name),
        at_work=KINDS[shown.stage.kind].at_work,
    )


async def table(site: Site, request: web.Request) -> str:
    """A page of rows of a table, all of them or those that are searched for."""
    found = await site.found(request.match_info["run"])
    shown, name = found.stage(request.match_info["stage"]), request.match_info["table"]
    parts = found.parts(shown, name)
    query = query_of(name, {key: value for key, value in request.query.items() if key not in _PLACING})
    start = Place(_whole(request, "part", min(parts, default=0)), _whole(request, "row", 0))
    names = (await open_part(site.store, parts[min(parts)])).names
    listing = listing_of(name, names)
    seen = await scan.page(site.store, parts, start, listing.columns, query)
    return _page(
        "table.html.j2",
        title=f"{name} of {shown.stage.id}",
        found=found,
        run=_named(found),
        stage=shown,
        table=name,
        rows=found.tables(shown).get(name),
        parts=parts,
        heads=listing.heads,
        lines=[(place, [cell(head, row) for head in listing.heads]) for place, row in seen.rows],
        filters=filters_of(name),
        query=query,
        seen=seen,
        **_pager(seen, parts, query),
    )


def _pager(seen: Page, parts: Mapping[int, object], query: Query) -> dict[str, str | None]:
    """Addresses of other pages of the same rows."""

    def at(place: Place | None) -> str | None:
        return None if place is None else "?" + urlencode({**query.values, "part": place.part, "row": place.row})

    numbers = sorted(parts)
    before = [number for number in numbers if number < seen.start.part]
    previous = None
    if not query.conditions and seen.start.row > 0:
        previous = Place(seen.start.part, max(0, seen.start.row - ROWS))
    elif not query.conditions and before:
        previous = Place(before[-1], -ROWS)
    return {
        "first_page": at(Place(numbers[0], 0)) if seen.start > Place(numbers[0], 0) else None,
        "previous_page": at(previous),
        "next_page": at(seen.next),
        "last_page": at(Place(numbers[-1], -ROWS)) if seen.next is not None and not query.conditions else None,
    }


async def row(site: Site, request: web.Request) -> str:
    """One row with all that belongs to it."""
    found = await site.found(request.match_info["run"])
    shown, name = found.stage(request.match_info["stage"]), request.match_info["table"]
    parts = found.parts(shown, name)
    place = Place(int(request.match_info["part"]), int(request.match_info["row"]))
    found_row = await scan.row(site.store, parts, place)
    if found_row is None:
        raise Absent(f"table {name} of {shown.stage.id} has no row {place.row} in part {place.part}")
    read, following = found_row
    return _page(
        "row.html.j2",
        title=f"Row {read.get('id', place.row)}",
        found=found,
        run=_named(found),
        stage=shown,
        table=name,
        id=read.get("id"),
        place=place,
        detail=await detail.detail(detail.Reader(site.store, found, shown, place.part), name, read),
        following=following,
        related=detail.related(found, shown, name, read),
        said_chars=SAID_CHARS,
    )


async def compare_page(site: Site, request: web.Request) -> str:
    """Two measured students on one benchmark, question by question; or of two runs, which students there are."""
    if "with" in request.query:
        return await _chosen(site, request)
    one, other = await _both(site, request)
    change = compare.change_of(request.query.get("change", "changed"))
    before, after = compare.scores(*one), compare.scores(*other)
    shared = [
        name for name in dict.fromkeys(r["benchmark"] for r in before) if any(r["benchmark"] == name for r in after)
    ]
    benchmark = request.query.get("benchmark") or (shared[0] if shared else "")
    if benchmark not in shared:
        raise Absent(f"the two share no benchmark {benchmark!r}; they share {', '.join(shared) or 'none'}")
    names = compare.subjects(one[0])[one[1]], compare.subjects(other[0])[other[1]]
    made = await asyncio.to_thread(compare.compare, other[0], before, after, benchmark, change, names=names)
    start = max(0, _whole(request, "start", 0))
    shown = made.questions[start : start + ROWS]
    told = await compare.first_answers(site.store, *other, benchmark, [question.id for question in shown])
    return _page(
        "compare.html.j2",
        title="What changed",
        a=one[1],
        b=other[1],
        names=names,
        benchmark=benchmark,
        benchmarks=shared,
        change=change,
        compared=made,
        shown=shown,
        start=start,
        step=ROWS,
        prompts={row["id"]: row["prompt"] for _, row in told.rows},
        is_whole=told.is_whole,
        choices={str(s): label for s, label in {**compare.subjects(one[0]), **compare.subjects(other[0])}.items()},
    )


async def _chosen(site: Site, request: web.Request) -> str:
    """The students of two runs, to choose one of each. Raises Absent: there is no such run."""
    found = [(await site.measured(request.query.get(name, ""))).found for name in ("run", "with")]
    sides = [(one.view.run, compare.subjects(one)) for one in found]
    return _page("choose.html.j2", title="Compare two runs", sides=sides)


async def question(site: Site, request: web.Request) -> str:
    """One question as two students answered it."""
    one, other = await _both(site, request)
    benchmark, asked = request.query.get("benchmark", ""), request.query.get("id", "")
    sides = [
        (subject, compare.subjects(found)[subject], await compare.answers(site.store, found, subject, benchmark, asked))
        for found, subject in (one, other)
        if compare.scores(found, subject)
    ]
    if not any(told.rows for _, _, told in sides) and all(told.is_whole for _, _, told in sides):
        raise Absent(f"neither has answers to question {asked!r} of benchmark {benchmark!r}")
    return _page(
        "question.html.j2", title=f"Question {asked}", a=one[1], b=other[1], benchmark=benchmark, id=asked, sides=sides
    )


async def _both(site: Site, request: web.Request) -> tuple[tuple[Found, Subject], tuple[Found, Subject]]:
    """The two that an address compares.

    Raises:
        UsageError: one is not named.
        Absent: the store has no such run.
    """
    one, other = (compare.subject_of(request.query.get(name, "")) for name in ("a", "b"))
    return ((await site.measured(one.run)).found, one), ((await site.measured(other.run)).found, other)


def prepare() -> None:
    """Compile the templates, so that no page waits for it."""
    made = _environment()
    for name in made.list_templates(filter_func=lambda name: name.endswith(".html.j2") and "/" not in name):
        made.get_template(name)


def problem(title: str, text: str) -> str:
    """The page of an error."""
    return _page("problem.html.j2", title=title, text=text)


class RunName(NamedTuple):
    """As the path above a page says it."""

    run: str
    name: str


def _named(found: Found) -> RunName:
    return RunName(found.view.run, found.view.resource.metadata.name)


def _whole(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name, "")
    if not text:
        return default
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 10):
        raise UsageError(f"{name}: {text!r} is no whole number")
    return int(text)


def _page(template: str, **values: object) -> str:
    return page_text(_environment(), template, **values)


@cache
def _environment() -> Environment:
    """One a process, since it keeps the templates that it has compiled."""
    made = environment("moaa.view")
    made.filters["part"] = lambda text: quote(str(text), safe="")
    made.filters["query"] = urlencode
    made.filters["exact"] = lambda number: f"{number:,}"
    return made
