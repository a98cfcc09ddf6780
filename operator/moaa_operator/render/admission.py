"""Everything in a resource that this cluster does not carry out, named at once before anything is made.

A resource may be sound and still be one for `moaa run` only: its folders lie on one machine, which pods do not see. Or
it chooses what the installation does not let its creator choose (`moaa_operator.settings.Allowed`): who may create a
MoAA makes the operator create pods, and so borrows its rights. Templates are checked here as well, so that a mistake in
training's does not show after days of sampling.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from moaa.api import MoAA
from moaa.api.base import SecretKey, Spec
from moaa.api.data import DataSource
from moaa.api.resource import StorageSecret
from moaa.errors import Problem
from moaa_operator.render.rayjob import TEMPLATE_PATH, WORKER
from moaa_operator.render.serving.vllm_pod import CONTAINERS
from moaa_operator.render.template_rules import refused
from moaa_operator.settings import Allowed, Patterns

_ONE_MACHINE = "is on one machine, which pods do not see; use"
CODE_ARGS = (
    "--trust-remote-code", "--middleware", "--tool-parser-plugin", "--reasoning-parser-plugin", "--io-processor-plugin",
    "--logits-processors", "--worker-cls", "--worker-extension-cls", "--scheduler-cls",
    "--distributed-executor-backend", "--encoder-cache-manager-cls", "--kv-connector-module-path",
    "--ec-connector-module-path", "--spec-module-path", "--log-config-file", "--pylogging-config-file",
)  # fmt: skip
"""Arguments by which vLLM 0.32 runs code of the model's author, or whatever its image can import; some stand in the
JSON of others only. A file of Python's logging names classes to make."""
_WHOLE_ARGS = frozenset({"--reasoning-parser"})
"""Arguments that are no abbreviation of one of those."""
PLACING = ("nodeName", "affinity", "topologySpreadConstraints")
"""Fields of a pod that choose its node without a selector."""


def refusals(resource: MoAA, allowed: Allowed) -> list[Problem]:
    """Every field that stands in the way; empty when the cluster can carry the resource out."""
    return [*_folders(resource), *_templates(resource), *_choices(resource, allowed)]


def _folders(resource: MoAA) -> Iterator[Problem]:
    spec = resource.spec
    if spec.storage.uri.startswith("file://"):
        yield Problem("spec.storage.uri", spec.storage.uri, f"{_ONE_MACHINE} s3:// on Kubernetes")
    for i, model in enumerate(spec.models):
        if (model.source or "").startswith("file://"):
            yield Problem(f"spec.models[{i}].source", str(model.source), f"{_ONE_MACHINE} hf://, s3:// or pvc://")
    lists: dict[str, Sequence[DataSource]] = {
        "spec.data.sft": spec.data.sft,
        "spec.data.preference": spec.data.preference,
        "spec.evaluation.selection": spec.evaluation.selection,
        "spec.evaluation.report": spec.evaluation.report,
    }
    for path, sources in lists.items():
        for i, source in enumerate(sources):
            if source.source.startswith("file://"):
                yield Problem(f"{path}[{i}].source", source.source, f"{_ONE_MACHINE} hf:// or s3://")


def _templates(resource: MoAA) -> Iterator[Problem]:
    for path, template, own in _all_templates(resource):
        yield from refused(template, path, own=own)


def _all_templates(resource: MoAA) -> Iterator[tuple[str, Mapping[str, Any], frozenset[str]]]:
    """Path, template and the names of our containers in it."""
    for i, model in enumerate(resource.spec.models):
        yield f"spec.models[{i}].serving.template", model.serving.template, CONTAINERS
    yield TEMPLATE_PATH, resource.spec.training.resources.template, frozenset({WORKER})


def _choices(resource: MoAA, allowed: Allowed) -> Iterator[Problem]:
    """What the installation does not let the creator choose."""
    spec, namespace = resource.spec, resource.metadata.namespace
    account = f"{namespace}/{spec.service_account_name}"
    yield from _unlisted("spec.serviceAccountName", account, allowed.service_accounts, "serviceAccounts")
    for path, name in _secrets(spec, "spec"):
        yield from _unlisted(path, f"{namespace}/{name}", allowed.secrets, "secrets")
    if spec.storage.endpoint is not None:
        yield from _host("spec.storage.endpoint", spec.storage.endpoint, allowed)
    for i, model in enumerate(spec.models):
        if model.endpoint is not None:
            yield from _host(f"spec.models[{i}].endpoint.url", model.endpoint.url, allowed)
        for j, argument in enumerate(model.serving.args):
            yield from _argument(f"spec.models[{i}].serving.args[{j}]", argument, allowed)
    for path, template, _ in _all_templates(resource):
        yield from _in_template(f"{path}.spec", template.get("spec"), namespace, allowed)


