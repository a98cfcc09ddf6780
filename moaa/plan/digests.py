"""Content digests of models and tables, as finished stages have recorded them."""

from collections.abc import Iterable, Mapping

from moaa.api import MoAA
from moaa.api.mixture import Judge, parts_of
from moaa.api.models import Model
from moaa.api.prompts import effective
from moaa.api.training import Optimization
from moaa.errors import StageError
from moaa.judge.methods import method_of
from moaa.plan.canonical import canonical, digest_of, effective_args, text_digest
from moaa.plan.ids import RESOLVE, made_by
from moaa.plan.result import Output, StageResult
from moaa.plan.stage import Stage
from moaa.plan.students import mixture_method, resolved_judge, resolved_mixture

Results = Mapping[str, StageResult]
"""Of finished stages, by stage id."""
Document = dict[str, object]
"""What a fingerprint hashes, or a part of it."""


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
    that whatever repeats a stage also asks its models again. An endpoint's headers are not in it: they say who asks.
    """
    document: Document = {
        "digest": digest,
        "args": effective_args(model.serving.args),
        "maxModelLen": model.max_model_len,
    }
    # Later fields: in the document only where they say something.
    if model.extra_body:
        document["extraBody"] = model.extra_body
    if model.endpoint is not None and model.endpoint.omit:
        document["omit"] = sorted(set(model.endpoint.omit))
    if model.endpoint is not None and (names := model.endpoint.names.model_dump(by_alias=True, exclude_none=True)):
        document["names"] = names
    return document | chat_of(model)


def chat_of(model: Model) -> Document:
    """The chat template and its arguments that the resource gives a model; empty where it gives none."""
    document: Document = {}
    if model.chat_template is not None:
        document["chatTemplate"] = text_digest(model.chat_template)
    if model.chat_template_args:
        document["chatTemplateArgs"] = dict(model.chat_template_args)
    return document


def taught(resource: MoAA) -> Document:
    """What turns the same rows into other tokens in a training, as far as the resource states it."""
    thinking = resource.spec.training.thinking
    return chat_of(resource.spec.model(resource.spec.student)) | ({"thinking": str(thinking)} if thinking else {})


def looks(spec: Optimization) -> Document:
    """When a training looks at held-out rows, where that decides which weights it ends with."""
    return {"evalSteps": spec.eval_steps} if spec.looks_decide else {}


def answering_digest(model: Model, digest: str) -> str:
    """What identifies a model in the identity of a call (`moaa.client.request`)."""
    return digest_of(answering(model, digest))


def judge_document(judge: Judge, resource: MoAA, stage: Stage) -> Document:
    """A judge without the fields that its method never reads."""
    resolved = resolved_judge(judge, resource, stage)
    ignored = method_of(resolved).without_effect
    return {name: value for name, value in canonical(resolved).items() if name not in ignored}


def mixture_document(resource: MoAA, stage: Stage) -> Document:
    """A mixture without the fields that its method never reads, and with the judge that chooses for it, if one does."""
    mixture = resolved_mixture(resource, stage)
    ignored = mixture_method(resource, stage).without_effect
    document: Document = {name: value for name, value in canonical(mixture).items() if name not in ignored}
    if parts_of(mixture.method).has_judge:
        assert resource.spec.judge is not None, "the resource's validation asks for one"
        document["judge"] = judge_document(resource.spec.judge, resource, stage)
    return document


def output_digest(results: Results, stage_id: str, output: str) -> str:
    """Digest of what a finished stage wrote. Raises StageError: the result does not hold it."""
    return _output(results, stage_id, output).digest


def models_document(names: Iterable[str], resource: MoAA, results: Results) -> Document:
    """What of each named model bears on its answers. Raises StageError: a digest is not there."""
    described: Document = {}
    for name in names:
        model = resource.spec.model(resource.spec.student if made_by(name) else name)
        described[name] = answering(model, model_digest(name, results))
    return described


def output_rows(results: Results, stage_id: str, output: str) -> int:
    """Rows of a table that a finished stage wrote. Raises StageError: the result does not hold it."""
    return _output(results, stage_id, output).rows


def prompts_document(resource: MoAA, names: Iterable[str]) -> Document:
    """Digests of the effective templates."""
    texts = effective(resource.spec.prompts)
    return {name: text_digest(texts[name]) for name in names}


def _output(results: Results, stage_id: str, output: str) -> Output:
    result = results.get(stage_id)
    if result is None or output not in result.outputs:
        raise StageError(
            f"{stage_id}: its result holds no output {output!r}; its job is of another version than the plan"
        )
    return result.outputs[output]
