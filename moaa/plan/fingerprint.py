"""What a stage depends on, as one canonical document, and its digest: the fingerprint.

A stage whose manifest carries the fingerprint is done, whoever made it and whenever. `inputs` digests the rows alone,
so that stages which ask other models about the same rows share one ledger of calls. Never in a document: replicas,
GPUs, workers, images, pod templates, credentials, tolerated failures (moaa.plan.semantics lists them).

| kind | inputs | document besides |
|---|---|---|
| resolve | nothing | sources and revisions of models and data |
| stage-data | pinned data sources | seed, tables, decontamination |
| generate | sft tables, slices | mixture, answers, prompts, models, seed |
| sft | conversations | student's digest, hyper-parameters, seed |
| sample | preference tables, slices | student, sampling, seed |
| judge | samples | judge, prompts, models, seed |
| dpo | pairs | student's and ref_model's digests, hyper-parameters, seed |
| evaluate | evaluation tables | who answers, benchmarks, judges, prompts, models, seed |
| promote | candidates' scores | candidates' digests, gate |
"""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from moaa.api import MoAA
from moaa.api.base import decimal_text
from moaa.api.data import DataSource
from moaa.api.defaults import MIXTURE_PROMPTS, effective
from moaa.api.evaluation import Pairwise
from moaa.api.mixture import Judge, JudgeMethod, Sampling
from moaa.api.models import Model
from moaa.api.training import Optimization
from moaa.errors import StageError
from moaa.plan.graph import (
    BASE_EVALUATE,
    RESOLVE,
    STAGE_DATA,
    benchmarks,
    made_by,
    resolved_judge,
    resolved_mixture,
    stage_id,
    uses_mixture,
)
from moaa.plan.semantics import canonical, digest_of, effective_args, text_digest
from moaa.plan.slices import slice_rows, tables
from moaa.plan.stage import Identity, Kind, Stage, StageResult

REVISION: Mapping[Kind, int] = MappingProxyType(
    # 2: calls are sampled as declared, without what the model's generation_config.json says; LowerBound promotes only
    # what is above minGain on enough questions. A folder's `split` decides which of its files are pinned; rows are read
    # with what belongs to their question, deduplicated by system prompt too, decontaminated by whole questions.
    dict.fromkeys(Kind, 1)
    | dict.fromkeys((Kind.GENERATE, Kind.SAMPLE, Kind.JUDGE, Kind.EVALUATE, Kind.PROMOTE), 2)
    | dict.fromkeys((Kind.RESOLVE, Kind.STAGE_DATA), 2)
)
"""Meaning of each kind, raised by hand when the same document would lead to other rows or weights."""

Results = Mapping[str, StageResult]
Document = dict[str, object]


def identify(stage: Stage, resource: MoAA, results: Results) -> Identity | None:
    """The stage with everything it depends on pinned, or None while a stage it needs has no result.

    Raises:
        StageError: a result lacks an output that this stage reads.
    """
    if any(need not in results for need in stage.needs):
        return None
    inputs, body = _DOCUMENTS[stage.kind](stage, resource, results)
    document: Document = {
        "kind": str(stage.kind),
        "revision": REVISION[stage.kind],
        "inputs": inputs,
        **body,
    }
    return Identity(stage, digest_of(inputs), digest_of(document), document)


def model_digest(name: str, results: Results) -> str:
    """Content digest of a declared model or of the student that a stage made.

    Raises:
        StageError: its stage's result does not hold it.
    """
    maker = made_by(name)
    if maker:
        return output_digest(results, maker, "model")
    resolved = results.get(RESOLVE)
    if resolved is None or name not in resolved.models:
        raise StageError(
            f"{RESOLVE}: its result holds no digest of model {name!r}; delete its manifest and resolve again"
        )
    return resolved.models[name]


def answering(model: Model, digest: str) -> Document:
    """What of a model bears on its answers: the weights, by their `digest`, vLLM's arguments, the context window.

    A student has the serving of the declared student, `model`. Fingerprints hold it as it is and calls its digest, so
    that whatever repeats a stage also asks its models again.
    """
    return {"digest": digest, "args": effective_args(model.serving.args), "maxModelLen": model.max_model_len}


def answering_digest(model: Model, digest: str) -> str:
    """What identifies a model in the identity of a call (`moaa.client.request`)."""
    return digest_of(answering(model, digest))


