"""Golden values of what people read: errors, advice, plans, conditions, Events, names of metrics and log events."""

import re
from pathlib import Path
from typing import Any

import yaml

from moaa.api.reading.load import load, load_text
from moaa.api.status import MoAAStatus
from moaa.errors import ResourceError
from moaa.plan.show import plan_text, plan_view, validate_text
from moaa_operator.kube.api import Traffic
from moaa_operator.tell.events import between
from moaa_operator.tell.metrics import Metrics
from tests.bad_resources import BAD
from tests.golden.plan import walk
from tests.golden.resources import VARIANTS, rich
from tests.operator_helpers import Cluster
from tests.plan_helpers import tree

ROOT = Path(__file__).parents[2]
SOURCES = ("moaa", "jobs/moaa_jobs", "operator/moaa_operator")
SAID = re.compile(r'\b(?:log(?:ger)?\.(?:debug|info|warning|error|exception)|_?notify)\(\s*f?"[^\s%"]+')


def errors() -> dict[str, Any]:
    """What `moaa validate` says of every resource with a mistake."""
    return {name: _refusal(yaml.safe_dump(tree(**changes))) for name, (changes, _, _) in BAD.items()}


def _refusal(text: str) -> str:
    try:
        load_text(text)
    except ResourceError as error:
        return str(error)
    return "accepted"


def plans() -> dict[str, Any]:
    """What `moaa validate` and `moaa plan` print of every example and of a run that is half done."""
    found: dict[str, Any] = {}
    for file in sorted((ROOT / "examples").rglob("*.yaml")):
        if "kind: MoAA" in file.read_text():
            owner = load(file)
            found[str(file.relative_to(ROOT))] = [validate_text(owner), *plan_text(plan_view(owner, {})).splitlines()]
    for name in ("default prompts", "served in turn"):
        owner = rich("Panel", "model", VARIANTS[name])
        results = dict(list(walk(owner)[0].items())[:6])
        found[f"half done, {name}"] = [
            validate_text(owner),
            *plan_text(plan_view(owner, results, counts={"sft-1": 50})).splitlines(),
        ]
    return found


def statuses() -> dict[str, Any]:
    """Conditions and Events of a run that goes well, step by step, and the shape of its last status."""
    cluster = Cluster()
    before, steps = MoAAStatus(), []
    for _ in range(60):
        cluster.step()
        now = MoAAStatus.model_validate(cluster.document["status"])
        events = [f"{event.type} {event.reason}: {event.message}" for event in between(before, now)]
        said = [f"{c.type} {c.status} {c.reason}: {c.message}" for c in now.conditions]
        last = [f"{c.type} {c.status} {c.reason}: {c.message}" for c in before.conditions]
        if events or said != last:
            new = [line for line in said if line not in last]
            steps.append({"phase": str(now.phase), "events": events, "new": new})
        if cluster.phase == "Succeeded":
            break
        before = now
        cluster.servers_answer()
        cluster.work_all()
        cluster.wait(5)
    return {"steps": steps, "children": cluster.created, "last": cluster.document["status"]}


def metrics() -> list[str]:
    """Names, kinds, labels and help of everything the operator counts."""
    measured = Metrics()
    cluster = Cluster()
    cluster.settle()
    measured.watch([], lambda: 0, Traffic())
    measured.reconciled("done", 0.1)
    measured.status_written(MoAAStatus(), MoAAStatus.model_validate(cluster.document["status"]))
    return sorted(f"{found.name} {found.type}: {found.documentation}" for found in measured.registry.collect())


def log_events() -> list[str]:
    """The first word of every message that is logged or shown, with its level: people filter by these."""
    found: set[str] = set()
    for source in SOURCES:
        for file in (ROOT / source).rglob("*.py"):
            found |= {" ".join(re.findall(r"\w+", said)[-2:]) for said in SAID.findall(file.read_text())}
    return sorted(found)
