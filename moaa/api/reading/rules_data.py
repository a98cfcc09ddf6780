"""Rules about storage, data, training and the number of iterations."""

from collections.abc import Iterator

from moaa.api.reading.node import Node
from moaa.api.reading.rules_addresses import source_nodes
from moaa.api.training import (
    BatchOf,
    Dpo,
    Keep,
    LearningRateSchedule,
    Optimization,
    Precision,
    PreferenceLoss,
    RefModel,
    SamplesFrom,
)
from moaa.errors import Problem

DEFAULT_BATCH = int(Optimization.model_fields["batch_size"].default)
DEFAULT_ZERO_STAGE = int(Optimization.model_fields["zero_stage"].default)
DEFAULT_SAMPLES = int(Dpo.model_fields["samples"].default)


def storage(spec: Node) -> Iterator[Problem]:
    place = spec.at("storage")
    if (place.at("uri").text or "").startswith("file://"):
        for field in ("endpoint", "region", "secret"):
            if place.at(field).given:
                yield place.at(field).problem("is for s3:// storage; remove it, or store in s3://")


def columns(spec: Node) -> Iterator[Problem]:
    for holder in source_nodes(spec):
        named = holder.at("columns")
        if named.at("messages").given and named.at("prompt").given:
            yield named.at("prompt").problem(
                "stands beside messages, which holds the whole conversation; name one of them"
            )


def sources_differ(spec: Node) -> Iterator[Problem]:
    """The second of two equal sources would lose every row as a duplicate."""
    for group in ("sft", "preference"):
        seen: dict[tuple[str, ...], str] = {}
        for holder in spec.at("data", group):
            fields = (holder.at("source"), holder.at("split"), holder.at("revision"))
            source, split, revision = (node.text or "" for node in fields)
            named = sorted(repr((node.path[-1], node.value)) for node in holder.at("columns").items() if node.value)
            same = (source, split or "train", revision, *named)
            if source and same in seen:
                yield holder.at("source").problem(
                    f"is {seen[same]} again, and rows are taken once; remove it, and give the other the limit of both"
                )
            seen.setdefault(same, holder.name)


def training_shape(spec: Node) -> Iterator[Problem]:
    training = spec.at("training")
    if isinstance(training.value, dict) and not training.at("sft").given and not training.at("dpo").given:
        yield training.problem("give sft, dpo or both; without either nothing is trained")
    workers = training.at("resources", "workers").number(1)
    on_cpu = training.at("resources", "gpusPerWorker").number(1) == 0
    for name in ("sft", "dpo"):
        part = training.at(name)
        if not isinstance(part.value, dict):
            continue
        rows, micro = part.at("batchSize").number(DEFAULT_BATCH), part.at("microBatchSize").number(1)
        unit = (workers or 0) * (micro or 0)
        if rows is not None and unit > 0 and rows % unit:
            yield training.problem(
                f"{name}.batchSize {rows} is not divisible by workers × microBatchSize ({unit}); write "
                f"{max(rows // unit, 1) * unit}, or change one of the two"
            )
        if on_cpu and part.at("precision").word(Precision.BF16) == Precision.BF16:
            yield training.problem(f"{name}.precision BF16 needs GPUs; write FP32 to train on the CPU")
        is_unsplit = part.at("zeroStage").number(DEFAULT_ZERO_STAGE) == 0
        if is_unsplit and part.at("precision").word(Precision.BF16) == Precision.FP32:
            yield training.problem(
                f"{name}.zeroStage 0 tells no gradient norm under precision FP32, by which a divergence is noticed; "
                "write 1"
            )
        if not part.at("heldOut").given:
            if part.at("keep").word(Keep.LAST) == Keep.BEST:
                yield training.problem(
                    f"{name}.keep Best needs heldOut, whose loss says which weights are best; give heldOut or remove "
                    "keep"
                )
            if part.at("patience").given:
                yield training.problem(
                    f"{name}.patience needs heldOut, whose loss says when to end; give heldOut or remove patience"
                )
        constant = part.at("schedule").text == LearningRateSchedule.CONSTANT
        if constant and part.at("minLearningRateRatio").given:
            yield training.problem(
                f"{name}.minLearningRateRatio has no effect under schedule Constant; remove it, or write Linear or "
                "Cosine"
            )


