"""Between the operator and the API server: forwards, keeps a record of every request, and does harm on demand."""

import json
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import urllib3

from tests.integration.apiserver import ApiServer

HOP_HEADERS = frozenset({"connection", "content-length", "host", "transfer-encoding"})
SILENCE_S = 60.0
"""The longest watch of these tests is shorter."""
REASONS = {409: "Conflict", 410: "Expired", 429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable"}


@dataclass(frozen=True)
class Asked:
    """One request of the operator's."""

    method: str
    path: str
    query: dict[str, str]
    body: Any = None
    at: float = field(default_factory=time.monotonic)

    @property
    def is_watch(self) -> bool:
        return self.query.get("watch") == "true"

    @property
    def is_write(self) -> bool:
        return self.method != "GET"

    @property
    def is_about_lease(self) -> bool:
        return "/leases" in self.path

    @property
    def name(self) -> str:
        """Of the object to be made."""
        return str(self.body["metadata"]["name"])

    @property
    def plural(self) -> str:
        """`moaas/status` for a subresource."""
        parts = urlsplit(self.path).path.split("/")
        return parts[-1] if self.method == "POST" else "/".join(p for p in (parts[-2], parts[-1]) if p)


@dataclass(frozen=True)
class Fault:
    """What the operator gets instead of an answer."""

    code: int = 0
    """0: its connection is cut."""
    is_done: bool = False
    """The server has done what was asked all the same."""
    retry_after_s: int | None = None


class FaultProxy:
    """`harm` decides about each request, in the request's own thread."""

    def __init__(self, server: ApiServer) -> None:
        self.harm: Callable[[Asked], Fault | None] = lambda _: None
        self.seen: list[tuple[Asked, int]] = []
        """What reached the server, and its answer's status."""
        self._watches: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._upstream = urllib3.HTTPSConnectionPool(
            "127.0.0.1", server.port, maxsize=64, retries=False, ssl_context=_context(server)
        )
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "FaultProxy":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self.cut_watches()
        self._server.server_close()
        self._upstream.close()
        self._thread.join()

    def cut_watches(self) -> None:
        with self._lock:
            for watch in self._watches:
                with suppress(OSError):
                    watch.shutdown(socket.SHUT_RDWR)

    def requests(self) -> list[tuple[Asked, int]]:
        with self._lock:
            return list(self.seen)

    def writes(self) -> list[Asked]:
        """Those that the server did; leases aside."""
        return [a for a, code in self.requests() if a.is_write and code < 300 and not a.is_about_lease]

    def made(self) -> Counter[tuple[str, str]]:
        """How often an object of that kind and name was created."""
        return Counter((a.plural, a.name) for a in self.writes() if a.method == "POST" and a.plural != "events")

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            server_version = "proxy"

            def log_message(self, format: str, *args: object) -> None:
                pass

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except OSError:  # the operator was killed, or its connection cut
                    self.close_connection = True

            def _pass_on(self) -> None:
                proxy.pass_on(self)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass_on  # noqa: N815  http.server's names

        return Handler

    def pass_on(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        split = urlsplit(handler.path)
        asked = Asked(handler.command, split.path, dict(parse_qsl(split.query)), json.loads(body) if body else None)
        fault = self.harm(asked)
        if fault is not None and not fault.is_done:
            self._refuse(handler, fault)
            return
        headers = {k: v for k, v in handler.headers.items() if k.lower() not in HOP_HEADERS}
        try:
            answer = self._upstream.urlopen(
                asked.method, handler.path, body=body or None, headers=headers, preload_content=False, redirect=False,
                timeout=urllib3.Timeout(connect=5, read=SILENCE_S),
            )  # fmt: skip
        except urllib3.exceptions.HTTPError:
            self._refuse(handler, Fault())  # no server, no answer
            return
        with self._lock:
            self.seen.append((asked, answer.status))
        try:
            if fault is not None:
                self._refuse(handler, fault)
            elif asked.is_watch and answer.status == 200:
                self._stream(handler, answer)
            else:
                _send(handler, answer.status, answer.headers.get("Content-Type", ""), answer.read())
        except (urllib3.exceptions.HTTPError, OSError):
            handler.close_connection = True
        finally:
            answer.close()

    def _stream(self, handler: BaseHTTPRequestHandler, answer: urllib3.BaseHTTPResponse) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        with self._lock:
            self._watches.add(handler.connection)
        try:
            for chunk in answer.stream(amt=None, decode_content=False):
                handler.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            handler.wfile.write(b"0\r\n\r\n")
        finally:
            with self._lock:
                self._watches.discard(handler.connection)

    def _refuse(self, handler: BaseHTTPRequestHandler, fault: Fault) -> None:
        if not fault.code:
            handler.close_connection = True
            handler.connection.shutdown(socket.SHUT_RDWR)
            return
        status = {
            "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": fault.code,
            "reason": REASONS[fault.code], "message": "the test says so",
        }  # fmt: skip
        retry = {} if fault.retry_after_s is None else {"Retry-After": str(fault.retry_after_s)}
        _send(handler, fault.code, "application/json", json.dumps(status).encode(), **retry)


def _send(handler: BaseHTTPRequestHandler, code: int, kind: str, body: bytes, **headers: str) -> None:
    handler.send_response(code)
    for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def _context(server: ApiServer) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(server.ca_file))
