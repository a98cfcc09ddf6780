"""The job file of a stage: what both executors hand to `python -m moaa_jobs`."""

from collections.abc import Mapping, Sequence

from moaa.api import MoAA
from moaa.api.base import Spec
from moaa.plan.fingerprint import model_digest
from moaa.plan.graph import RESOLVE
from moaa.plan.stage import Digest, Identity, StageJob, StageResult


def stage_job(
    identity: Identity,
    resource: MoAA,
    results: Mapping[str, StageResult],
    *,
    run: str,
    endpoints: Mapping[str, Sequence[str]] | None = None,
    served_names: Mapping[str, str] | None = None,
) -> StageJob:
    """The job of a stage whose needs are all among `results`.

    It carries the digest of every declared model, served now or not: an answer that the ledger has needs no server,
    only to be recognised.
    """
    stage = identity.stage
    resolved = results.get(RESOLVE)
    students = [name for name in (*stage.serves, stage.student, stage.ref_model) if name]
    digests = {**(resolved.models if resolved else {}), **{name: model_digest(name, results) for name in students}}
    return StageJob(
        run=run,
        resource=resource.model_dump(mode="json", by_alias=True, exclude_unset=True),
        stage=stage.id,
        kind=stage.kind,
        iteration=stage.iteration,
        student=stage.student,
        ref_model=stage.ref_model,
        candidates=stage.candidates,
        serves=stage.serves,
        inputs=identity.inputs,
        fingerprint=identity.fingerprint,
        document=dict(identity.document),
        results=dict(results),
        models=digests,
        endpoints={name: list(urls) for name, urls in (endpoints or {}).items()},
        served_names=dict(served_names or {}),
    )


class CheckJob(Spec):
    """What `python -m moaa_jobs preflight` and `inspect` are asked: of whose store, and which results are known."""

    run: str
    """`<namespace>-<name>-<uid>`."""
    resource: dict[str, object]
    """The MoAA resource as JSON (aliases)."""
    results: dict[str, StageResult] = {}
    """Inspect: every result that is known, by stage id; what follows from them is looked up."""


class CheckAnswer(Spec):
    """What `inspect` found, small enough for a termination message."""

    results: list[StageResult] = []
    """In graph order, as many as there is room for."""
    absent: list[Digest] = []
    """Fingerprints of stages that could run and have no manifest."""
    is_complete: bool = True
    """False: there are more results; ask again with these."""


def check_job(resource: MoAA, results: Mapping[str, StageResult], *, run: str) -> CheckJob:
    """The job file of preflight and inspect."""
    return CheckJob(
        run=run, resource=resource.model_dump(mode="json", by_alias=True, exclude_unset=True), results=dict(results)
    )