def _unlisted(path: str, name: str, patterns: Patterns, what: str) -> Iterator[Problem]:
    if patterns is not None and not any(_matches(name, pattern) for pattern in patterns):
        listed = ", ".join(patterns) or "none"
        yield Problem(path, name, f"is not allowed by this installation (allowed.{what}: {listed}); ask its operator")


def _matches(name: str, pattern: str) -> bool:
    return re.fullmatch(".*".join(re.escape(part) for part in pattern.split("*")), name, re.DOTALL) is not None


def _secrets(part: Spec, path: str) -> Iterator[tuple[str, str]]:
    """Path and name of every Secret that a resource's fields name."""
    if isinstance(part, SecretKey | StorageSecret):
        yield f"{path}.name", part.name
        return
    for field, about in type(part).model_fields.items():
        value = getattr(part, field)
        at = f"{path}.{about.alias or field}"
        if isinstance(value, Spec):
            yield from _secrets(value, at)
        elif isinstance(value, list):
            for i, one in enumerate(value):
                if isinstance(one, Spec):
                    yield from _secrets(one, f"{at}[{i}]")


def _host(path: str, url: str, allowed: Allowed) -> Iterator[Problem]:
    yield from _unlisted(path, urlsplit(url).netloc.lower(), allowed.endpoint_hosts, "endpointHosts")


def _argument(path: str, argument: str, allowed: Allowed) -> Iterator[Problem]:
    """vLLM takes `_` for `-`, abbreviations, and settings inside of JSON."""
    said = argument.replace("_", "-")
    name = said.partition("=")[0].partition(".")[0]
    means = [known for known in CODE_ARGS if _means(said, name, known)]
    refused = next((known for known in means if known not in allowed.vllm_code_args), None)
    if refused is not None:
        remedy = f"runs code that is not vLLM's ({refused}), which this installation does not allow"
        yield Problem(path, argument, f"{remedy} (allowed.vllmCodeArgs); remove it, or ask its operator")
    elif name.startswith("-") and not means:
        yield from _unlisted(path, name, allowed.vllm_args, "vllmArgs")


def _means(said: str, name: str, known: str) -> bool:
    """Whether an argument is that option: written out, shortened, in JSON, or hidden there by JSON's escapes."""
    is_part = known[2:] in said or "\\u" in said
    return is_part or name == known or (len(name) > len("--") and known.startswith(name) and name not in _WHOLE_ARGS)


def _in_template(path: str, spec: object, namespace: str, allowed: Allowed) -> Iterator[Problem]:
    if not isinstance(spec, Mapping):
        return
    for field in ("containers", "initContainers"):
        for i, container in _entries(spec, field):
            if "image" in container:
                yield from _unlisted(f"{path}.{field}[{i}].image", str(container["image"]), allowed.images, "images")
    for label, value in _mapping(spec, "nodeSelector").items():
        at = f"{path}.nodeSelector.{label}"
        yield from _unlisted(at, f"{label}={value}", allowed.node_selectors, "nodeSelectors")
    for field in PLACING:
        if field in spec and allowed.node_selectors is not None:
            remedy = "chooses nodes past allowed.nodeSelectors of this installation; use nodeSelector"
            yield Problem(f"{path}.{field}", "", remedy)
    for i, toleration in _entries(spec, "tolerations"):
        key = str(toleration.get("key") or "*")
        yield from _unlisted(f"{path}.tolerations[{i}]", key, allowed.tolerations, "tolerations")
    if "priorityClassName" in spec:
        name = str(spec["priorityClassName"])
        yield from _unlisted(f"{path}.priorityClassName", name, allowed.priority_classes, "priorityClasses")
    for at, name in _named_secrets(spec, path):
        yield from _unlisted(at, f"{namespace}/{name}", allowed.secrets, "secrets")


def _named_secrets(node: object, path: str) -> Iterator[tuple[str, str]]:
    """Secrets that a pod names anywhere: variables, volumes, pull secrets, drivers of volumes."""
    if isinstance(node, list):
        for i, one in enumerate(node):
            yield from _named_secrets(one, f"{path}[{i}]")
    if not isinstance(node, Mapping):
        return
    for field, value in node.items():
        at = f"{path}.{field}"
        if field.lower().endswith(("secret", "secretref", "secretkeyref")) and isinstance(value, Mapping):
            # Both, for only Kubernetes knows which of them counts here.
            yield from ((at, str(value[key])) for key in ("name", "secretName") if key in value)
        elif field == "imagePullSecrets" and isinstance(value, list):
            yield from ((f"{at}[{i}]", str(one.get("name"))) for i, one in enumerate(value) if isinstance(one, Mapping))
        else:
            yield from _named_secrets(value, at)


def _mapping(holder: Mapping[str, Any], field: str) -> Mapping[str, Any]:
    value = holder.get(field)
    return value if isinstance(value, Mapping) else {}


def _entries(holder: Mapping[str, Any], field: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    value = holder.get(field)
    yield from ((i, one) for i, one in enumerate(value if isinstance(value, list) else []) if isinstance(one, Mapping))
