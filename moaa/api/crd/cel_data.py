"""Rules about data, training, the number of iterations, and what must not change during a run."""

from collections.abc import Iterator

from moaa.api.crd.rule import Reason, Rule, Rules, quoted
from moaa.api.data import Columns
from moaa.api.evaluation import Gate
from moaa.api.resource import MoAASpec, Storage
from moaa.api.training import (
    BatchOf,
    Dpo,
    Keep,
    LearningRateSchedule,
    PairRules,
    PreferenceLoss,
    RefModel,
    SamplesFrom,
    Sft,
    Training,
)


def _fixed(field: str, why: str) -> Rule:
    """A field that an update must not touch. Another resource over the same storage finds what is finished."""
    return Rule(
        f"self.{field} == oldSelf.{field}",
        f"{field} cannot change: {why}; apply the new value under another name, finished work is found again",
        f".{field}",
        Reason.FORBIDDEN,
    )


def _training() -> Iterator[Rule]:
    yield Rule("has(self.sft) || has(self.dpo)", "give sft, dpo or both; without either nothing is trained")
    for part in ("sft", "dpo"):
        absent, field = f"!has(self.{part})", f"self.{part}"
        yield Rule(
            f"{absent} || {field}.batchSize % (self.resources.workers * {field}.microBatchSize) == 0",
            f"{part}.batchSize is not divisible by resources.workers × {part}.microBatchSize; change one of them",
            f".{part}.batchSize",
        )
        yield Rule(
            f"{absent} || {field}.precision != 'BF16' || self.resources.gpusPerWorker > 0",
            f"{part}.precision BF16 needs GPUs; write FP32 to train on the CPU",
            f".{part}.precision",
        )
        yield Rule(
            f"{absent} || {field}.zeroStage > 0 || {field}.precision != 'FP32'",
            f"{part}.zeroStage 0 tells no gradient norm under precision FP32, by which a divergence is noticed; "
            "write 1",
            f".{part}.zeroStage",
        )
        yield Rule(
            f"{absent} || has({field}.heldOut) || {field}.keep == {quoted(Keep.LAST)}",
            f"{part}.keep Best needs heldOut, whose loss says which weights are best; give heldOut or remove keep",
            f".{part}.keep",
        )
        yield Rule(
            f"{absent} || has({field}.heldOut) || !has({field}.patience)",
            f"{part}.patience needs heldOut, whose loss says when to end; give heldOut or remove patience",
            f".{part}.patience",
            Reason.FORBIDDEN,
        )
        yield Rule(
            f"{absent} || {field}.schedule != {quoted(LearningRateSchedule.CONSTANT)} || "
            f"!has({field}.minLearningRateRatio)",
            f"{part}.minLearningRateRatio has no effect under schedule Constant; remove it, or write Linear or Cosine",
            f".{part}.minLearningRateRatio",
        )


def _read_by(loss: PreferenceLoss, field: str) -> Iterator[Rule]:
    """A field that one loss on pairs needs and no other reads."""
    yield Rule(
        f"!has(self.{field}) || self.loss == {quoted(loss)}",
        f"{field} is read by loss {loss} only; remove it",
        f".{field}",
        Reason.FORBIDDEN,
    )
    yield Rule(
        f"has(self.{field}) || self.loss != {quoted(loss)}",
        f"{field} is required with loss {loss}; give it, or write another loss",
        f".{field}",
        Reason.REQUIRED,
    )


def _rows(part: str, group: str, what: str) -> Iterator[Rule]:
    yield Rule(
        f"!has(self.training.{part}) || size(self.data.{group}) > 0",
        f"data.{group} is empty, and training.{part} needs {what}; add a source or remove training.{part}",
        f".data.{group}",
        Reason.REQUIRED,
    )
    yield Rule(
        f"has(self.training.{part}) || size(self.data.{group}) == 0",
        f"data.{group} is read by nobody without training.{part}; add training.{part} or remove it",
        f".data.{group}",
        Reason.FORBIDDEN,
    )
    yield Rule(
        f"self.iterations == 1 || self.data.allowReuse || self.data.{group}.all(s, has(s.limit))",
        f"with several iterations each source of data.{group} needs limit, the rows of one iteration, or set "
        "data.allowReuse: true",
        f".data.{group}",
        Reason.REQUIRED,
    )


