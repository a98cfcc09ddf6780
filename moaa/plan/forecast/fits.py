"""Whether training fits the memory of its GPUs, and what would: sentences and a table for `moaa plan` and errors."""

from collections.abc import Iterator, Mapping

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from moaa.api import MoAA
from moaa.api.base import decimal_text
from moaa.api.training import Dpo, Sft, Training, TrainingResources
from moaa.errors import DataError
from moaa.plan.forecast.memory import GIB, Memory, parts, training_memory, usable
from moaa.plan.forecast.shape import ModelShape, read_shape
from moaa.tables import Fitted

CLOSE = 0.9
"""Part of what a GPU can take from which a sentence warns: the model of activations is good to about a tenth."""
MOST_WORKERS = 1024
FIELDS = {
    "zero_stage": "zeroStage", "micro_batch_size": "microBatchSize", "gradient_checkpointing": "gradientCheckpointing",
    "max_length": "maxLength", "workers": "workers",
}  # fmt: skip


def memory_view(resource: MoAA, config: Mapping[str, object] | None) -> RenderableType:
    """What each training stage takes of a worker's memory. `config` is the student's config.json, None where it cannot
    be read from here."""
    training, name = resource.spec.training, resource.spec.student
    if config is None:
        return Text(
            f"memory of training: not known, since the config.json of {name} cannot be read from here; "
            "give it with --student-config FILE"
        )
    try:
        shape = read_shape(config, name)
    except DataError as error:
        return Text(f"memory of training: {error}")
    table = Table(title=f"GiB of a training worker, {name}", title_justify="left", box=box.SIMPLE)
    table.add_column("stage")
    for part in (*Memory.__dataclass_fields__, "sum"):
        table.add_column(part, justify="right", no_wrap=True)
    notes = []
    for stage, spec in trained(training):
        try:
            needed = needs(shape, spec, training.resources)
        except DataError as error:
            notes.append(Text(f"{stage}: {name}: {error}"))
            continue
        table.add_row(stage, *(gib(size) for size in parts(needed).values()), gib(needed.total))
        notes.append(Text(told(shape, stage, spec, training.resources)))
    return Group(Fitted(table, list(Memory.__dataclass_fields__)[::-1]), *notes)


def hopeless(config: Mapping[str, object], training: Training, name: str) -> str | None:
    """Why training cannot start, whatever a step holds: weights, gradients and optimiser alone are more than a GPU has.
    None: they fit, or the GPUs' memory is not told. `name` is the student's in errors.

    Raises:
        DataError: what this architecture takes is not known.
    """
    available = budget(training.resources)
    if available is None:
        return None
    shape = read_shape(config, name)
    for stage, spec in trained(training):
        needed = needs(shape, spec, training.resources)
        if needed.state > available:
            return told(shape, f"{name}: spec.training.{stage}", spec, training.resources)
    return None


def trained(training: Training) -> Iterator[tuple[str, Sft | Dpo]]:
    """The stages that train, by the names of their fields."""
    if training.sft is not None:
        yield "sft", training.sft
    if training.dpo is not None:
        yield "dpo", training.dpo


def needs(shape: ModelShape, spec: Sft | Dpo, resources: TrainingResources) -> Memory:
    """Of one worker. Raises DataError: an adapter is for what the architecture does not have."""
    return training_memory(shape, spec, workers=resources.workers, on_gpu=resources.gpus_per_worker > 0)


def budget(resources: TrainingResources) -> int | None:
    """Bytes that a worker's GPU has for training; None: not told, or there is no GPU."""
    if resources.gpu_memory_gib is None or resources.gpus_per_worker == 0:
        return None
    return usable(int(resources.gpu_memory_gib * GIB))


def told(shape: ModelShape, stage: str, spec: Sft | Dpo, resources: TrainingResources) -> str:
    """Whether it fits, in a sentence that says what would."""
    needed, available = needs(shape, spec, resources), budget(resources)
    takes = f"{stage}: takes {gib(needed.total)} GiB of each of {resources.workers} workers"
    if resources.gpus_per_worker == 0:
        unread = "" if resources.gpu_memory_gib is None else "; gpuMemoryGib is not read, since gpusPerWorker is 0"
        return f"{takes}, of the machine's memory{unread}"
    if available is None:
        return f"{takes}; give training.resources.gpuMemoryGib to learn whether it fits"
    assert resources.gpu_memory_gib is not None, "there is a budget"
    has = f"a GPU of {decimal_text(resources.gpu_memory_gib)} GiB can take {gib(available)}"
    if needed.total <= available * CLOSE:
        return f"{takes} and fits: {has}"
    if needed.total <= available:
        return f"{takes} and fits by less than a tenth, which is as good as this estimate: {has}"
    state = f" (weights, gradients and optimiser alone {gib(needed.state)})" if needed.state > available else ""
    would = "; or ".join(remedies(shape, spec, resources, available)) or "GPUs with more memory"
    return f"{takes}{state} and does not fit: {has}. What would fit: {would}"


def remedies(shape: ModelShape, spec: Sft | Dpo, resources: TrainingResources, available: int) -> list[str]:
    """Every single change that is enough; if none is, the first ones that are together. Those that change nothing
    of what is learned come first."""
    changes = list(_changes(spec, resources))
    alone = [change for change in changes if _fits(shape, spec, resources, change, available)]
    if alone:
        fewest = min((change["workers"] for change in alone if "workers" in change), default=None)
        return [_spelled(change) for change in alone if change.get("workers") in (None, fewest)]
    joined: dict[str, int | bool] = {}
    for change in changes:
        joined |= change
        if _fits(shape, spec, resources, joined, available):
            return [_spelled(joined)]
    return []


def _changes(spec: Sft | Dpo, resources: TrainingResources) -> Iterator[dict[str, int | bool]]:
    if not spec.gradient_checkpointing:
        yield {"gradient_checkpointing": True}
    if spec.micro_batch_size > 1:
        yield {"micro_batch_size": 1}
    if spec.zero_stage < 3 and resources.workers > 1:
        yield {"zero_stage": 3}
    split: dict[str, int | bool] = {"zero_stage": 3} if spec.zero_stage < 3 else {}
    workers = 2 * resources.workers
    while workers <= MOST_WORKERS and spec.batch_size % (workers * spec.micro_batch_size) == 0:
        yield {"workers": workers, **split}
        workers *= 2
    if spec.max_length >= 1024:
        yield {"max_length": spec.max_length // 2}


def _fits(
    shape: ModelShape, spec: Sft | Dpo, resources: TrainingResources, change: Mapping[str, int | bool], available: int
) -> bool:
    workers, on_gpu = change.get("workers", resources.workers), resources.gpus_per_worker > 0
    changed = spec.with_(**{field: value for field, value in change.items() if field != "workers"})
    return training_memory(shape, changed, workers=workers, on_gpu=on_gpu).total <= available * CLOSE


def _spelled(change: Mapping[str, int | bool]) -> str:
    return ", ".join(f"{FIELDS[field]}: {str(value).lower()}" for field, value in change.items())


def gib(size_bytes: int) -> str:
    return f"{size_bytes / GIB:,.1f}"
