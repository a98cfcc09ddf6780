"""Bringing a model's weights to a server's pod: what its first container is asked to do."""

from typing import Annotated

from pydantic import Field

from moaa.api.base import Spec
from moaa.api.models import Model
from moaa.api.resource import Storage
from moaa.plan.result import Digest


class BringWeights(Spec):
    """The task of `python -m moaa_jobs.fetch`. Holds no secret."""

    storage: Storage
    model: Model
    """The declared model; for a student the one it was trained from."""
    digest: Digest
    """What the weights must be."""
    folder: str | None = None
    """A student's folder in the store; None: `model.source`."""
    claim: str | None = None
    """Where a pvc:// source is mounted already; None for any other."""
    target: str
    """Afterwards a link to the folder with the weights; downloads lie beside it."""
    options: str
    """File for the vLLM options that depend on the weights, as vLLM's --config reads it."""
    deadline_s: Annotated[int, Field(ge=1)]
    """Give up after so long, so that the pod is tried again."""
