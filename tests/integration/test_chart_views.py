"""Views of the chart: what each may reach and who reaches it, and that the pages come up as the chart starts them."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from moaa.view.server import HEALTH
from tests.chart import VIEWS, Object, render
from tests.fake_s3 import FakeS3
from tests.fake_s3 import serve as serve_s3

OBJECTS = ("ServiceAccount", "Deployment", "Service", "NetworkPolicy")
PATIENCE_S = 120


@pytest.fixture(scope="module")
def views() -> dict[tuple[str, str], dict[str, Object]]:
    """By namespace and name, the objects by kind."""
    found: dict[tuple[str, str], dict[str, Object]] = {}
    for one in render(VIEWS):
        place = one["metadata"].get("namespace"), one["metadata"]["name"]
        if one["kind"] in OBJECTS and place[0] not in (None, "moaa-system"):
            found.setdefault(place, {})[one["kind"]] = one
    return found


def container(view: dict[str, Object]) -> Object:
    (found,) = view["Deployment"]["spec"]["template"]["spec"]["containers"]
    return dict(found)


def environment(view: dict[str, Object]) -> dict[str, Any]:
    return {one["name"]: one.get("value", one.get("valueFrom")) for one in container(view)["env"]}


def test_nothing_is_made_unless_it_is_listed() -> None:
    assert [one for one in render() if one["metadata"].get("namespace") not in (None, "moaa-system")] == []


def test_each_has_an_account_of_its_own_that_may_do_nothing(views: dict[tuple[str, str], dict[str, Object]]) -> None:
    assert set(views) == {("alignment", "moaa-view"), ("alignment", "moaa-view-second"), ("research", "moaa-view")}
    for (_, name), view in views.items():
        assert tuple(view) == OBJECTS or set(view) == set(OBJECTS)
        pod = view["Deployment"]["spec"]["template"]["spec"]
        assert pod["serviceAccountName"] == view["ServiceAccount"]["metadata"]["name"] == name
        assert pod["automountServiceAccountToken"] is view["ServiceAccount"]["automountServiceAccountToken"] is False
    assert views["research", "moaa-view"]["ServiceAccount"]["metadata"]["annotations"] == {"cloud": "identity"}
    bound = [one for one in render(VIEWS) if one["kind"].endswith("Binding")]
    assert [s for one in bound for s in one["subjects"] if s["name"].startswith("moaa-view")] == []


def test_only_who_is_named_reaches_it_and_it_reaches_only_the_store(
    views: dict[tuple[str, str], dict[str, Object]],
) -> None:
    """Also where networkPolicies.enabled is false: there is no login."""
    for view in views.values():
        labels = view["Deployment"]["spec"]["template"]["metadata"]["labels"]
        policy = view["NetworkPolicy"]["spec"]
        for selector in (policy["podSelector"], view["Deployment"]["spec"]["selector"]):
            assert selector["matchLabels"].items() <= labels.items()
        assert view["Service"]["spec"]["selector"] == policy["podSelector"]["matchLabels"]
        assert policy["policyTypes"] == ["Ingress", "Egress"]
        assert [port["port"] for rule in policy["egress"] for port in rule["ports"]] == [53, 53, 443, 80]
    selectors = [str(view["Service"]["spec"]["selector"]) for (place, _), view in views.items() if place == "alignment"]
    assert len(set(selectors)) == 2, "each Service finds its own pods"
    open_to = {place: view["NetworkPolicy"]["spec"]["ingress"] for place, view in views.items()}
    assert open_to["alignment", "moaa-view-second"] == open_to["research", "moaa-view"] == []
    [rule] = open_to["alignment", "moaa-view"]
    assert rule["from"] == VIEWS["views"][0]["from"]
    assert rule["ports"] == [{"port": "http", "protocol": "TCP"}]


def test_credentials_come_from_the_secret_of_the_runs_or_from_the_cloud(
    views: dict[tuple[str, str], dict[str, Object]],
) -> None:
    told = environment(views["alignment", "moaa-view"])
    keys = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    assert [told[key] for key in keys] == [{"secretKeyRef": {"name": "s3", "key": key}} for key in keys]
    assert (told["AWS_REGION"], told["AWS_ENDPOINT_URL_S3"]) == ("eu-central-1", "http://s3.example:7070")
    other = environment(views["alignment", "moaa-view-second"])
    assert not other.keys() & {*keys, "AWS_ENDPOINT_URL_S3"}
    assert other["AWS_REGION"] == "us-east-1"
    assert container(views["research", "moaa-view"])["resources"] == {"requests": {"memory": "1Gi"}}


@asynccontextmanager
async def started(view: dict[str, Object], endpoint: str) -> AsyncIterator[str]:
    """The address of the pages, as the chart starts them; another port, and keys for Secrets."""
    found = container(view)
    values = {name: value if isinstance(value, str) else "key" for name, value in environment(view).items()}
    command = [str(Path(sys.executable).with_name(found["command"][0])), *found["command"][1:]]
    process = await asyncio.create_subprocess_exec(
        *command,
        *("--port=0" if one == "--port=8800" else one for one in found["args"]),
        env={"PATH": os.environ["PATH"], **values, "AWS_ENDPOINT_URL_S3": endpoint},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE_S):
            while b"http://" not in (line := await process.stdout.readline()):
                assert line, "it has ended"
        yield line.decode().split()[0].replace("0.0.0.0", "127.0.0.1")
    finally:
        process.terminate()
        assert await process.wait() == 0


async def test_the_pages_come_up_as_the_chart_starts_them(views: dict[tuple[str, str], dict[str, Object]]) -> None:
    view = views["alignment", "moaa-view"]
    assert container(view)["readinessProbe"]["httpGet"]["path"] == HEALTH
    async with (
        serve_s3(FakeS3()) as s3,
        started(view, s3) as address,
        aiohttp.ClientSession() as session,
    ):
        async with session.get(address + HEALTH[1:]) as answer:
            assert (answer.status, await answer.text()) == (200, "ok")
        for host, status in {
            "moaa-view:8800": 200, "moaa-view.alignment.svc:8800": 200, "moaa.example": 200, "10.1.2.3:8800": 200,
            "moaa-view.other.svc": 421, "evil.example": 421,
        }.items():  # fmt: skip
            async with session.get(address, headers={"Host": host}) as answer:
                assert (host, answer.status) == (host, status)
