"""The server: read-only pages over HTTP, for this machine unless another address is given.

- Only GET and HEAD are answered; nothing is ever written.
- A Host header has to name an address, `localhost`, or a host that was allowed. A page of another site that has its
  name resolve to this machine (DNS rebinding) is refused.
- Every answer carries a policy that lets a browser load nothing but this server's own style and script.
"""

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable, Collection
from http import HTTPStatus
from importlib.resources import files

import numpy as np
import pyarrow as pa
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from moaa.errors import StageError, StoreError, UsageError
from moaa.view import pages
from moaa.view.site import Absent, Site

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
HEALTH = "/healthz"
"""Answered without a look at the store: a probe asks whether this process answers."""
SITE: web.AppKey[Site] = web.AppKey("site", Site)
Show = Callable[[Site, web.Request], Awaitable[str]]


def application(site: Site, hosts: Collection[str] = ()) -> web.Application:
    """`hosts` are names, beside addresses and localhost, under which browsers may ask for it."""
    app = web.Application(middlewares=[_guard(frozenset(host.lower() for host in hosts))])
    app[SITE] = site
    app.on_response_prepare.append(_add_headers)
    app.router.add_get("/", _html(pages.runs))
    app.router.add_get("/run/{run}", _html(pages.run))
    app.router.add_get("/run/{run}/stage/{stage}", _html(pages.stage))
    app.router.add_get("/run/{run}/stage/{stage}/{table}", _html(pages.table))
    app.router.add_get(r"/run/{run}/stage/{stage}/{table}/{part:\d{1,9}}/{row:\d{1,9}}", _html(pages.row))
    app.router.add_get("/compare", _html(pages.compare_page))
    app.router.add_get("/compare/question", _html(pages.question))
    app.router.add_get(HEALTH, _text("text/plain", "ok"))
    app.router.add_get("/style.css", _text("text/css", _style()))
    app.router.add_get(
        "/live.js", _text("text/javascript", files("moaa.view").joinpath("live.js").read_text(encoding="utf-8"))
    )
    return app


def _style() -> str:
    """The report's, and what only these pages have."""
    sheets = (("moaa.report", "style.css"), ("moaa.view", "view.css"))
    return "\n".join(files(package).joinpath(name).read_text(encoding="utf-8") for package, name in sheets)


def _html(show: Show) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        return web.Response(text=await show(request.app[SITE], request), content_type="text/html")

    return handle


def _text(kind: str, text: str) -> Handler:
    async def handle(_: web.Request) -> web.StreamResponse:
        return web.Response(text=text, content_type=kind)

    return handle


def _guard(hosts: frozenset[str]) -> Middleware:
    """Refuses what is not to be answered, and makes pages of errors."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not is_ours(request.headers.get("Host", ""), hosts):
            return _told(HTTPStatus.MISDIRECTED_REQUEST, "this server is not reached by that name; see --allow-host")
        if request.method not in ("GET", "HEAD"):
            answer = _told(HTTPStatus.METHOD_NOT_ALLOWED, "this server only shows; use GET")
            answer.headers["Allow"] = "GET, HEAD"
            return answer
        try:
            return await handler(request)
        except web.HTTPNotFound:
            return _told(HTTPStatus.NOT_FOUND, "there is no such page")
        except Absent as error:
            return _told(HTTPStatus.NOT_FOUND, str(error))
        except UsageError as error:
            return _told(HTTPStatus.BAD_REQUEST, str(error))
        except (StoreError, StageError) as error:
            return _told(HTTPStatus.SERVICE_UNAVAILABLE, str(error))

    return guard


def is_ours(host: str, allowed: Collection[str]) -> bool:
    """Whether a Host header is one of ours. An address is: no name stands between it and this machine."""
    name = host.lower()
    name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
    if name in allowed or name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _told(status: HTTPStatus, text: str) -> web.Response:
    return web.Response(status=status, text=pages.problem(status.phrase, text), content_type="text/html")


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)


def _warm_up() -> None:
    """Arrow imports pandas with the first array that it makes of numbers, and templates are compiled once: seconds that
    no page shall take."""
    pages.prepare()
    pa.table({"row": pa.array(np.arange(2))}).take(np.arange(1)).to_pylist()


def is_local(host: str) -> bool:
    """Whether only this machine reaches what listens at `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def serve(site: Site, *, host: str, port: int, hosts: Collection[str]) -> tuple[web.AppRunner, str]:
    """Start to answer. Returns what the caller has to clean up, and the address. Port 0: any that is free.

    Raises:
        UsageError: the address cannot be had.
    """
    await asyncio.to_thread(_warm_up)
    runner = web.AppRunner(application(site, hosts), access_log=None, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        await runner.cleanup()
        raise UsageError(
            f"--host {host} --port {port}: {error.strerror or error}; give a free port, or --port 0 for any"
        ) from error
    shown, bound = runner.addresses[0][:2]
    return runner, f"http://[{shown}]:{bound}/" if ":" in shown else f"http://{shown}:{bound}/"