def _sources_differ(group: str) -> Rule:
    same = " && ".join(
        (
            "b.source == a.source",
            "b.split == a.split",
            "has(b.revision) == has(a.revision)",
            "(!has(b.revision) || b.revision == a.revision)",
            "b.columns == a.columns",
        )
    )
    return Rule(
        f"self.data.{group}.all(a, self.data.{group}.exists_one(b, {same}))",
        f"two sources of data.{group} are the same, and rows are taken once; remove one, raise the limit of the other",
        f".data.{group}",
        Reason.DUPLICATE,
    )


RULES: Rules = {
    PairRules: (
        Rule(
            "!has(self.minMargin) || !has(self.minRejectedPoints) || "
            "double(self.minMargin) + double(self.minRejectedPoints) <= 1.0",
            "minMargin and minRejectedPoints are more than 1 together, and points end at 1; lower one of them",
            ".minMargin",
        ),
    ),
    Sft: (
        Rule(
            f"self.packing || self.batchOf == {quoted(BatchOf.ROWS)}",
            "batchOf Sequences needs packing, which fills them; set packing: true or remove batchOf",
            ".batchOf",
        ),
    ),
    Dpo: (
        Rule(
            "!has(self.pairs.minRejectedPoints) || self.samples > 2 || "
            f"self.samplesFrom != {quoted(SamplesFrom.STUDENT)}",
            "pairs.minRejectedPoints needs three samples: of two, the worse lost its only comparison; remove it or "
            "raise samples",
            ".pairs.minRejectedPoints",
        ),
        *_read_by(PreferenceLoss.ROBUST, "labelSmoothing"),
        *_read_by(PreferenceLoss.SIMPO, "simpoGamma"),
        Rule(
            f"self.loss != {quoted(PreferenceLoss.SIMPO)} || self.refModel == {quoted(RefModel.STAGE_START)}",
            "refModel has no effect: loss SimPO reads no ref_model; remove it",
            ".refModel",
        ),
    ),
    Storage: (_fixed("uri", "finished work and this run's record lie there"),),
    Columns: (
        Rule(
            "!has(self.messages) || !has(self.prompt)",
            "prompt stands beside messages, which holds the whole conversation; name one of them",
            ".prompt",
            Reason.FORBIDDEN,
        ),
    ),
    Training: tuple(_training()),
    Gate: (
        Rule(
            "double(self.minGain) >= -1.0 && double(self.minGain) <= 1.0",
            "minGain must lie between -1 and 1: scores are fractions, so 2 points of 100 are 0.02",
            ".minGain",
        ),
    ),
    MoAASpec: (
        _fixed("student", "every stage of the run rests on it"),
        _fixed("seed", "it orders the rows, and iterations take disjoint ones only in one order"),
        Rule(
            "has(self.mixture) || !has(self.training.sft) || !self.data.sft.exists(s, s.answers == 'Mixture')",
            "mixture is required: a source of data.sft asks for its answers; declare one or write answers: Given there",
            ".mixture",
            Reason.REQUIRED,
        ),
        Rule(
            "has(self.judge) || !has(self.training.dpo)",
            "judge is required: training.dpo needs pairs, and a judge decides them; declare one",
            ".judge",
            Reason.REQUIRED,
        ),
        Rule(
            "!has(self.training.average) || size(self.evaluation.selection) > 0",
            "average needs a benchmark in evaluation.selection; add one or remove average",
            ".training.average",
        ),
        *(_sources_differ(group) for group in ("sft", "preference")),
        *_rows("sft", "sft", "prompts to answer"),
        *_rows("dpo", "preference", "prompts to sample"),
    ),
}
