"""The chart as Helm renders it, for tests."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.tools import tool

Object = dict[str, Any]

ROOT = Path(__file__).parents[1]
CHART = ROOT / "charts" / "moaa"
KUBERNETES = "1.35.0"
"""A Helm that was built without a word about its version takes clusters for very old ones."""
TIMEOUT_S = 120

TERRAFORM: dict[str, Any] = yaml.safe_load((ROOT / "terraform" / "tests" / "chart-values.yaml").read_text())
DIGEST = "sha256:" + "0123456789abcdef" * 4
ALL: dict[str, Any] = {
    "imagePullSecrets": [{"name": "registry"}, {"name": "other"}],
    "images": {
        "operator": {"repository": "registry.example/moaa/operator", "tag": "unused", "digest": DIGEST},
        "jobs": {"repository": "registry.example/moaa/jobs", "tag": "1.2"},
    },
    "operator": {
        "replicas": 2,
        "logLevel": "DEBUG",
        "logFormat": "text",
        "serviceAccount": {"name": "op", "annotations": {"eks.amazonaws.com/role-arn": "arn"}},
        "podAnnotations": {"note": "why"},
        "podLabels": {"team": "alignment"},
        "priorityClassName": "system-cluster-critical",
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "own", "operator": "Exists"}],
        "affinity": {"podAntiAffinity": {}},
    },
    "settings": {"jobCpu": "500m", "workers": 8, "leaseDurationS": 20.5, "trainingDeadlineHours": 10_000_000},
    "runNamespaces": [
        {"name": "runs", "create": True, "serviceAccountAnnotations": {"cloud": "identity"}},
        {"name": "made", "createServiceAccounts": False},
        {"name": "one", "serviceAccountName": "same", "servingServiceAccountName": "same"},
    ],
    "allowed": {"serviceAccounts": ["*/moaa-run"], "images": [], "vllmCodeArgs": ["--trust-remote-code"]},
    "priorityClasses": {
        "jobs": {"name": "moaa-jobs", "create": True, "value": 1_000_000},
        "training": {"name": "there-already"},
    },
    "networkPolicies": {"metricsFrom": [{"namespaceSelector": {}}], "egress": {"enabled": True}},
    "metrics": {
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "rules": {"enabled": True},
        "dashboard": {"enabled": True},
    },
    "scheduling": {"system": {"nodeSelector": {"moaa.dev/role": "system"}, "tolerations": [{"key": "system"}]}},
}
VIEWS: dict[str, Any] = {
    "region": "eu-central-1",
    "images": {"jobs": {"repository": "registry.example/moaa/jobs", "tag": "1.2"}},
    "imagePullSecrets": [{"name": "registry"}],
    "networkPolicies": {"enabled": False, "egress": {"enabled": True}},
    "scheduling": {"system": {"nodeSelector": {"moaa.dev/role": "system"}, "tolerations": [{"key": "system"}]}},
    "views": [
        {
            "namespace": "alignment",
            "storageUri": "s3://bucket/prefix",
            "endpoint": "http://s3.example:7070",
            "secret": "s3",
            "allowHosts": ["moaa.example"],
            "from": [{"podSelector": {"matchLabels": {"app": "proxy"}}}],
        },
        {"namespace": "alignment", "name": "second", "storageUri": "s3://other", "region": "us-east-1"},
        {
            "namespace": "research",
            "storageUri": "s3://bucket",
            "serviceAccountAnnotations": {"cloud": "identity"},
            "resources": {"requests": {"memory": "1Gi"}},
        },
    ],
}
MATRIX: Mapping[str, dict[str, Any]] = {
    "default": {},
    "two-replicas": {"operator": {"replicas": 2}},
    "namespaced": {"clusterWide": False, "runNamespaces": [{"name": "runs"}, {"name": "more", "create": True}]},
    "alone": {"operator": {"leaderElection": False}},
    "terraform": TERRAFORM,
    "views": VIEWS,
    "all": ALL,
    "all-namespaced": {**ALL, "clusterWide": False},
    "bare": {
        "crds": {"install": False},
        "rbac": {"create": False, "aggregate": False},
        "networkPolicies": {"enabled": False},
        "admissionPolicy": {"enabled": False},
        "metrics": {"service": False},
        "operator": {"serviceAccount": {"create": False, "name": "there"}},
    },
}
"""Ways to install."""
READ = ["get", "list", "watch"]
RULES: dict[tuple[str, str], list[str]] = {
    ("moaa.dev", "moaas"): READ,
    ("moaa.dev", "moaas/status"): ["update"],
    ("moaa.dev", "moaas/finalizers"): ["update"],
    ("apps", "deployments"): [*READ, "create", "patch", "delete"],
    ("leaderworkerset.x-k8s.io", "leaderworkersets"): [*READ, "create", "patch", "delete"],
    ("", "services"): [*READ, "create", "patch", "delete"],
    ("batch", "jobs"): [*READ, "create", "delete"],
    ("ray.io", "rayjobs"): [*READ, "create", "delete"],
    ("kueue.x-k8s.io", "workloads"): ["get", "list"],
    ("", "configmaps"): [*READ, "create", "delete"],
    ("", "pods"): READ,
    ("", "events"): ["list", "create"],
    ("networking.k8s.io", "networkpolicies"): ["create", "patch"],
}
"""All that the operator may do where runs are."""


class HelmRefused(RuntimeError):
    """Helm ended with an error: its words."""


def helm(*arguments: str, values: Mapping[str, Any] | None = None) -> str:
    """What Helm prints; `values` go in as a values file. Raises HelmRefused."""
    given = ["--values", "-"] if values is not None else []
    done = subprocess.run(
        [tool("helm"), *arguments, *given],
        input=json.dumps(values),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise HelmRefused(done.stderr)
    return done.stdout


def render(
    values: Mapping[str, Any] | None = None, *, release: str = "moaa", namespace: str = "moaa-system"
) -> list[Object]:
    """The objects of an installation, in the order in which Helm makes them. Raises HelmRefused."""
    text = helm("template", release, str(CHART), "-n", namespace, "--kube-version", KUBERNETES, values=values or {})
    return [document for document in yaml.load_all(text, Loader=yaml.CSafeLoader) if document]


def only(objects: list[Object], kind: str, name: str | None = None) -> Object:
    """The one object of that kind (and name)."""
    (found,) = [one for one in objects if one["kind"] == kind and name in (None, one["metadata"]["name"])]
    return found
