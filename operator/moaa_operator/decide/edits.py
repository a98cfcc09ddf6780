"""What an edit makes the run do again, and why. Pure.

An edit is noticed once: in the look that finds a result or an attempt under another fingerprint than the stage has now.
The old job file still exists then and says what the stage depended on. Later it is swept away, so the status keeps the
reason until the stage is done again.
"""

import json
from collections.abc import Mapping

from moaa.api.status import MAX_STAGES, RepeatedStage
from moaa.plan.history.repeats import Repeat, repeats
from moaa_operator.decide.scope import Scope
from moaa_operator.kube.owner import Role
from moaa_operator.observe.observed import Child

MAX_WHY = 240
UNKNOWN = "an edit changed what it depends on"


def repeating(scope: Scope) -> list[RepeatedStage]:
    """Stages that are done again, or begun again, in the order of the graph."""
    open_stages = [name for name in scope.held.graph.stages if name not in scope.held.results]
    told = {entry.stage: entry.why for entry in scope.observed.status.repeating}
    before = _before(scope)
    edited = [
        name
        for name, identity in scope.held.identities.items()
        if name in before and before[name] != identity.fingerprint and name in open_stages
    ]
    if edited:
        told = dict.fromkeys(edited, UNKNOWN) | told | _reasons(scope, before)
    return [RepeatedStage(stage=name, why=_cut(told[name])) for name in open_stages if name in told][:MAX_STAGES]


def _before(scope: Scope) -> dict[str, str]:
    """Fingerprints that stages without a result had when the status was written."""
    found = {entry.stage: entry.fingerprint for entry in scope.observed.status.attempts if entry.attempt}
    return found | {result.stage: result.fingerprint for result in scope.observed.status.stages}


def _reasons(scope: Scope, before: Mapping[str, str]) -> dict[str, str]:
    documents: dict[str, Mapping[str, object]] = {}
    for child in scope.observed.children:
        if child.job_file and child.role == Role.STAGE and before.get(child.stage) == child.fingerprint:
            documents |= _document(child)
    kept: dict[str, Repeat] = {}
    for repeat in repeats(scope.held.graph, scope.resource, scope.held.results, last=scope.known, documents=documents):
        if repeat.changes or any(stage in kept for stage in repeat.because):
            kept[repeat.stage] = repeat
    return {name: str(repeat) for name, repeat in kept.items()}


def _document(child: Child) -> dict[str, Mapping[str, object]]:
    """What the child's stage was made from, by stage; empty when somebody wrote something else into its ConfigMap."""
    try:
        found = json.loads(child.job_file)
    except (ValueError, RecursionError):
        return {}
    document = found.get("document") if isinstance(found, dict) else None
    return {child.stage: document} if isinstance(document, dict) else {}


def _cut(text: str) -> str:
    return text if len(text) <= MAX_WHY else f"{text[: MAX_WHY - 2]} …"
