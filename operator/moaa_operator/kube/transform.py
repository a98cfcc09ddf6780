"""What the informers' copies keep of an object: a thousand runs have over ten thousand of them, and most of each is
never read. Pure.

Left out: who set which field and when; of a MoAA all but its metadata, since it is read from the server before anything
is decided; of what makes pods the template; of a pod what its containers are to run.
"""

from collections.abc import Mapping
from typing import Any

from moaa_operator.kube.api import MOAA, Object

SPEC = frozenset({"completionMode", "completions", "selector", "suspend"})
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
    if "containers" in spec:  # a pod's: which of them answer when they are asked how far they are
        small["containers"] = [{"name": container.get("name")} for container in spec["containers"]]
    return small