def sequences_are_filled(spec: Node) -> Iterator[Problem]:
    sft = spec.at("training", "sft")
    if sft.at("batchOf").word(BatchOf.ROWS) == BatchOf.SEQUENCES and sft.at("packing").value is False:
        yield sft.at("batchOf").problem("needs packing, which fills them; set packing: true or remove batchOf")


def pairs_can_be(spec: Node) -> Iterator[Problem]:
    """Rules of dpo.pairs that no pair could meet."""
    dpo = spec.at("training", "dpo")
    margin, least = dpo.at("pairs", "minMargin"), dpo.at("pairs", "minRejectedPoints")
    if margin.decimal is not None and least.decimal is not None and margin.decimal + least.decimal > 1:
        yield margin.problem(
            f"and minRejectedPoints {least.text} are more than 1 together, and points end at 1; lower one of them"
        )
    samples = dpo.at("samples").number(DEFAULT_SAMPLES)
    of_student = dpo.at("samplesFrom").word(SamplesFrom.STUDENT) == SamplesFrom.STUDENT
    if least.given and of_student and samples is not None and samples <= 2:
        yield least.problem(
            "needs three samples: of two, the worse lost its only comparison; remove it or raise dpo.samples"
        )


def loss_reads(spec: Node) -> Iterator[Problem]:
    """What a loss on pairs needs, and what it does not read."""
    dpo = spec.at("training", "dpo")
    loss = dpo.at("loss").word(PreferenceLoss.SIGMOID)
    for name, reader in (("labelSmoothing", PreferenceLoss.ROBUST), ("simpoGamma", PreferenceLoss.SIMPO)):
        if dpo.at(name).given and loss != reader:
            yield dpo.at(name).problem(f"is read by loss {reader} only, and loss is {loss}; remove it")
        if loss == reader and not dpo.at(name).given:
            yield dpo.at(name).problem(f"is required with loss {reader}; give it, or write another loss")
    ref_model = dpo.at("refModel").word(RefModel.STAGE_START)
    if loss == PreferenceLoss.SIMPO and ref_model != RefModel.STAGE_START:
        yield dpo.at("refModel").problem(f"{ref_model} has no effect: loss SimPO reads no ref_model; remove it")


def average_is_measured(spec: Node) -> Iterator[Problem]:
    average = spec.at("training", "average")
    if average.given and not list(spec.at("evaluation", "selection")):
        yield average.problem("needs a benchmark in evaluation.selection: nothing else says whether the mean is better")


def training_has_data(spec: Node) -> Iterator[Problem]:
    for part, group, what in (("sft", "sft", "prompts to answer"), ("dpo", "preference", "prompts to sample")):
        wanted = spec.at("training", part).given
        rows = spec.at("data", group)
        if wanted and not list(rows):
            yield rows.problem(f"is empty, and training.{part} needs {what}; add a source or remove training.{part}")
        if not wanted and list(rows) and spec.at("training").given:
            yield Problem(rows.name, "", f"is read by nobody without training.{part}; add training.{part} or remove it")


def rows_for_every_iteration(spec: Node) -> Iterator[Problem]:
    iterations = spec.at("iterations").integer(1)
    if iterations <= 1 or spec.at("data", "allowReuse").value is True:
        return
    for group in ("sft", "preference"):
        for source in spec.at("data", group):
            if not source.at("limit").given:
                yield source.at("limit").problem(
                    f"is required with {iterations} iterations: without it the first takes all rows; give the rows of "
                    "one iteration, or set data.allowReuse: true"
                )


def gain_in_range(spec: Node) -> Iterator[Problem]:
    gain = spec.at("evaluation", "gate", "minGain")
    try:
        value = float(str(gain.value)) if gain.given else 0.0
    except ValueError:
        return
    if not -1 <= value <= 1:
        yield gain.problem("must lie between -1 and 1: scores are fractions, so 2 points of 100 are 0.02")


RULES = (
    storage,
    columns,
    sources_differ,
    training_shape,
    sequences_are_filled,
    pairs_can_be,
    loss_reads,
    average_is_measured,
    training_has_data,
    rows_for_every_iteration,
    gain_in_range,
)
