"""A small API server over real HTTP: list, watch, create, apply, replace and delete, and faults on demand.

No validation, no garbage collection, no controllers: tests play those.
"""

import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from kubernetes import client

from moaa_operator.kube.api import Api, api_for

Object = dict[str, Any]
PATH = re.compile(
    r"^/(?:api/(?P<core>v1)|apis/(?P<group>[^/]+/[^/]+))(?:/namespaces/(?P<ns>[^/]+))?/(?P<plural>[^/]+)"
    r"(?:/(?P<name>[^/]+))?(?:/(?P<sub>status))?$"
)
KINDS = {
    "moaas": "MoAA", "deployments": "Deployment", "services": "Service", "jobs": "Job", "rayjobs": "RayJob",
    "workloads": "Workload", "pods": "Pod", "configmaps": "ConfigMap", "events": "Event", "leases": "Lease",
}  # fmt: skip


class Request(NamedTuple):
    method: str
    path: str
    query: dict[str, str]


@dataclass
class Fault:
    """What happens to the next request that matches."""

    matches: Callable[[Request], bool]
    code: int = 0
    """0: the connection is cut."""
    headers: dict[str, str] = field(default_factory=dict)
    reason: str = "Injected"
    message: str = "injected"


class ApiServer:
    """Objects by plural, namespace and name; every change is an event with the next resource version."""

    def __init__(self, *, absent: tuple[str, ...] = ()) -> None:
        self.objects: dict[tuple[str, str, str], Object] = {}
        self.events: list[tuple[int, str, str, Object]] = []
        """Version, plural, type, object."""
        self.version = 1
        self.oldest = 0
        """Watches from an older version are answered with 410."""
        self.absent = absent
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self.instead: dict[bytes, bytes] = {}
        """Texts that are sent in place of others: what Python could not write."""
        self.changed = threading.Condition()
        self.cut = 0
        """Raised to end all open watches in the middle of a line."""
        self.is_closing = False
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> "ApiServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self.changed:
            self.is_closing = True
            self.changed.notify_all()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def api(self, *, timeout_s: float = 5.0, refresh: Callable[[client.Configuration], None] | None = None) -> Api:
        """A client; `refresh` reads its token before each request."""
        configuration = client.Configuration()
        configuration.host = f"http://127.0.0.1:{self._server.server_address[1]}"
        if refresh is not None:
            configuration.api_key["BearerToken"] = "one"
            configuration.refresh_api_key_hook = refresh  # type: ignore[assignment]  # its stub says None
        return api_for(configuration, timeout_s=timeout_s)

    # What tests do

    def put(self, item: Object) -> Object:
        """Create or replace, as anybody else would."""
        plural = next(p for p, kind in KINDS.items() if kind == item["kind"])
        with self.changed:
            place = plural, item["metadata"].get("namespace", ""), item["metadata"]["name"]
            return self._store(place, item, "MODIFIED" if place in self.objects else "ADDED")

    def remove(self, plural: str, namespace: str, name: str, *, silently: bool = False) -> None:
        with self.changed:
            item = self.objects.pop((plural, namespace, name))
            self.version += 1
            if not silently:
                gone = {**item, "metadata": {**item["metadata"], "resourceVersion": str(self.version)}}
                self.events.append((self.version, plural, "DELETED", gone))
            self.changed.notify_all()

    def expire(self) -> None:
        """Forget every event so far and end the watches: who comes back gets 410."""
        with self.changed:
            self.version += 1
            self.oldest = self.version
            self.cut += 1
            self.changed.notify_all()

    def cut_watches(self) -> None:
        with self.changed:
            self.cut += 1
            self.changed.notify_all()

    def sent(self, text: bytes) -> bytes:
        for found, instead in self.instead.items():
            text = text.replace(found, instead)
        return text

    def find(self, plural: str, namespace: str) -> list[Object]:
        with self.changed:
            return [item for (p, ns, _), item in self.objects.items() if (p, ns) == (plural, namespace)]

    def _store(self, place: tuple[str, str, str], item: Object, event: str) -> Object:
        self.version += 1
        before = self.objects.get(place)
        meta = {**item["metadata"], "resourceVersion": str(self.version)}
        meta.setdefault("uid", before["metadata"]["uid"] if before else f"uid-{self.version}")
        meta.setdefault("creationTimestamp", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
        meta["generation"] = 1
        stored = {**item, "metadata": meta}
        self.objects[place] = stored
        self.events.append((self.version, place[0], event, stored))
        self.changed.notify_all()
        return stored

    # What clients see

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Object]:
        found = PATH.match(path)
        if found is None or found["plural"] in self.absent:
            return _error(404, "NotFound", f"the server could not find {path}")
        place = found["plural"], found["ns"] or "", found["name"] or ""
        with self.changed:
            if method == "GET" and not found["name"]:
                return self._list(place[0], found["ns"], query)
            if method == "POST":
                place = place[0], place[1], body["metadata"]["name"]
                if place in self.objects:
                    return _error(409, "AlreadyExists", f"{place} already exists")
                return 201, self._store(place, body, "ADDED")
            there = self.objects.get(place)
            if method == "PATCH":
                return 200, self._apply(place, there, body)
            if there is None:
                return _error(404, "NotFound", f"{place} not found")
            if method == "PUT":
                return self._replace(place, there, body, found["sub"])
            if method == "DELETE":
                uid = ((body or {}).get("preconditions") or {}).get("uid")
                if uid and uid != there["metadata"]["uid"]:
                    return _error(409, "Conflict", "the UID is another")
                self.remove(*place)
            return 200, there

    def _list(self, plural: str, namespace: str | None, query: dict[str, str]) -> tuple[int, Object]:
        items = [
            item
            for (p, ns, _), item in sorted(self.objects.items())
            if p == plural and namespace in (None, ns) and _selected(item, query)
        ]
        about = re.match(r"involvedObject\.uid=([^,]+)", query.get("fieldSelector", ""))
        if about:
            items = [item for item in items if item["involvedObject"]["uid"] == about[1]]
        start, limit = int(query.get("continue", "0")), int(query.get("limit", "500"))
        meta = {"resourceVersion": str(self.version)}
        if start + limit < len(items):
            meta["continue"] = str(start + limit)
        # As in Kubernetes, the items of a list do not say their kind.
        page = [{k: v for k, v in item.items() if k not in ("kind", "apiVersion")} for item in items[start:][:limit]]
        return 200, {"kind": "List", "metadata": meta, "items": page}

    def _apply(self, place: tuple[str, str, str], there: Object | None, body: Object) -> Object:
        status = {"status": there["status"]} if there and "status" in there else {}
        return self._store(place, {**body, **status}, "MODIFIED" if there else "ADDED")

    def _replace(self, place: tuple[str, str, str], there: Object, body: Object, sub: str | None) -> tuple[int, Object]:
        version = body["metadata"].get("resourceVersion")
        if version and version != there["metadata"]["resourceVersion"]:
            return _error(409, "Conflict", "the object has been modified")
        changed = {**there, "status": body["status"]} if sub == "status" else {**body, "metadata": there["metadata"]}
        return 200, self._store(place, changed, "MODIFIED")

    def watch(self, plural: str, namespace: str | None, query: dict[str, str], write: Callable[[bytes], None]) -> None:
        seen, cut = int(query["resourceVersion"]), self.cut
        if seen < self.oldest:
            write(_line("ERROR", _error(410, "Expired", "too old resource version")[1]))
            return
        deadline = time.monotonic() + float(query["timeoutSeconds"])
        write(_line("BOOKMARK", {"metadata": {"resourceVersion": str(seen)}}))
        while time.monotonic() < deadline:
            with self.changed:
                news = [e for e in self.events if e[0] > seen]
                if not news and cut == self.cut and not self.is_closing:
                    self.changed.wait(0.05)
                if cut != self.cut or self.is_closing:
                    break
            for version, p, event, item in news:
                seen = version
                if p == plural and namespace in (None, item["metadata"].get("namespace")) and _selected(item, query):
                    write(_line(event, item))
        if cut != self.cut:
            write(b'{"type": "MODIFIED", "object": {"metadata": {"na')
            raise ConnectionAbortedError

    def fault(self, request: Request) -> Fault | None:
        with self.changed:
            self.requests.append(request)
            found = next((fault for fault in self.faults if fault.matches(request)), None)
            if found is not None:
                self.faults.remove(found)
            return found

    def _handler(self) -> type[BaseHTTPRequestHandler]:  # noqa: C901  one small method for each part of a request
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except ConnectionError:
                    self.close_connection = True

            def _any(self) -> None:
                url = urlsplit(self.path)
                query = dict(parse_qsl(url.query))
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                fault = server.fault(Request(self.command, url.path, query))
                if fault is not None and not fault.code:
                    self.close_connection = True
                    return
                if fault is not None:
                    self._send(*_error(fault.code, fault.reason, fault.message), headers=fault.headers)
                elif query.get("watch") == "true":
                    self._watch(url.path, query)
                else:
                    self._send(*server.answer(self.command, url.path, query, body))

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _any  # noqa: N815  http.server calls them so

            def _send(self, code: int, answer: Object, headers: dict[str, str] | None = None) -> None:
                body = server.sent(json.dumps(answer).encode())
                self.send_response(code)
                for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def _watch(self, path: str, query: dict[str, str]) -> None:
                found = PATH.match(path)
                assert found is not None
                if found["plural"] in server.absent:
                    self._send(*_error(404, "NotFound", "no such kind"))
                    return
                self.send_response(200)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self.close_connection = True
                server.watch(found["plural"], found["ns"], query, self._chunk)
                self.wfile.write(b"0\r\n\r\n")

            def _chunk(self, line: bytes) -> None:
                data = server.sent(line)
                self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
                self.wfile.flush()

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler


def _selected(item: Object, query: dict[str, str]) -> bool:
    """By one label, `name` or `name=value`: the operator uses no other selectors."""
    name, _, value = query.get("labelSelector", "").partition("=")
    labels = item["metadata"].get("labels") or {}
    return not name or (name in labels and value in ("", labels[name]))


def _line(event: str, item: Object) -> bytes:
    return json.dumps({"type": event, "object": item}).encode() + b"\n"


def _error(code: int, reason: str, message: str) -> tuple[int, Object]:
    return code, {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message}
