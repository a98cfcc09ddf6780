"""Pods of a stage and what their containers have written."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from moaa_operator.kube.errors import NotFound, Refused
from moaa_operator.kube.kinds import POD
from moaa_operator.kube.objects import Fields, Object, name_of, uid_of
from moaa_operator.kube.owner import RUN_LABEL, STAGE_LABEL
from moaa_operator.remote.cluster import Cluster, told

SILENCE_S = 60.0
"""Of a log that is not followed."""


@dataclass(frozen=True)
class Source:
    """One container of one pod."""

    pod: str
    container: str
    uid: str

    @property
    def title(self) -> str:
        return f"{self.pod}/{self.container}"


def pods_of(cluster: Cluster, name: str, stage: str) -> list[Object]:
    """In the order in which they were made."""
    with told(cluster.api, f"list the pods of {stage}"):
        found, _ = cluster.api.list(POD, cluster.namespace, selector=f"{RUN_LABEL}={name},{STAGE_LABEL}={stage}")
    return sorted(found, key=lambda pod: (str(pod["metadata"].get("creationTimestamp")), name_of(pod)))


def sources(pods: Sequence[Object]) -> Iterator[tuple[Source, Object]]:
    for pod in pods:
        for container in pod["spec"]["containers"]:
            yield Source(name_of(pod), str(container["name"]), uid_of(pod)), pod


def state_of(pod: Fields) -> str:
    """Its phase, and how it ended."""
    status = pod.get("status") or {}
    ends = [(c.get("state") or {}).get("terminated") for c in status.get("containerStatuses") or ()]
    codes = [f"exit code {end.get('exitCode')}" for end in ends if end and end.get("exitCode")]
    return ", ".join([str(status.get("phase") or "Pending"), *codes])


def read(cluster: Cluster, source: Source, *, tail: int | None, follow: bool) -> Iterator[str]:
    """Its lines; of one that cannot be read a line that says why. Raises UsageError, MoaaError: as `told`."""
    query: Mapping[str, str] = {
        "container": source.container,
        **({"follow": "true"} if follow else {}),
        **({} if tail is None else {"tailLines": str(tail)}),
    }
    with told(cluster.api, f"read the log of {source.title}"):
        try:
            yield from lines(
                cluster.api.log(cluster.namespace, source.pod, query, silence_s=None if follow else SILENCE_S)
            )
        except NotFound:
            yield f"{source.title}: the pod is gone"
        except Refused as error:
            if error.status != 400:
                raise
            yield f"{source.title}: {error.message}"


def lines(pieces: Iterator[bytes]) -> Iterator[str]:
    """Whole lines, the last one even without an end."""
    rest = b""
    for piece in pieces:
        *complete, rest = (rest + piece).split(b"\n")
        yield from (line.decode(errors="replace") for line in complete)
    if rest:
        yield rest.decode(errors="replace")
