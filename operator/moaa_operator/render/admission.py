"""Everything in a resource that the cluster cannot carry out, named at once before anything is made.

A resource may be sound and still be one for `moaa run` only: its folders lie on one machine, which pods do not see.
Templates are checked here as well, so that a mistake in training's does not show after days of sampling.
"""

from collections.abc import Iterator, Sequence

from moaa.api import MoAA
from moaa.api.data import DataSource
from moaa.errors import Problem
from moaa_operator.render.rayjob import TEMPLATE_PATH, WORKER
from moaa_operator.render.server import CONTAINERS
from moaa_operator.render.template_rules import refused

_ONE_MACHINE = "is on one machine, which pods do not see; use"


def refusals(resource: MoAA) -> list[Problem]:
    """Every field that stands in the way; empty when the cluster can carry the resource out."""
    return [*_folders(resource), *_templates(resource)]


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
    for i, model in enumerate(resource.spec.models):
        yield from refused(model.serving.template, f"spec.models[{i}].serving.template", own=CONTAINERS)
    yield from refused(resource.spec.training.resources.template, TEMPLATE_PATH, own=frozenset({WORKER}))
