"""The CustomResourceDefinition of MoAA, made of the resource's classes.

`moaa.api.resource` and `moaa.api.status` are the only definition. What the CRD cannot refuse (an unknown field that
kubectl lets through, what lies deep in a pod template, an address that is none) `moaa.api.reading.check` does. The
whole stays below half of 262,144 bytes: `kubectl apply` keeps a copy of what it applies in an annotation, some tools
keep another, and an object's annotations may hold no more together.
"""

from collections.abc import Mapping
from typing import Any

import yaml
from pydantic import BaseModel

from moaa.api.crd import cel_addresses, cel_asking, cel_data, cel_models
from moaa.api.crd.pod_template import pod_template
from moaa.api.crd.rule import Rule, Rules, matches
from moaa.api.crd.schema import VALIDATIONS, Additions, of_field, structural, told_once
from moaa.api.evaluation import Benchmark
from moaa.api.mixture import Criterion
from moaa.api.models import Model
from moaa.api.resource import API_VERSION, KIND, Metadata, MoAASpec
from moaa.api.status import (
    SUCCEEDED,
    ClosedIteration,
    Condition,
    MoAAStatus,
    PinnedModel,
    StageCost,
    StageOutput,
    StageStatus,
)

GROUP, VERSION = API_VERSION.split("/")
PLURAL = "moaas"
NAME = f"{PLURAL}.{GROUP}"

KEYS: Mapping[type[BaseModel], str] = {
    Model: "name",
    Benchmark: "name",
    Criterion: "name",
    Condition: "type",
    StageStatus: "stage",
    StageOutput: "name",
    PinnedModel: "name",
    ClosedIteration: "iteration",
    StageCost: "stage",
}

WIDE = 1
"""The priority of columns that `kubectl get -o wide` alone shows; others have 0."""
COLUMNS: tuple[tuple[str, str, str, int], ...] = (
    ("Phase", ".status.phase", "string", 0),
    ("Iteration", ".status.iteration", "string", 0),
    ("Stage", ".status.stage", "string", 0),
    ("Progress", ".status.progress", "string", 0),
    ("Score", ".status.score", "string", 0),
    ("Reason", f'.status.conditions[?(@.type=="{SUCCEEDED}")].reason', "string", 0),
    ("GPU-Hours", ".status.cost.gpuHours", "string", WIDE),
    ("Dollars", ".status.cost.dollars", "string", WIDE),
    ("Age", ".metadata.creationTimestamp", "date", 0),
)


def crd() -> dict[str, Any]:
    """The CRD as an object for the API server, apiextensions.k8s.io/v1."""
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": [
            {"name": name, "type": kind, "jsonPath": path, **({"priority": priority} if priority else {})}
            for name, path, kind, priority in COLUMNS
        ],
        "schema": {"openAPIV3Schema": _root()},
    }
    names = {
        "kind": KIND,
        "listKind": f"{KIND}List",
        "plural": PLURAL,
        "singular": KIND.lower(),
        "shortNames": ["ma"],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": NAME},
        "spec": {"group": GROUP, "names": names, "scope": "Namespaced", "versions": [version]},
    }


def crd_yaml() -> str:
    """The CRD as a file."""
    return yaml.dump(crd(), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=200, default_flow_style=None)


class _Dumper(yaml.SafeDumper):
    """Writes what stands in several places out in each."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the signature of yaml's hook
        return True


def _root() -> dict[str, Any]:
    additions = Additions(
        rules=_merged(cel_addresses.RULES, cel_models.RULES, cel_asking.RULES, cel_data.RULES),
        keys=KEYS,
        opaque=pod_template(),
    )
    return {
        "type": "object",
        "description": "A run of Mixture of Agents Alignment: open models teach and judge one student.",
        "properties": {
            "apiVersion": {"type": "string", "description": f"{API_VERSION}."},
            "kind": {"type": "string", "description": f"{KIND}."},
            "metadata": {"type": "object"},
            "spec": told_once(structural(MoAASpec, additions), ".spec"),
            "status": structural(MoAAStatus, additions),
        },
        "required": ["spec"],
        VALIDATIONS: [rule.as_validation() for rule in _name_rules()],
    }


def _name_rules() -> list[Rule]:
    """At the root CEL may read the name; a schema could refuse it too, but not say why."""
    name = of_field(Metadata, "name", Additions())
    return [
        Rule(
            f"size(self.metadata.name) <= {name['maxLength']}",
            f"metadata.name has more than {name['maxLength']} characters; RayJobs' names derive from it, shorten it",
        ),
        Rule(
            matches("self.metadata.name", name["pattern"]),
            "metadata.name must be lower-case letters, digits and '-', starting with a letter; rename it",
        ),
        Rule(
            "!self.metadata.name.startsWith('vllm')",
            "metadata.name starts with 'vllm', which vLLM's own environment variables do too; choose another",
        ),
    ]


def _merged(*groups: Rules) -> Rules:
    """Rules by class; a class may have some in every group."""
    merged: Rules = {}
    for group in groups:
        for kind, rules in group.items():
            merged[kind] = (*merged.get(kind, ()), *rules)
    return merged
