"""Stands for vLLM in a run whose other models are endpoints: `python FILE PORT UPSTREAM` says that it is healthy and
hands every chat on to the fake server at UPSTREAM, under the served name of the student. Standard library alone, so
that it is up in a tenth of a second.
"""

import sys
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._reply(200, b"{}")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        upstream = HTTPConnection("127.0.0.1", int(sys.argv[2]))
        try:
            upstream.request("POST", self.path, body, {"Content-Type": "application/json"})
            response = upstream.getresponse()
            self._reply(response.status, response.read())
        finally:
            upstream.close()

    def _reply(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Relay(ThreadingHTTPServer):
    request_queue_size = 512
    """Connections that may wait while the machine is busy; five, as it comes, are reset."""


if __name__ == "__main__":
    Relay(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
