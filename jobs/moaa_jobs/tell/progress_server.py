"""`GET /progress`: a job's figures as JSON, for watchers outside its pod.

Only figures are shown: no text of rows, no configuration. It answers from a thread of its own, so that a stage that
keeps the event loop busy stays visible; a port that is taken costs the view, never the stage.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from moaa.contract.progress import PATH, Figures, text_of

logger = logging.getLogger(__name__)

SOCKET_TIMEOUT_S = 10
"""A client that sends nothing is let go."""


@contextmanager
def shown_on(port: int | None, figures: Callable[[], Figures], *, host: str = "") -> Iterator[int | None]:
    """Answer while the block runs; yields the port in use (0 asks for a free one), or None when nothing listens."""
    if port is None:
        yield None
        return
    try:
        server = ThreadingHTTPServer((host, port), _handler(figures))
    except OSError as error:
        logger.warning("progress_not_shown port=%d error=%s", port, error.strerror)
        yield None
        return
    server.daemon_threads = True
    # The interval is what ending takes at most; the half second that is usual would be every job's.
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, name="progress", daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(figures: Callable[[], Figures]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = SOCKET_TIMEOUT_S

        def do_GET(self) -> None:
            if self.path != PATH:
                self.send_error(HTTPStatus.NOT_FOUND)
                return
            body = text_of(figures()).encode()
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            logger.debug("progress_request " + format, *args)  # noqa: G003  its own format

    return Handler
