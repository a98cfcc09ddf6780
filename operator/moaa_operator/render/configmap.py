"""The job file of an attempt as an immutable ConfigMap."""

from moaa.api.base import Spec
from moaa.errors import StageError
from moaa_operator.kube.objects import Manifest
from moaa_operator.kube.owner import JOB_FILE
from moaa_operator.render.context import Child, RenderContext

MAX_BYTES = 1000 * 1024
"""Kubernetes takes 1 MiB with the metadata."""


def job_file(context: RenderContext, child: Child, job: Spec) -> Manifest:
    """A ConfigMap with `job` as JSON.

    Raises:
        StageError: it is larger than a ConfigMap may be.
    """
    text = job.model_dump_json(by_alias=True)
    if len(text.encode()) > MAX_BYTES:
        raise StageError(
            f"{child.name}: its job file has {len(text.encode())} bytes, more than the {MAX_BYTES} of a ConfigMap; "
            "shorten spec.prompts, or split the run into resources with fewer iterations"
        )
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": context.metadata(child, made_from={"job": text}),
        "immutable": True,
        "data": {JOB_FILE: text},
    }
