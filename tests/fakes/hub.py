"""A hub on loopback: as much of the Hub's HTTP API as a push and a load need, with its refusals.

Repositories with branches and commits, regular files inside a commit, large ones by LFS: asked for, put, checked by
their sha256, then named. It holds everything in memory.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import cast
from urllib.parse import unquote, urlsplit

from tests.fakes.hub_state import LARGE, NAMES, READER, SIGNATURE, Blob, FakeHub, Repository


def _handler(hub: FakeHub) -> type[BaseHTTPRequestHandler]:
    class Handler(_Hub):
        state = hub

    return Handler


@contextmanager
def running_hub() -> Iterator[FakeHub]:
    hub = FakeHub()
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub)) as server:
        hub.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield hub
        server.shutdown()
        thread.join()


_ROUTES = (
    ("GET", r"/api/whoami-v2", "whoami"),
    ("POST", r"/api/repos/create", "create"),
    ("POST", r"/api/validate-yaml", "validate"),
    ("PUT", r"/large/(?P<oid>\w+)", "put"),
    ("POST", r"/(?P<kind>datasets/)?(?P<repo>[^/]+/[^/]+?)\.git/info/lfs/objects/batch", "batch"),
    ("POST", r"/api/(?P<kind>models|datasets)/(?P<repo>[^/]+/[^/]+)/branch/(?P<revision>[^/]+)", "branch"),
    ("POST", r"/api/(?P<kind>models|datasets)/(?P<repo>[^/]+/[^/]+)/preupload/(?P<revision>[^/]+)", "preupload"),
    ("POST", r"/api/(?P<kind>models|datasets)/(?P<repo>[^/]+/[^/]+)/commit/(?P<revision>[^/]+)", "commit"),
    ("POST", r"/api/(?P<kind>models|datasets)/(?P<repo>[^/]+/[^/]+)/paths-info/(?P<revision>[^/]+)", "paths"),
    ("GET", r"/api/(?P<kind>models|datasets)/(?P<repo>[^/]+/[^/]+)/tree/(?P<revision>[^/]+)(/(?P<path>.+))?", "tree"),
    ("GET", r"/api/(?P<kind>models|datasets)/(?P<repo>[^/]+/[^/]+)(/revision/(?P<revision>[^/]+))?", "info"),
    ("GET", r"/(?P<kind>datasets/)?(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)", "resolve"),
)


class _Hub(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: FakeHub

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal."""

    def do_GET(self) -> None:
        self._route("GET")

    def do_HEAD(self) -> None:
        self._route("GET")

    def do_POST(self) -> None:
        self._route("POST")

    def do_PUT(self) -> None:
        self._route("PUT")

    def _route(self, method: str) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = urlsplit(self.path).path
        for verb, pattern, name in _ROUTES:
            if verb == method and (found := re.fullmatch(pattern, path)):
                parts = {key: unquote(value) for key, value in found.groupdict().items() if value is not None}
                getattr(self, f"_{name}")(parts, body)
                return
        self._answer(404, {"error": f"the stand-in has no {method} {path}"})

    @property
    def _account(self) -> str | None:
        return NAMES.get((self.headers.get("Authorization") or "").removeprefix("Bearer "))

    def _answer(self, status: int, body: object, **headers: str) -> None:
        text = json.dumps(body).encode()
        self._send(
            status, text, {"Content-Type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
        )

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            with suppress(BrokenPipeError, ConnectionResetError):  # who asked was killed
                self.wfile.write(content)

    def _may_write(self, owner: str | None) -> bool:
        """Answers where it may not."""
        if self._account is None or owner is None:
            self._answer(401, {"error": "Invalid credentials in Authorization header"})
        elif self._account != owner:
            self._answer(403, {"error": f"You don't have the rights under the namespace {owner!r}"})
        elif self.headers["Authorization"].endswith(READER):
            self._answer(403, {"error": "This token may only read"})
        else:
            return True
        return False

    def _known(self, parts: dict[str, str]) -> Repository | None:
        """None, and the answer is given: there is none that this account may see."""
        kind = {"datasets/": "datasets"}.get(parts.get("kind", "models"), parts.get("kind", "models"))
        found = self.state.repositories.get((kind, parts["repo"]))
        if found is None or (found.is_private and self._account != parts["repo"].partition("/")[0]):
            self._answer(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
            return None
        if "revision" in parts and found.files(parts["revision"]) is None:
            self._answer(404, {"error": "Invalid rev id"}, X_Error_Code="RevisionNotFound")
            return None
        return found

    def _whoami(self, _parts: dict[str, str], _body: bytes) -> None:
        if self._account is None:
            self._answer(401, {"error": "Invalid username or password."})
            return
        role = "read" if self.headers["Authorization"].endswith(READER) else "write"
        self._answer(200, {"type": "user", "name": self._account, "auth": {"accessToken": {"role": role}}, "orgs": []})

    def _create(self, _parts: dict[str, str], body: bytes) -> None:
        asked = json.loads(body)
        owner = asked.get("organization") or self._account
        name, kind = f"{owner}/{asked['name']}", f"{asked.get('type', 'model')}s"
        if not self._may_write(owner):
            return
        if (kind, name) in self.state.repositories:
            self._answer(409, {"error": "You already created this repo"})
            return
        made = Repository(asked.get("private") is True or asked.get("visibility") == "private")
        made.commit("main", {".gitattributes": Blob(b"*.safetensors filter=lfs\n", False)}, "initial commit")
        self.state.repositories[kind, name] = made
        self._answer(200, {"url": f"{self.state.url}/{'datasets/' if kind == 'datasets' else ''}{name}"})

    def _validate(self, _parts: dict[str, str], body: bytes) -> None:
        if "license: nonsense" in json.loads(body)["content"]:
            self._answer(400, {"errors": [{"message": '"license" must be one of apache-2.0, mit, …'}], "warnings": []})
            return
        self._answer(200, {"errors": [], "warnings": []})

    def _branch(self, parts: dict[str, str], _body: bytes) -> None:
        branch = parts.pop("revision")
        repository = self._known(parts)
        if repository is not None and self._may_write(parts["repo"].partition("/")[0]):
            repository.branches.setdefault(branch, repository.branches["main"])
            self._answer(200, {})

    def _preupload(self, parts: dict[str, str], body: bytes) -> None:
        repository = self._known(parts)
        if repository is None or not self._may_write(parts["repo"].partition("/")[0]):
            return
        there = repository.files(parts["revision"]) or {}
        files = []
        for file in json.loads(body)["files"]:
            path = file["path"]
            mode = "lfs" if path.endswith(LARGE) or b"\0" in base64.b64decode(file["sample"]) else "regular"
            blob = there.get(path)
            oid = None if blob is None else blob.sha256 if blob.is_large else blob.oid
            about = {"path": path, "uploadMode": mode, "shouldIgnore": path == self.state.passed_over}
            files.append(about | ({"oid": oid} if oid else {}))
        self._answer(200, {"files": files})

    def _batch(self, parts: dict[str, str], body: bytes) -> None:
        if not self._may_write(parts["repo"].partition("/")[0]):
            return
        objects = []
        for asked in json.loads(body)["objects"]:
            upload = {"href": f"{self.state.url}/large/{asked['oid']}?{SIGNATURE}"}
            objects.append(asked if asked["oid"] in self.state.large else asked | {"actions": {"upload": upload}})
        self._answer(200, {"transfer": "basic", "objects": objects})

    def _put(self, parts: dict[str, str], body: bytes) -> None:
        limit = self.state.refuse_puts_after
        if limit is not None and len(self.state.puts) >= limit:
            self._answer(400, {"error": "the line is cut"})
        elif hashlib.sha256(body).hexdigest() != parts["oid"]:
            self._answer(400, {"error": "the content has another digest"})
        else:
            self.state.large[parts["oid"]] = body
            self.state.puts.append(len(body))
            self._answer(200, {})

    def _commit(self, parts: dict[str, str], body: bytes) -> None:
        repository = self._known(parts)
        if repository is None or not self._may_write(parts["repo"].partition("/")[0]):
            return
        lines = [json.loads(line) for line in body.splitlines()]
        header = lines[0]["value"]
        branch = parts["revision"]
        if header.get("parentCommit") not in (None, repository.branches.get(branch)):
            self._answer(412, {"error": "A commit has happened since. Please refresh and try again."})
            return
        files = dict(repository.files(branch) or {})
        for line in lines[1:]:
            value = line["value"]
            match line["key"]:
                case "file":
                    files[value["path"]] = Blob(base64.b64decode(value["content"]), False)
                case "lfsFile":
                    files[value["path"]] = Blob(self.state.large[value["oid"]], True)
                case "deletedFile":
                    del files[value["path"]]
                case other:
                    raise AssertionError(f"the stand-in knows no {other}")
        oid = repository.commit(branch, files, header["summary"])
        kind = "datasets/" if parts["kind"] == "datasets" else ""
        self._answer(200, {"commitUrl": f"{self.state.url}/{kind}{parts['repo']}/commit/{oid}", "commitOid": oid})

    def _paths(self, parts: dict[str, str], body: bytes) -> None:
        repository = self._known(parts)
        if repository is not None:
            there = repository.files(parts["revision"]) or {}
            asked = json.loads(body)["paths"]
            self._answer(200, [there[path].entry(path) for path in asked if path in there])

    def _tree(self, parts: dict[str, str], _body: bytes) -> None:
        repository = self._known(parts)
        if repository is None:
            return
        below = f"{parts['path']}/" if "path" in parts else ""
        there = {n: blob for n, blob in (repository.files(parts["revision"]) or {}).items() if n.startswith(below)}
        if not there and below:
            self._answer(404, {"error": "Entry not found"}, X_Error_Code="EntryNotFound")
            return
        folders = {name[: name.index("/", len(below))] for name in there if "/" in name[len(below) :]}
        listed = [{"type": "directory", "path": name, "oid": "0" * 40, "size": 0} for name in sorted(folders)]
        is_deep = "recursive=true" in self.path.lower()
        listed += [b.entry(name) for name, b in there.items() if is_deep or "/" not in name[len(below) :]]
        self._answer(200, listed)

    def _info(self, parts: dict[str, str], _body: bytes) -> None:
        repository = self._known(parts)
        if repository is None:
            return
        revision = parts.get("revision", "main")
        files = cast(dict[str, Blob], repository.files(revision))
        siblings = [
            {"rfilename": name, "size": len(b.content), "blobId": b.oid}
            | ({"lfs": {"sha256": b.sha256, "size": len(b.content), "pointerSize": 130}} if b.is_large else {})
            for name, b in files.items()
        ]
        about = {"id": parts["repo"], "sha": repository.branches.get(revision, revision), "siblings": siblings}
        more = {"private": repository.is_private, "gated": False, "disabled": False, "tags": [], "downloads": 0}
        self._answer(200, about | more | {"likes": 0, "lastModified": "2026-11-30T00:00:00.000Z"})

    def _resolve(self, parts: dict[str, str], _body: bytes) -> None:
        repository = self._known(parts)
        if repository is None:
            return
        revision = parts["revision"]
        blob = (repository.files(revision) or {}).get(parts["path"])
        if blob is None:
            self._answer(404, {"error": "Entry not found"}, X_Error_Code="EntryNotFound")
            return
        if self.command == "GET":
            self._note(f"{parts['repo']}/{parts['path']}")
        etag = blob.sha256 if blob.is_large else blob.oid
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": repository.branches.get(revision, revision)}
        self._send(
            200, blob.content, {**headers, "X-Linked-Size": str(len(blob.content)), "X-Linked-ETag": f'"{etag}"'}
        )

    def _note(self, file: str) -> None:
        if "Range" in self.headers:
            self.state.looks[file] += 1
            return
        self.state.reads[file] += 1
        if file == self.state.held:
            self.state.is_held.set()
            self.state.go_on.wait()
