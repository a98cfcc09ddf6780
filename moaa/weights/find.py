"""Which weights stand behind a name of the plan. Pure: local executor, operator and jobs ask the same function."""

from collections.abc import Mapping
from types import MappingProxyType

from moaa.api import MoAA
from moaa.api.base import Spec
from moaa.api.models import Endpoint, Model, Serving
from moaa.errors import DataError
from moaa.plan.digests import model_digest
from moaa.plan.ids import made_by
from moaa.plan.result import Digest, StageResult

MODEL = "model"
"""The folder that every training stage writes; a promotion's points to one of theirs."""
NO_COMMITS: Mapping[str, str] = MappingProxyType({})


class ModelWeights(Spec):
    """One model's weights, wherever they are. Holds no secret."""

    digest: Digest
    """Of the content (of source and commit, for hf://): equal digests are the same weights."""
    model: Model
    """The declared model; for a student the one it was trained from, whose serving it keeps."""
    folder: str | None = None
    """A student's folder in the store, relative to its root; None: `model.source`."""
    commit: str | None = None
    """hf:// only: the commit that the run pinned; None: the one with this digest has to be looked up."""

    @property
    def serving(self) -> Serving:
        return self.model.serving

    @property
    def source(self) -> str | None:
        """The URI they come from; None for a student, whose folder is in the store."""
        return self.model.source if self.folder is None else None

    @property
    def is_on_hub(self) -> bool:
        return (self.source or "").startswith("hf://")


def find(
    name: str, resource: MoAA, results: Mapping[str, StageResult], *, commits: Mapping[str, str] = NO_COMMITS
) -> ModelWeights | Endpoint:
    """The source behind a declared name or `@<stage>`: weights, or an endpoint of others.

    `commits` are the pinned commits of declared models, by name.

    Raises:
        StageError: the stage that made the student, or the one that pinned the model, is not among the results.
    """
    digest = model_digest(name, results)
    maker = made_by(name)
    model = resource.spec.model(name if maker is None else resource.spec.student)
    if model.endpoint is not None:
        return model.endpoint
    # A promotion that kept the declared model has no folder.
    folder = results[maker].outputs[MODEL].uri if maker is not None else None
    commit = commits.get(model.name) if folder is None else None
    return ModelWeights(digest=digest, model=model, folder=folder, commit=commit)


def changed(weights: ModelWeights) -> DataError:
    """The error of a source that no longer holds what the run pinned."""
    return DataError(
        f"spec.models {weights.model.name}: {weights.model.source} is not what it was when the run resolved its "
        "models; put the files back; or, to go on with what is there now, write another word into the model's revision "
        "(a commit, of an hf:// source): `moaa plan` then says what is done again"
    )
