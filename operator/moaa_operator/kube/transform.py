"""What the informers' copies keep of an object. Pure.

A thousand runs have over ten thousand objects, and most of each is never read. Left out are: who set which field when;
of a MoAA everything but its metadata, since it is read from the server before a decision; of what makes pods the
template; of a pod what its containers run.
"""

from collections.abc import Mapping
from typing import Any

from moaa_operator.kube.kinds import MOAA
from moaa_operator.kube.objects import Object

SPEC = frozenset({"completionMode", "completions", "replicas", "selector", "suspend"})
"""Fields of children's specs that decisions rest on."""


def kept(item: Object) -> Object:
    """A smaller object; the one that was given stays as it is."""
    about = {name: value for name, value in item["metadata"].items() if name != "managedFields"}
    if item.get("kind") == MOAA.kind:
        return {"apiVersion": item.get("apiVersion"), "kind": MOAA.kind, "metadata": about}
    smaller = {**item, "metadata": about}
    if "spec" in item:
        smaller["spec"] = _spec(item["spec"])
    return smaller


def _spec(spec: Mapping[str, Any]) -> Object:
    small = {name: value for name, value in spec.items() if name in SPEC}
    if "leaderWorkerTemplate" in spec:
        small["leaderWorkerTemplate"] = {"size": spec["leaderWorkerTemplate"].get("size")}
    if "containers" in spec:  # a pod's: which of them answer when they are asked how far they are
        small["containers"] = [{"name": container.get("name")} for container in spec["containers"]]
    return small
