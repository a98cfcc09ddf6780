"""The pages of `moaa view` over a real store: what they show, and what the server refuses."""

import asyncio
import html
import re
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from pydantic import SecretStr

from moaa.cli.main import main
from moaa.cli.view import store_of
from moaa.data.schemas import CONVERSATIONS
from moaa.errors import UsageError
from moaa.run.records import write_resource
from moaa.store.objects.base import Store
from moaa.store.objects.s3 import S3Store
from moaa.store.objects.s3_requests import S3Account
from moaa.store.stages.manifest import StageManifest
from moaa.view.server import application, is_local, is_ours, serve
from moaa.view.site import Site
from tests.fake_s3 import FakeS3
from tests.fake_s3 import serve as serve_s3
from tests.store_helpers import MemoryStore
from tests.unit.report_store import Filled, copied, fill, put
from tests.unit.report_world import RUN, finished_run, rankings

WORLD = finished_run()
Ask = Callable[[TestClient[Any, Any]], Coroutine[Any, Any, None]]
HOSTILE = "</div><script>alert(1)</script> & <img src=x onerror=alert(2)>"
PAGES = (
    "/",
    f"/run/{RUN}",
    f"/run/{RUN}/stage/i1-judge",
    f"/run/{RUN}/stage/i1-judge/rankings",
    f"/run/{RUN}/stage/i1-judge/rankings/0/1",
    f"/run/{RUN}/stage/i1-generate/conversations/0/0",
    f"/compare?a={RUN}~i0-evaluate~base&b={RUN}~i1-evaluate-dpo~dpo",
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Filled:
    """A store whose run has closed its first iteration of two, to be read only."""
    filled = asyncio.run(fill(tmp_path_factory.mktemp("whole"), WORLD, until="i1-promote"))
    asyncio.run(write_resource(filled.store, RUN, WORLD.resource))
    return filled


_SITES: dict[int, Site] = {}


def site_of(store: Store) -> Site:
    """One a store: what it has measured stays measured."""
    return _SITES.setdefault(id(store), Site(store))


@asynccontextmanager
async def client(store: Store, hosts: tuple[str, ...] = ()) -> AsyncIterator[TestClient[Any, Any]]:
    async with TestClient(TestServer(application(site_of(store), hosts))) as found:
        yield found


def get(store: Store, *addresses: str) -> list[tuple[int, str]]:
    """Status and text of every page, asked of one server."""

    async def ask() -> list[tuple[int, str]]:
        async with client(store) as found:
            answers = [await found.get(address) for address in addresses]
            return [(answer.status, await answer.text()) for answer in answers]

    return asyncio.run(ask())


def page(store: Store, address: str) -> str:
    [(status, text)] = get(store, address)
    assert status == 200, text
    return text


def rows_of(text: str) -> list[str]:
    return re.findall(r'<th scope="row"><a href="[^"]*/(\d+/\d+)">', text)


def test_a_run_shows_stages_scores_and_curves(whole: Filled) -> None:
    assert f'href="/run/{RUN}"' in page(whole.store, "/")
    text = page(whole.store, f"/run/{RUN}")
    assert all(f"/stage/{stage.stage.id}" in text for stage in WORLD.stages)
    assert "So far, with 11 of 19 stages done" in text
    assert "DPO loss" in text
    assert "data-refresh" in text, "the second iteration is still to come"


def test_a_table_is_shown_page_by_page_and_no_row_is_left_out(whole: Filled) -> None:
    address, seen, path = f"/run/{RUN}/stage/i1-judge/rankings", list[str](), "?"
    while path:
        text = page(whole.store, address + path)
        seen += rows_of(text)
        path = next(iter(re.findall(r'href="(\?[^"]*)" rel="next"', text)), "").replace("&amp;", "&")
    assert seen == [f"{part}/{row}" for part in (0, 1) for row in range(len(rankings(1)) // 2)]
    last = page(whole.store, f"{address}?part=1&row=-50")
    assert rows_of(last) == seen[-50:], "the last page is found without those before"
    assert 'rel="prev"' in last


def test_a_conversation_has_its_proposals_and_answer(whole: Filled) -> None:
    row = WORLD.conversations["i1-generate"][0]
    text = page(whole.store, f"/run/{RUN}/stage/i1-generate/conversations/0/0")
    assert "Turn 1" in text
    assert all(proposal["model"] in text for proposal in row["proposals"])


def test_a_ranking_has_every_judges_words_in_both_orders_and_why_there_is_a_pair(whole: Filled) -> None:
    pairs = page(whole.store, f"/run/{RUN}/stage/i1-judge/pairs/0/0")
    assert "The answer with the most points" in pairs
    assert {"sample 1 shown first", "sample 2 shown first"} <= set(re.findall(r"sample \d shown first", pairs))
    assert ", chosen" in pairs
    assert ", rejected" in pairs
    number = next(i for i, row in enumerate(rankings(1)) if row["outcome"] == "equal-texts")
    [place, *_] = rows_of(page(whole.store, f"/run/{RUN}/stage/i1-judge/rankings?outcome=equal-texts"))
    assert place == "/".join(map(str, divmod(number, len(rankings(1)) // 2)))
    assert "No pair: the student" in page(whole.store, f"/run/{RUN}/stage/i1-judge/rankings/{place}")


def test_what_changed_is_shown_question_by_question(whole: Filled) -> None:
    both = f"a={RUN}~i0-evaluate~base&b={RUN}~i1-evaluate-dpo~dpo&benchmark=math"
    text = page(whole.store, f"/compare?{both}&change=worse")
    assert "points, interval" in text
    ids = re.findall(r"benchmark=math&amp;id=(\w+)", text)
    old = {r["id"]: r["score"] for r in WORLD.scores["i0-evaluate"] if (r["benchmark"], r["model"]) == ("math", "base")}
    new = {r["id"]: r["score"] for r in WORLD.scores["i1-evaluate-dpo"] if r["benchmark"] == "math"}
    assert ids
    assert all(new[one] < old[one] for one in ids)
    answered = next(name for name in sorted(old) if int(name[1:]) < 40)
    shown = page(whole.store, f"/compare/question?{both}&id={answered}")
    assert "base says" in shown
    assert "dpo says" in shown


def test_students_of_two_runs_are_compared(whole: Filled, tmp_path: Path) -> None:
    filled, other = copied(whole, tmp_path), "research-other-local"
    world = finished_run(WORLD.resource.with_(metadata=WORLD.resource.metadata.with_(name="other")))
    asyncio.run(write_resource(filled.store, other, world.resource))
    assert f"<option>{other}</option>" in page(filled.store, f"/run/{RUN}")
    choice = page(filled.store, f"/compare?run={RUN}&with={other}")
    assert f'value="{RUN}~i1-evaluate-dpo~dpo"' in choice
    assert f'value="{other}~i1-evaluate-sft~sft"' in choice
    text = page(filled.store, f"/compare?a={RUN}~i1-evaluate-dpo~dpo&b={other}~i1-evaluate-dpo~dpo")
    assert "changed (0)" in text, "the other run found what this one has made"


@pytest.mark.parametrize(
    ("address", "status", "told"),
    [
        ("/run/nobody", 404, "no run"),
        (f"/run/{RUN}/stage/i9-judge", 404, "no stage"),
        (f"/run/{RUN}/stage/i1-judge/absent", 404, "no table"),
        (f"/run/{RUN}/stage/i1-judge/rankings/0/99999", 404, "no row"),
        (f"/run/{RUN}/stage/i1-judge/rankings/9/0", 404, "no row"),
        ("/run/..%2f..%2fetc/stage/passwd", 404, "no run"),
        ("/run/%2e%2e/%2e%2e/etc/passwd", 404, "no such page"),
        (f"/run/{RUN}/stage/i1-judge/..%2f..%2fmanifest.json", 404, "no table"),
        (f"/run/{RUN}/stage/i1-judge/rankings?outcome=other", 400, "none of pair"),
        (f"/run/{RUN}/stage/i1-judge/rankings?least=many", 400, "no whole number"),
        (f"/run/{RUN}/stage/i1-judge/rankings?part=x", 400, "no whole number"),
        (f"/run/{RUN}/stage/i1-judge/rankings?sort=id", 400, "is searched by"),
        (f"/compare?run={RUN}&with=nobody", 404, "no run"),
        (f"/compare?a={RUN}~i0-evaluate~base&b={RUN}~i1-evaluate-dpo~dpo&benchmark=other", 404, "they share math"),
        (f"/compare?a={RUN}~i0-evaluate~nobody&b={RUN}~i1-evaluate-dpo~dpo", 404, "no scores of 'nobody'"),
        ("/compare?a=x&b=y", 400, "RUN~STAGE~MODEL"),
    ],
)
def test_what_is_not_there_is_said(whole: Filled, address: str, status: int, told: str) -> None:
    [(found, text)] = get(whole.store, address)
    assert found == status
    assert told in text.replace("&#39;", "'")


def test_the_server_only_shows(whole: Filled) -> None:
    async def ask() -> None:
        async with client(whole.store) as found:
            for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
                answer = await found.request(method, f"/run/{RUN}")
                assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
            assert (await found.head("/")).status == 200

    before = sorted(path for path in whole.folder.rglob("*"))
    asyncio.run(ask())
    get(whole.store, *PAGES)
    assert sorted(path for path in whole.folder.rglob("*")) == before


def test_a_name_that_is_not_ours_is_refused(whole: Filled) -> None:
    async def ask() -> None:
        async with client(whole.store, hosts=("moaa.example",)) as found:
            for host, status in (("evil.example", 421), ("moaa.example:8800", 200), ("127.0.0.1:1", 200)):
                assert (await found.get("/", headers={"Host": host})).status == status

    asyncio.run(ask())
    assert [host for host in ("localhost:80", "[::1]:80", "10.0.0.7", "a.localhost") if not is_ours(host, ())] == []
    assert [host for host in ("", "localhost.evil.example", "127.0.0.1.evil.example", "x:1") if is_ours(host, ())] == []


def test_every_answer_forbids_what_is_not_its_own(whole: Filled) -> None:
    async def ask() -> None:
        async with client(whole.store) as found:
            for address in (*PAGES, "/style.css", "/live.js", "/absent"):
                answer = await found.get(address)
                policy, text = answer.headers["Content-Security-Policy"], await answer.text()
                assert "default-src 'none'" in policy
                assert "unsafe" not in policy
                assert not re.search(r"<[^>]+\s(style|on\w+)=", text), "the policy would drop it"
                assert not re.search(r"<script>|<style>", text)

    asyncio.run(ask())


def test_hostile_text_stays_text(whole: Filled, tmp_path: Path) -> None:
    filled = copied(whole, tmp_path, until="i1-generate")
    file = tmp_path / filled.results["i1-generate"].path / "manifest.json"
    manifest = StageManifest.model_validate_json(file.read_text())
    row = {
        "id": HOSTILE, "messages": [{"role": "user", "content": HOSTILE}, {"role": "assistant", "content": HOSTILE}],
        "proposals": [{"path": "turn0/layer0/p0/s0", "model": HOSTILE, "text": HOSTILE}], "missing": 1,
        "absent": [{"path": HOSTILE, "model": HOSTILE, "reason": HOSTILE}], "shortened": 0, "wrote": [HOSTILE],
    }  # fmt: skip
    ref = asyncio.run(put(filled.store, f"{filled.results['i1-generate'].path}/out/9/x.parquet", [row], CONVERSATIONS))
    told = manifest.with_(tables={"conversations": [ref]}, failures={HOSTILE: 1}, examples={HOSTILE: HOSTILE})
    file.write_text(told.model_dump_json(by_alias=True))
    asked = HOSTILE.replace("&", "%26").replace(" ", "+")
    stage = f"/run/{RUN}/stage/i1-generate"
    for rest in ("", "/conversations", "/conversations/0/0", f"/conversations?text={asked}"):
        text = page(filled.store, stage + rest)
        assert "&lt;script&gt;" in text
        assert "<script>" not in text
        assert "<img" not in text


def test_a_store_elsewhere_is_read_by_ranges(whole: Filled) -> None:
    """As S3 is: without a local path, and large objects never whole."""
    store = MemoryStore()
    store.objects = {path.relative_to(whole.folder).as_posix(): path.read_bytes() for path in _files(whole.folder)}
    for address in PAGES[1:]:
        assert page(store, address) == page(whole.store, address)


async def test_a_bucket_is_only_listed_and_read(whole: Filled) -> None:
    fake = FakeS3()
    fake.objects = {path.relative_to(whole.folder).as_posix(): path.read_bytes() for path in _files(whole.folder)}
    async with serve_s3(fake) as url:
        account = S3Account(url, "region", SecretStr("a"), SecretStr("b"))
        store = S3Store.connect("s3://bucket", account)
        async with client(store) as found:
            for address in PAGES:
                assert (await found.get(address)).status == 200
        await store.close()
    assert {request.partition(" ")[0] for request in fake.requests} == {"GET"}


def test_every_link_leads_somewhere(whole: Filled) -> None:
    """Of each table, as of every kind of page, a few are followed."""

    async def crawl() -> set[str]:
        waiting, seen = ["/"], set[str]()
        async with client(whole.store) as found:
            while waiting:
                address = waiting.pop()
                answer = await found.get(address)
                text = await answer.text()
                assert answer.status == 200, f"{address}: {text}"
                links = [html.unescape(link) for link in re.findall(r'href="([^"#][^"]*)"', text)]
                base = address.partition("?")[0]
                for link in (link if link.startswith("/") else base + link for link in links if ":" not in link):
                    kind = re.sub(r"\d+|=[^&]*", "N", link)
                    if kind not in seen:
                        seen.add(kind)
                        waiting.append(link)
        return seen

    seen = asyncio.run(crawl())
    assert {"/", "/run/research-llama-Nb-local/stage/iN-judge/rankings/N/N", "/style.css"} <= seen


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_what_is_named_is_a_file_a_store_or_refused(whole: Filled, tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text("kind: MoAA")
    assert store_of(str(file)) is None
    assert store_of(str(whole.folder)) == store_of(whole.folder.as_uri())
    for wrong in (str(tmp_path), str(tmp_path / "absent"), "s3://"):
        with pytest.raises(UsageError):
            store_of(wrong)
    assert main(["view", str(tmp_path / "absent")]) == 2


async def test_an_address_that_is_taken_is_named(whole: Filled) -> None:
    runner, address = await serve(Site(whole.store), host="127.0.0.1", port=0, hosts=())
    port = int(address.rstrip("/").rpartition(":")[2])
    try:
        with pytest.raises(UsageError, match=f"--port {port}: .*--port 0"):
            await serve(Site(whole.store), host="127.0.0.1", port=port, hosts=())
    finally:
        await runner.cleanup()
    assert [is_local(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "moaa.example")] == [
        True, True, True, False, False,
    ]  # fmt: skip
