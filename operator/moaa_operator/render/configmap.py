"""The job file of an attempt as an immutable ConfigMap."""

from collections.abc import Mapping

from moaa.api.base import Spec
from moaa.errors import StageError
from moaa_operator.kube.owner import JOB_FILE, Owner
from moaa_operator.render.metadata import Manifest, Role, metadata

MAX_BYTES = 1000 * 1024
"""Kubernetes takes 1 MiB with the metadata."""


def job_file(
    job: Spec,
    name: str,
    owner: Owner,
    role: Role,
    *,
    extra_labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Manifest:
    """A ConfigMap with `job` as JSON.

    Raises:
        StageError: it is larger than a ConfigMap may be.
    """
    text = job.model_dump_json(by_alias=True)
    if len(text.encode()) > MAX_BYTES:
        raise StageError(
            f"{name}: its job file has {len(text.encode())} bytes, more than the {MAX_BYTES} of a ConfigMap; shorten "
            "spec.prompts, or split the run into resources with fewer iterations"
        )
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(
            owner, name, role, made_from={"job": text}, extra_labels=extra_labels, annotations=annotations
        ),
        "immutable": True,
        "data": {JOB_FILE: text},
    }
