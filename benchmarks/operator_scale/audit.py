"""An API server's audit log: who asked it for what, and when it had answered. Of one clock, to the microsecond.

`options` makes the server keep one without bodies; nothing is written for watches, nor for what administrators read.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

POLICY = """
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: None, verbs: [watch]}
- {level: None, userGroups: ["system:masters"], verbs: [get, list]}
- {level: None, nonResourceURLs: ["*"]}
- level: Metadata
"""
LOG_MEGABYTES = 4000
"""More than any run writes: a log that is rotated would lose its beginning."""
READS = frozenset({"get", "list"})


@dataclass(frozen=True)
class Request:
    """One answered request."""

    user: str
    verb: str
    resource: str
    """`jobs`, or `jobs/status`."""
    name: str
    code: int
    answered: datetime
    seconds: float
    """From its arrival to its answer."""

    @property
    def is_operators(self) -> bool:
        """Nothing else has a service account here."""
        return self.user.startswith("system:serviceaccount:")

    @property
    def is_write(self) -> bool:
        return self.verb not in READS

    @property
    def is_about_lease(self) -> bool:
        return self.resource == "leases"


def options(folder: Path) -> list[str]:
    """Of a kube-apiserver whose log lies in `folder`."""
    policy = folder / "audit-policy.yaml"
    policy.write_text(POLICY)
    return [
        f"--audit-policy-file={policy}",
        f"--audit-log-path={folder / 'audit.log'}",
        f"--audit-log-maxsize={LOG_MEGABYTES}",
    ]


class Log:
    """Read on from where the last reading ended."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "audit.log"
        self._offset = 0

    def news(self) -> list[Request]:
        with self._file.open("rb") as file:
            file.seek(self._offset)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._offset += len(whole)
        return [_request(json.loads(line)) for line in whole.splitlines()]


def _request(event: dict[str, object]) -> Request:
    about = event.get("objectRef") or {}
    assert isinstance(about, dict)
    user, status = event["user"], event.get("responseStatus") or {}
    assert isinstance(user, dict)
    assert isinstance(status, dict)
    came, answered = (datetime.fromisoformat(str(event[key])) for key in ("requestReceivedTimestamp", "stageTimestamp"))
    return Request(
        user=str(user["username"]),
        verb=str(event["verb"]),
        resource="/".join(part for part in (about.get("resource"), about.get("subresource")) if part),
        name=str(about.get("name") or ""),
        code=int(status.get("code") or 0),
        answered=answered,
        seconds=(answered - came).total_seconds(),
    )


@dataclass(frozen=True)
class Waits:
    """From each child's end to the next child of its run."""

    seconds: Sequence[float]
    unanswered: Sequence[str]
    """Children after whose end nothing was made."""


CHILDREN = frozenset({("create", "jobs"), ("create", "rayjobs"), ("patch", "deployments")})
"""What makes the next child; its ConfigMap or Service comes before it."""


def waits(requests: Iterable[Request], ends: Sequence[str], run_of: dict[str, str]) -> Waits:
    """`ends`: names of children that have ended, by the last write of their status; `run_of`: whose a child is."""
    ended: dict[str, datetime] = {}
    made: dict[str, list[datetime]] = {}
    wanted = set(ends)
    for asked in requests:
        if asked.code >= 300 or asked.name not in run_of:
            continue
        if asked.is_operators and (asked.verb, asked.resource) in CHILDREN:
            made.setdefault(run_of[asked.name], []).append(asked.answered)
        elif asked.resource in ("jobs/status", "rayjobs/status") and asked.name in wanted:
            ended[asked.name] = max(asked.answered, ended.get(asked.name, asked.answered))
    seconds, unanswered = [], []
    for name, moment in ended.items():
        later = [at for at in made.get(run_of[name], ()) if at > moment]
        if later:
            seconds.append((min(later) - moment).total_seconds())
        else:
            unanswered.append(name)
    return Waits(seconds, unanswered)
