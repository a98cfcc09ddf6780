"""A small S3 server in the test's own loop, for faults that a real one cannot be asked for.

It speaks what the store uses: GET (with Range and If-Match), HEAD, PUT (with If-None-Match and Content-MD5), DELETE,
ListObjectsV2 in pages, and multipart uploads. Signatures are not checked. Whether the store works with a real server is
the integration tests' matter.
"""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal
from xml.sax.saxutils import escape

from aiohttp import web

Act = Literal["refuse", "after", "hang", "hang-after", "truncate", "reset"]


@dataclass
class Fault:
    """What happens to the next `times` requests of `method` whose target contains `target`."""

    method: str
    act: Act
    """`refuse`: answer `status`, do nothing. `after`: do it, then answer `status`. `hang`, `hang-after`: no answer,
    without or with the effect. `truncate`: close the connection in the middle of the body. `reset`: at once."""
    status: int = 503
    code: str = "SlowDown"
    target: str = ""
    times: int = 1


@dataclass
class FakeS3:
    objects: dict[str, bytes] = field(default_factory=dict)
    uploads: dict[str, dict[int, bytes]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    page_size: int = 1000
    honours_if_none_match: bool = True
    quotes: Literal["either", "wanted", "unknown"] = "either"
    """How If-Match compares: AWS's way, R2's, Ceph's."""
    on_put: Callable[["FakeS3"], None] = lambda _: None
    """Runs before each PUT takes effect: another writer."""
    on_get: Callable[["FakeS3"], None] = lambda _: None
    """Runs before each GET of an object."""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        target = request.path_qs
        self.requests.append(f"{request.method} {target}")
        fault = self._fault(request.method, target)
        if fault is None:
            return self._answer(request, body)
        match fault.act:
            case "refuse":
                return _error(fault.status, fault.code)
            case "after":
                self._answer(request, body)
                return _error(fault.status, fault.code)
            case "truncate":
                return await _truncated(request, self._answer(request, body))
            case "reset":
                assert request.transport is not None
                request.transport.close()
                return web.Response()
            case "hang-after":
                self._answer(request, body)
        await asyncio.sleep(30)
        return web.Response()

    def _fault(self, method: str, target: str) -> Fault | None:
        for fault in self.faults:
            if fault.times and fault.method == method and fault.target in target:
                fault.times -= 1
                return fault
        return None

    def _answer(self, request: web.Request, body: bytes) -> web.Response:
        bucket, _, key = request.path.lstrip("/").partition("/")
        if bucket != "bucket":
            return _error(404, "NoSuchBucket")
        match request.method:
            case "PUT":
                return self._put(request, key, body)
            case "POST":
                return self._post(request, key)
            case "DELETE":
                self.uploads.pop(request.query.get("uploadId", ""), None)
                if "uploadId" not in request.query:
                    self.objects.pop(key, None)
                return web.Response(status=204)
            case "GET" if key:
                self.on_get(self)
                return self._get(request, key)
            case "HEAD":
                return self._get(request, key)
        return self._list(request)

    def _get(self, request: web.Request, key: str) -> web.Response:
        if key not in self.objects:
            return _error(404, "NoSuchKey")
        body = self.objects[key]
        headers = {"ETag": _etag(body)}
        if not self._matches(request.headers.get("If-Match"), _etag(body)):
            return _error(412, "PreconditionFailed")
        if "Range" in request.headers:
            first, last = map(int, request.headers["Range"].removeprefix("bytes=").split("-"))
            return web.Response(status=206, body=body[first : last + 1], headers=headers)
        return web.Response(body=body, headers=headers)

    def _matches(self, asked: str | None, etag: str) -> bool:
        match self.quotes:
            case _ if asked is None:
                return True
            case "either":
                return asked.strip('"') == etag.strip('"')
            case "wanted":
                return asked == etag
            case "unknown":
                return asked == etag.strip('"')

    def _put(self, request: web.Request, key: str, body: bytes) -> web.Response:
        digest = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        if request.headers.get("Content-MD5") != digest:
            return _error(400, "BadDigest")
        if "uploadId" in request.query:
            self.uploads[request.query["uploadId"]][int(request.query["partNumber"])] = body
            return web.Response(headers={"ETag": _etag(body)})
        self.on_put(self)
        if request.headers.get("If-None-Match") == "*" and key in self.objects and self.honours_if_none_match:
            return _error(412, "PreconditionFailed")
        self.objects[key] = body
        return web.Response(headers={"ETag": _etag(body)})

    def _post(self, request: web.Request, key: str) -> web.Response:
        if "uploads" in request.query:
            upload = f"upload{len(self.requests)}"
            self.uploads[upload] = {}
            return _xml(f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>")
        parts = self.uploads.pop(request.query["uploadId"], None)
        if parts is None:
            return _error(404, "NoSuchUpload")
        self.objects[key] = b"".join(body for _, body in sorted(parts.items()))
        return _xml("<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>")

    def _list(self, request: web.Request) -> web.Response:
        prefix, after = request.query.get("prefix", ""), request.query.get("continuation-token", "")
        keys = [key for key in sorted(self.objects) if key.startswith(prefix) and key > after]
        page, rest = keys[: self.page_size], keys[self.page_size :]
        more = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if rest else ""
        found = "".join(
            f"<Contents><Key>{escape(key)}</Key><ETag>{escape(_etag(self.objects[key]))}</ETag>"
            f"<LastModified>2026-01-01T00:00:00.000Z</LastModified>"
            f"<Size>{len(self.objects[key])}</Size></Contents>"
            for key in page
        )
        return _xml(
            f"<ListBucketResult><IsTruncated>{str(bool(rest)).lower()}</IsTruncated>{more}{found}</ListBucketResult>"
        )


@asynccontextmanager
async def serve(fake: FakeS3) -> AsyncIterator[str]:
    """The server's URL while it runs, on a free loopback port."""
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_route("*", "/{tail:.*}", fake.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


def _etag(body: bytes) -> str:
    return f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'


def _xml(text: str, status: int = 200) -> web.Response:
    return web.Response(status=status, text=f'<?xml version="1.0"?>{text}', content_type="application/xml")


def _error(status: int, code: str) -> web.Response:
    return _xml(f"<Error><Code>{code}</Code><Message>{code}</Message></Error>", status)


async def _truncated(request: web.Request, whole: web.Response) -> web.StreamResponse:
    body = whole.body
    assert isinstance(body, bytes)
    response = web.StreamResponse(status=whole.status, headers={"Content-Length": str(len(body))})
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    assert request.transport is not None
    request.transport.close()
    return response