def output_digest(results: Results, stage_id: str, output: str) -> str:
    """Digest of what a finished stage wrote. Raises StageError: the result does not hold it."""
    result = results.get(stage_id)
    if result is None or output not in result.outputs:
        raise StageError(
            f"{stage_id}: its result holds no output {output!r}; its job is of another version than the plan"
        )
    return result.outputs[output].digest


def _resolve(_stage: Stage, resource: MoAA, _results: Results) -> tuple[Document, Document]:
    models = {
        model.name: {"endpoint": model.endpoint.url, "model": model.endpoint.model}
        if model.endpoint
        else {"source": model.source, "revision": model.revision}
        for model in resource.spec.models
    }
    data = {
        table: {"source": source.source, "split": source.split, "revision": source.revision}
        for table, source in tables(resource)
    }
    return {}, {"models": models, "data": data}


def _stage_data(_stage: Stage, resource: MoAA, results: Results) -> tuple[Document, Document]:
    spec = resource.spec
    inputs: Document = {table: output_digest(results, RESOLVE, table) for table, _ in tables(resource)}
    cut = {f"eval-{benchmark.name}": benchmark.limit for benchmark in benchmarks(spec)}
    body: Document = {
        "seed": spec.seed,
        "tables": {
            table: {"source": source.source, "split": source.split, "limit": cut.get(table)} | _columns(source)
            for table, source in tables(resource)
        },
        "answers": [str(source.answers) for source in spec.data.sft],
        "decontaminationNgram": spec.data.decontamination_ngram,
    }
    return inputs, body


def _columns(source: DataSource) -> Document:
    """What the resource says of a source's columns, left out where it says nothing."""
    said = {name: value for name, value in canonical(source.columns).items() if value not in (None, [])}
    return {"columns": said} if said else {}


def _sliced(stage: Stage, resource: MoAA, results: Results) -> Document:
    return {
        "rows": [
            {
                "table": output_digest(results, STAGE_DATA, part.table),
                "offset": part.offset,
                "limit": part.limit,
                "reuse": part.reuse,
            }
            for part in slice_rows(resource, stage.kind, stage.iteration)
        ]
    }


def _generate(stage: Stage, resource: MoAA, results: Results) -> tuple[Document, Document]:
    spec = resource.spec
    body: Document = {"answers": [str(source.answers) for source in spec.data.sft]}
    if uses_mixture(spec):
        body |= {
            "mixture": canonical(resolved_mixture(resource, stage)),
            "prompts": _prompts(resource, MIXTURE_PROMPTS),
            "models": _models(stage.serves, resource, results),
            "seed": spec.seed,
        }
    return _sliced(stage, resource, results), body


def _sft(stage: Stage, resource: MoAA, results: Results) -> tuple[Document, Document]:
    inputs: Document = {
        "conversations": output_digest(results, stage_id(stage.iteration, Kind.GENERATE), "conversations")
    }
    body: Document = {
        "student": model_digest(stage.student or "", results),
        "training": _hyperparameters(resource.spec.training.sft),
        "seed": resource.spec.seed,
    }
    return inputs, body


def _sample(stage: Stage, resource: MoAA, results: Results) -> tuple[Document, Document]:
    dpo = resource.spec.training.dpo
    if dpo is None:
        raise ValueError("spec.training.dpo: sample belongs to dpo and there is none")
    body: Document = {
        "samples": dpo.samples,
        "sampling": canonical(Sampling(temperature=dpo.temperature, top_p=dpo.top_p, max_tokens=dpo.max_tokens)),
        "models": _models(stage.serves, resource, results),
        "seed": resource.spec.seed,
    }
    return _sliced(stage, resource, results), body


def _judge(stage: Stage, resource: MoAA, results: Results) -> tuple[Document, Document]:
    if resource.spec.judge is None:
        raise ValueError("spec.judge: dpo needs one and there is none; declare it")
    inputs: Document = {"samples": output_digest(results, stage_id(stage.iteration, Kind.SAMPLE), "samples")}
    body: Document = {
        "judge": _judge_document(resource.spec.judge, resource, stage),
        "prompts": _prompts(resource, judge_prompts(resource.spec.judge)),
        "models": _models(stage.serves, resource, results),
        "seed": resource.spec.seed,
    }
    return inputs, body


