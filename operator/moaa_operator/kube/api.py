"""The API server over HTTP: plain JSON objects in and out, errors as `moaa_operator.kube.errors`.

Built on the official client's transport (TLS, proxies, tokens that are read again when they rotate). Its typed models
are left out: what is watched, compared and applied here is JSON anyway, and an object that a newer server sends must
not lose fields by passing through. It never retries by itself: the work queue and the informers decide when.

Every method may be called from any thread.
"""

import json
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any

import urllib3
from kubernetes import client, config

from moaa_operator.kube import nesting
from moaa_operator.kube.errors import Busy, error_of
from moaa_operator.kube.kinds import EVENT, POD, Kind
from moaa_operator.kube.objects import Object

MANAGER = "moaa-operator"
"""Field manager of what is applied server-side."""
CONNECT_TIMEOUT_S = 10.0


class Answer(StrEnum):
    """What a write is answered with: the header Accept."""

    WHOLE = "application/json"
    """The object as it is now."""
    METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
    """Its metadata alone, from a server that can; half the bytes, and less to encode and to read."""


class Traffic:
    """Answers by method: how many, and their bytes. Watches and logs are not in it. Any thread may call anything."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: dict[str, tuple[int, int]] = {}

    def count(self, method: str, size: int) -> None:
        with self._lock:
            number, whole = self._answers.get(method, (0, 0))
            self._answers[method] = number + 1, whole + size

    def all(self) -> dict[str, tuple[int, int]]:
        """A copy."""
        with self._lock:
            return dict(self._answers)


class Api:
    """One connection pool to one API server."""

    def __init__(self, transport: client.ApiClient, *, timeout_s: float, traffic: Traffic | None = None) -> None:
        self._client = transport
        self._timeout_s = timeout_s
        self.traffic = traffic or Traffic()

    def within(self, timeout_s: float) -> "Api":
        """The same client with a limit on the wait for a connection, and on the wait for an answer."""
        return Api(self._client, timeout_s=min(timeout_s, self._timeout_s), traffic=self.traffic)

    def get(self, kind: Kind, namespace: str, name: str) -> Object:
        """Raises NotFound, ApiError."""
        return self.ask("GET", kind.path(namespace, name))

    def list(
        self,
        kind: Kind,
        namespace: str | None,
        *,
        selector: str | None = None,
        limit: int = 500,
        keep: Callable[[Object], Object] = lambda item: item,
    ) -> tuple[list[Object], str]:
        """Every object, page by page, and the version of the list to watch from. Raises Gone: a page came too late.

        `keep` says what is kept of each as soon as its page is there.
        """
        items: list[Object] = []
        query: dict[str, str] = {"limit": str(limit), **({"labelSelector": selector} if selector else {})}
        while True:
            page = self.ask("GET", kind.path(namespace), query)
            items += map(keep, page.get("items") or [])
            meta = page.get("metadata") or {}
            if not meta.get("continue"):
                return items, str(meta.get("resourceVersion") or "")
            query["continue"] = meta["continue"]

    def warnings(self, namespace: str, uid: str, *, limit: int = 50) -> Sequence[Object]:
        """Some of the Warning Events about an object. Raises ApiError."""
        query = {"fieldSelector": f"involvedObject.uid={uid},type=Warning", "limit": str(limit)}
        return self.ask("GET", EVENT.path(namespace), query).get("items") or []

    def watch(
        self,
        kind: Kind,
        namespace: str | None,
        version: str,
        *,
        selector: str | None = None,
        timeout_s: float,
        silence_s: float,
    ) -> Generator[tuple[str, Object]]:
        """Events since `version`, bookmarks among them, until the server ends the watch.

        Raises:
            Gone: `version` is too old.
            Busy: the server said nothing for `silence_s`, or the connection broke.
        """
        query = {
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(int(timeout_s)),
            **({"labelSelector": selector} if selector else {}),
        }
        response = self._send("GET", kind.path(namespace), query, timeout=(CONNECT_TIMEOUT_S, silence_s))
        try:
            for line in _lines(response.response):
                yield _event(line)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Busy(0, "Disconnected", f"watch of {kind.plural}: {type(error).__name__}: {error}") from error
        finally:
            response.response.close()

    def create(self, kind: Kind, namespace: str, body: Object, *, answer: Answer = Answer.WHOLE) -> Object:
        """Raises AlreadyExists, Refused, ApiError."""
        return self.ask("POST", kind.path(namespace), {"fieldManager": MANAGER}, body, answer=answer)

    def apply(self, kind: Kind, namespace: str, body: Object, *, answer: Answer = Answer.WHOLE) -> Object:
        """Server-side apply with our field manager; fields others set against us are taken back."""
        query = {"fieldManager": MANAGER, "force": "true"}
        path = kind.path(namespace, body["metadata"]["name"])
        return self.ask("PATCH", path, query, body, content_type="application/apply-patch+yaml", answer=answer)

    def replace(self, kind: Kind, namespace: str, body: Object) -> Object:
        """Raises Conflict: its resourceVersion is not the newest."""
        return self.ask("PUT", kind.path(namespace, body["metadata"]["name"]), {"fieldManager": MANAGER}, body)

    def replace_status(self, kind: Kind, namespace: str, body: Object, *, answer: Answer = Answer.WHOLE) -> Object:
        """Raises Conflict: its resourceVersion is not the newest."""
        path = kind.path(namespace, body["metadata"]["name"], "status")
        return self.ask("PUT", path, {"fieldManager": f"{MANAGER}-status"}, body, answer=answer)

    def delete(self, kind: Kind, namespace: str, name: str, *, uid: str | None = None) -> None:
        """Start the deletion, dependents in the background; with `uid` of that very object only.

        Raises NotFound, Conflict (another object has the name now).
        """
        body: Object = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        if uid:
            body["preconditions"] = {"uid": uid}
        self.ask("DELETE", kind.path(namespace, name), {}, body, answer=Answer.METADATA)

    def ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        *,
        content_type: str = "application/json",
        answer: Answer = Answer.WHOLE,
    ) -> Object:
        """Any request, and the JSON that answers it. Raises ApiError."""
        timeout = (min(CONNECT_TIMEOUT_S, self._timeout_s), self._timeout_s)
        response = self._send(
            method, path, query or {}, body, content_type=content_type, accept=answer, timeout=timeout
        )
        try:
            self.traffic.count(method, len(response.response.data))
            said = nesting.loads(response.response.data)
        except (ValueError, urllib3.exceptions.HTTPError, OSError) as error:
            raise Busy(0, "Unreadable", f"{method} {path}: {type(error).__name__}: {error}") from error
        if not isinstance(said, dict):
            raise Busy(0, "Unreadable", f"{method} {path}: the answer is no object")
        return said

    def log(self, namespace: str, pod: str, query: Mapping[str, str], *, silence_s: float | None) -> Generator[bytes]:
        """A container's log in pieces as they come, until it ends; `silence_s` None: however long it says nothing.

        Raises:
            Refused: the container has not started, or there is none of that name.
            NotFound: the pod is gone, or its node has no such log any more.
            Busy: the connection broke.
        """
        timeout = (CONNECT_TIMEOUT_S, silence_s)
        response = self._send("GET", POD.path(namespace, pod, "log"), query, timeout=timeout)
        try:
            yield from response.response.stream(amt=None, decode_content=False)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Busy(0, "Disconnected", f"log of {pod}: {type(error).__name__}: {error}") from error
        finally:
            response.response.close()

    @property
    def server(self) -> str:
        """Its address."""
        return str(self._client.configuration.host)

    def close(self) -> None:
        self._client.rest_client.close()

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Object | None = None,
        *,
        content_type: str = "application/json",
        accept: Answer = Answer.WHOLE,
        timeout: tuple[float, float | None],
    ) -> client.rest.RESTResponse:
        headers = {"Accept": accept.value, **({"Content-Type": content_type} if body is not None else {})}
        try:
            request = self._client.param_serialize(  # reads a token's file again, which may be gone for a moment
                method, path, query_params=list(query.items()), header_params=headers, body=body,
                auth_settings=["BearerToken"],
            )  # fmt: skip
            response = self._client.call_api(*request, _request_timeout=timeout)
            if 200 <= response.status < 300:
                return response
            answer = response.response.data or b""
        except config.ConfigException as error:
            raise Busy(0, "NoCredentials", f"{method} {path}: {error}") from error
        except (client.ApiException, urllib3.exceptions.HTTPError, OSError) as error:
            said = error.reason if isinstance(error, urllib3.exceptions.MaxRetryError) else error
            raise Busy(0, "Unreachable", f"{method} {path}: {type(said).__name__}: {said}") from error
        raise error_of(response.status, answer, retry_after=response.response.headers.get("Retry-After"))


def _lines(response: Any) -> Iterator[bytes]:
    """Complete lines of a stream; what is cut off by the end of the connection is not one."""
    rest = b""
    for chunk in response.stream(amt=None, decode_content=False):
        *complete, rest = (rest + chunk).split(b"\n")
        yield from (line for line in complete if line.strip())


def _event(line: bytes) -> tuple[str, Object]:
    """Raises Gone, ApiError: the server ends the watch with an error; Busy: it is no event."""
    try:
        event = nesting.loads(line)
        kind, item = str(event["type"]), event["object"]
    except (ValueError, KeyError, TypeError) as error:
        raise Busy(0, "Unreadable", f"watch event: {line[:200]!r}") from error
    if kind == "ERROR":
        raise error_of(int(item.get("code") or 0), json.dumps(item).encode())
    return kind, item


def connect(*, timeout_s: float, kubeconfig: str | None = None, context: str | None = None) -> Api:
    """With the pod's service account, or else with the user's kubeconfig; with the latter where either is named.

    Raises:
        kubernetes.config.ConfigException: there is neither.
    """
    configuration = client.Configuration()
    in_cluster: Callable[..., None] = config.load_incluster_config
    from_file: Callable[..., None] = config.load_kube_config
    if kubeconfig is None and context is None:
        try:
            in_cluster(client_configuration=configuration)
        except config.ConfigException:
            from_file(client_configuration=configuration)
    else:
        from_file(config_file=kubeconfig, context=context, client_configuration=configuration)
    return api_for(configuration, timeout_s=timeout_s)


def api_for(configuration: client.Configuration, *, timeout_s: float = 30.0) -> Api:
    configuration.retries = urllib3.Retry(total=0, redirect=0)  # otherwise it sleeps out every Retry-After by itself
    configuration.connection_pool_maxsize = 32
    return Api(client.ApiClient(configuration), timeout_s=timeout_s)
