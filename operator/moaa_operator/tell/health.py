"""Small HTTP servers: /healthz and /readyz for the kubelet, /metrics for Prometheus.

Few connections are served at once, and fewer of one address, so that nobody ties up threads without end.

/healthz is 200 while every thread of workers, informers and poller lives. A dead thread never comes back, so the pod
has to start again. /readyz is 200 once the copies of the cluster are complete; a replica that does not lead is ready at
once. Neither asks the API server: when that is down, a restart does not help.
"""

import logging
import sys
import threading
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

logger = logging.getLogger(__name__)

Check = Callable[[], str | None]
"""None when all is well, else what is wrong."""
Page = Callable[[], tuple[int, str, bytes]]
"""Status, content type, body."""


def page_of(check: Check) -> Page:
    def answer() -> tuple[int, str, bytes]:
        wrong = check()
        return (200, "text/plain", b"ok\n") if wrong is None else (503, "text/plain", f"{wrong}\n".encode())

    return answer


def metrics_page(registry: CollectorRegistry) -> Page:
    return lambda: (200, CONTENT_TYPE_LATEST, generate_latest(registry))


MAX_CONNECTIONS = 32
MAX_OF_ADDRESS = 8


class _Server(ThreadingHTTPServer):
    """A thread for each connection, up to a number; what finds no room is closed."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(address, handler)
        self._open: Counter[str] = Counter()
        self._lock = threading.Lock()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            host = str(client_address[0])
            has_room = self._open.total() < MAX_CONNECTIONS and self._open[host] < MAX_OF_ADDRESS
            self._open[host] += has_room
        if has_room:
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._open -= Counter({str(client_address[0]): 1})  # and forgets who has none

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002  the base class's
        logger.debug("http_broken host=%s error=%r", client_address[0], sys.exception())


class Pages:
    """A server of a few pages on one port; port 0 takes a free one."""

    def __init__(self, host: str, port: int, pages: dict[str, Page]) -> None:
        class Handler(BaseHTTPRequestHandler):
            timeout = 10

            def do_GET(self) -> None:
                page = pages.get(self.path.partition("?")[0])
                code, kind, body = page() if page else (404, "text/plain", b"not found\n")
                self.send_response(code)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                logger.debug("http %s", format % args)

        self._server = _Server((host, port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name=f"http-{port}", daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