def _dpo(stage: Stage, resource: MoAA, results: Results) -> tuple[Document, Document]:
    inputs: Document = {"pairs": output_digest(results, stage_id(stage.iteration, Kind.JUDGE), "pairs")}
    body: Document = {
        "student": model_digest(stage.student or "", results),
        "refModel": model_digest(stage.ref_model or "", results),
        "training": _hyperparameters(resource.spec.training.dpo),
        "seed": resource.spec.seed,
    }
    return inputs, body


def _evaluate(stage: Stage, resource: MoAA, results: Results) -> tuple[Document, Document]:
    """Selection and report benchmarks alike. Baselines count by their model, not by iteration 0's answers, which an
    edit of the mixture would repeat."""
    spec = resource.spec
    measured = benchmarks(spec)
    inputs: Document = {b.name: output_digest(results, STAGE_DATA, f"eval-{b.name}") for b in measured}
    judges = [b.judge for b in measured if isinstance(b, Pairwise)]
    prompts = {name for judge in judges for name in judge_prompts(judge)}
    entries: Document = {}
    body: Document = {"benchmarks": entries, "seed": spec.seed}
    for benchmark in measured:
        entry = canonical(benchmark) | {"limit": benchmark.limit}
        if isinstance(benchmark, Pairwise):
            baseline = spec.student if benchmark.baseline == "$base" else benchmark.baseline
            entry["baseline"] = _models([baseline], resource, results)
            entry["judge"] = _judge_document(benchmark.judge, resource, stage)
        entries[benchmark.name] = entry
    if stage.id == BASE_EVALUATE and spec.evaluation.members and spec.mixture is not None:
        body["mixture"] = canonical(resolved_mixture(resource, stage))
        prompts |= set(MIXTURE_PROMPTS)
    body["student"] = model_digest(stage.student or "", results)
    body["prompts"] = _prompts(resource, sorted(prompts))
    body["models"] = _models(stage.serves, resource, results)
    return inputs, body


def _promote(stage: Stage, resource: MoAA, results: Results) -> tuple[Document, Document]:
    evaluation = resource.spec.evaluation
    body: Document = {"candidates": {name: model_digest(name, results) for name in stage.candidates}}
    if not evaluation.selection:
        return {}, body
    # A promotion from before there were selection benchmarks has no scores.
    inputs: Document = {
        need: results[need].outputs["scores"].digest for need in stage.needs if "scores" in results[need].outputs
    }
    body |= {
        "selection": [benchmark.name for benchmark in evaluation.selection],
        "gate": canonical(evaluation.gate),
        "bootstrap": evaluation.bootstrap,
        "confidence": decimal_text(evaluation.confidence),
        "seed": resource.spec.seed,
    }
    return inputs, body


def _hyperparameters(part: Optimization | None) -> Document:
    if part is None:
        raise ValueError("spec.training: the stage's part of it is absent")
    return canonical(part)


def _models(names: Iterable[str], resource: MoAA, results: Results) -> Document:
    described: Document = {}
    for name in names:
        model = resource.spec.model(resource.spec.student if made_by(name) else name)
        described[name] = answering(model, model_digest(name, results))
    return described


def _judge_document(judge: Judge, resource: MoAA, stage: Stage) -> Document:
    document = canonical(resolved_judge(judge, resource, stage))
    if judge.method is JudgeMethod.PANEL:
        del document["criteria"]  # a panel chooses none
    return document


def judge_prompts(judge: Judge) -> tuple[str, ...]:
    """Names of the templates that a judge's method fills."""
    chooses = ("criteria",) if judge.criteria and judge.method is not JudgeMethod.PANEL else ()
    if judge.method is JudgeMethod.MIXTURE:
        return ("criterion", *chooses, "judge", "evaluation", "meta_judge")
    return ("criterion", *chooses, "single")


def _prompts(resource: MoAA, names: Iterable[str]) -> Document:
    texts = effective(resource.spec.prompts)
    return {name: text_digest(texts[name]) for name in names}


_DOCUMENTS: Mapping[Kind, Callable[[Stage, MoAA, Results], tuple[Document, Document]]] = MappingProxyType(
    {
        Kind.RESOLVE: _resolve,
        Kind.STAGE_DATA: _stage_data,
        Kind.GENERATE: _generate,
        Kind.SFT: _sft,
        Kind.SAMPLE: _sample,
        Kind.JUDGE: _judge,
        Kind.DPO: _dpo,
        Kind.EVALUATE: _evaluate,
        Kind.PROMOTE: _promote,
    }
)
