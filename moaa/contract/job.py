"""The job file of a stage, as JSON: what both executors hand to `python -m moaa_jobs --job FILE`."""

from collections.abc import Mapping, Sequence

from moaa.api import MoAA
from moaa.api.base import Spec
from moaa.plan.digests import model_digest
from moaa.plan.ids import RESOLVE
from moaa.plan.result import Digest, Identity, StageResult
from moaa.plan.stage import Kind


class StageJob(Spec):
    """Everything a job needs to know, as one JSON file: what runs inside a pod or a process reads this and the store.

    It names no executor and holds no secret.
    """

    run: str
    """`<namespace>-<name>-<uid>`."""
    resource: dict[str, object]
    """The MoAA resource as JSON (aliases); parsed by the job with `MoAA.model_validate`."""
    stage: str
    kind: Kind
    iteration: int
    student: str | None = None
    ref_model: str | None = None
    candidates: tuple[str, ...] = ()
    serves: tuple[str, ...] = ()
    inputs: Digest
    fingerprint: Digest
    document: dict[str, object]
    results: dict[str, StageResult]
    """Of every finished stage this one may read, by stage id."""
    models: dict[str, Digest] = {}
    """Digest of every model it calls or trains, by the names of `Stage.serves` and `Stage.student`."""
    endpoints: dict[str, list[str]] = {}
    """Base URLs (up to /v1) of the models served now, by the names of `Stage.serves`. A model of `serves` that is
    missing here is absent: its rows wait (Exit.DEFERRED)."""
    served_names: dict[str, str] = {}
    """The `model` field of requests, by the names of `Stage.serves`; missing means the same name."""


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
