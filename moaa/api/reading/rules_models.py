"""Rules about declared models and how they are served."""

from collections import Counter
from collections.abc import Iterator

from moaa.api.base import SecretKey
from moaa.api.models import MAX_NODES, TEMPLATE_ARGUMENTS_OF_OURS, Serving
from moaa.api.reading.node import Node
from moaa.api.reading.wording import suggestion
from moaa.api.resource import Replicas
from moaa.api.training import TrainingResources
from moaa.errors import Problem

DEFAULT_GPUS = int(Serving.model_fields["gpus"].default)
DEFAULT_GPUS_PER_WORKER = int(TrainingResources.model_fields["gpus_per_worker"].default)

OWN_ARGS = (
    "--model",
    "--host",
    "--port",
    "--uds",
    "--served-model-name",
    "--max-model-len",
    "--api-key",
    "--api-key-file",
    "--revision",
    "--tensor-parallel-size",
    "-tp",
    "--pipeline-parallel-size",
    "-pp",
    "--nnodes",
    "--node-rank",
    "--master-addr",
    "--master-port",
    "--headless",
    "--max-num-seqs",
    "--root-path",
    "--ssl-keyfile",
    "--config",
    "--hf-token",
    "--chat-template",
    "--default-chat-template-kwargs",
)
"""vLLM arguments that executors set from other fields, or that would make a server unreachable for them."""

_INSTEAD = {
    "--model": "source says which",
    "--max-model-len": "use serving.maxModelLen",
    "--revision": "use the model's revision",
    "--tensor-parallel-size": "use serving.gpus",
    "-tp": "use serving.gpus",
    "--pipeline-parallel-size": "use serving.nodes",
    "-pp": "use serving.nodes",
    "--nnodes": "use serving.nodes",
    "--max-num-seqs": "use serving.maxConcurrency",
    "--hf-token": "use tokenSecret",
    "--chat-template": "use the model's chatTemplate, which training follows too",
    "--default-chat-template-kwargs": "use the model's chatTemplateArgs, which training follows too",
    "--api-key": "servers of a run are reached inside it only",
    "--api-key-file": "servers of a run are reached inside it only",
}

_UNSERVED = Serving().model_dump(mode="json", by_alias=True)
"""A serving that says no more than none does."""

MAX_VOLUMES = 64
MAX_CONTAINERS = 16
"""Entries of a pod template's lists: the CRD's rules about them cost something for each."""
_LISTS_IN_TEMPLATES = {"volumes": MAX_VOLUMES, "containers": MAX_CONTAINERS, "initContainers": MAX_CONTAINERS}
_FLAGS = ("privileged", "allowPrivilegeEscalation")

_FORBIDDEN_IN_TEMPLATES = (
    "serviceAccountName",
    "serviceAccount",
    "hostPath",
    "hostNetwork",
    "hostPID",
    "hostIPC",
    "procMount",
    "serviceAccountToken",
)


def declared(spec: Node) -> list[str]:
    return [name for model in spec.at("models") if (name := model.at("name").text)]


def models_named(spec: Node, name: str | None) -> list[Node]:
    """One, unless a name stands twice by mistake."""
    return [model for model in spec.at("models") if name and model.at("name").text == name]


def names(spec: Node) -> Iterator[Problem]:
    seen: dict[str, Node] = {}
    for model in spec.at("models"):
        name = model.at("name")
        if not name.text:
            continue
        if name.text in seen:
            yield name.problem(f"is already the name of {seen[name.text].name}; give each model its own")
        seen.setdefault(name.text, model)
        if name.text.startswith("vllm"):
            yield name.problem(
                "starts with 'vllm': Kubernetes would set VLLM_… variables for a Service of that name, and vLLM reads "
                "those as its settings; choose another name"
            )


def student(spec: Node) -> Iterator[Problem]:
    name = spec.at("student")
    if not name.text:
        return
    known = declared(spec)
    models = models_named(spec, name.text)
    if not models and known:  # else spec.models is what is wrong
        yield name.problem(f"is not declared in spec.models; {suggestion(name.text, known, what='declared')}")
    if any(model.at("endpoint").given for model in models):
        yield name.problem("is an endpoint and has no weights to train; name a model with a source")
    served = [model.at("source").text or "" for model in models if not model.at("endpoint").given]
    if any(source.startswith("pvc://") for source in served):
        yield name.problem("comes from pvc://, which training cannot read; give it an hf://, s3:// or file:// source")


def origins(spec: Node) -> Iterator[Problem]:
    for model in spec.at("models"):
        endpoint, serving = model.at("endpoint"), model.at("serving")
        if isinstance(model.value, dict) and model.at("source").given == endpoint.given:
            yield model.problem("give exactly one of source (we serve it) and endpoint (somebody else does)")
        elif endpoint.given and any(_differs(field) for field in serving.items()):
            yield model.problem("serving has no effect on an endpoint; remove it")


def _differs(field: Node) -> bool:
    """Not about a field that serving does not have: that is a mistake of its own."""
    name = str(field.path[-1])
    return name in _UNSERVED and field.value != _UNSERVED[name]


def auto_replicas(spec: Node) -> Iterator[Problem]:
    serving, bound = spec.at("serving"), spec.at("serving", "maxGpus")
    if serving.at("replicas").text == Replicas.AUTO and not bound.given:
        yield serving.at("replicas").problem("Auto needs a limit: give maxGpus, the GPUs that all servers may hold")
    if bound.given and serving.at("replicas").text != Replicas.AUTO:
        yield bound.problem("has no effect without replicas: Auto; remove it, or write that")
    for model in spec.at("models"):
        gpus = model.at("serving", "gpus").integer(1) * model.at("serving", "replicas").integer(1)
        if not model.at("endpoint").given and gpus > bound.integer(gpus):
            yield bound.problem(
                f"is less than the {gpus} GPUs of {model.at('name').text} (gpus × replicas); raise it, or lower those"
            )


def serving_nodes(spec: Node) -> Iterator[Problem]:
    for model in spec.at("models"):
        serving = model.at("serving")
        nodes, gpus = serving.at("nodes").integer(1), serving.at("gpus").integer(DEFAULT_GPUS)
        if nodes > 1 and gpus == 0:
            yield serving.at("nodes").problem(
                "needs GPUs: vLLM serves over several machines as a pipeline, which it does not on CPUs; remove it"
            )
        elif nodes > 0 and gpus % nodes:
            whole = ", ".join(str(n) for n in range(1, MAX_NODES + 1) if gpus % n == 0)
            yield serving.at("nodes").problem(
                f"does not divide gpus ({gpus}), of which each machine has an equal part; write one of {whole}, or "
                "other gpus"
            )


def serving_args(spec: Node) -> Iterator[Problem]:
    for model in spec.at("models"):
        for arg in model.at("serving", "args"):
            flag = (arg.text or "").partition("=")[0]
            flag = flag.replace("_", "-") if flag.startswith("--") else flag
            if flag in OWN_ARGS:
                instead = _INSTEAD.get(flag, "the executor sets it")
                yield Node(flag, arg.path).problem(f"cannot be given here: {instead}")


def chat_templates(spec: Node) -> Iterator[Problem]:
    for model in spec.at("models"):
        template, arguments = model.at("chatTemplate"), model.at("chatTemplateArgs")
        if model.at("endpoint").given:
            if template.given or list(arguments.items()):
                yield (template if template.given else arguments).problem("is for models that we serve; remove it")
        elif template.text and "{" not in template.text:
            yield template.problem(
                "is no Jinja template: write its text, or file://./name.jinja in a file that moaa reads (a cluster "
                "sees no files of yours)"
            )
        for entry in arguments.items():
            if entry.path[-1] in TEMPLATE_ARGUMENTS_OF_OURS:
                yield entry.problem("is decided by each request; remove it")


def templates(spec: Node) -> Iterator[Problem]:
    resources = spec.at("training", "resources")
    for holder in [*(model.at("serving") for model in spec.at("models")), resources]:
        template = holder.at("template")
        yield from _forbidden(template)
        yield from _mapping(template.at("spec"))
        yield from _lists(template.at("spec"))


def _lists(pod: Node) -> Iterator[Problem]:
    """As far as the CRD knows a pod: a malformed one would fail only when pods are made."""
    for name, most in _LISTS_IN_TEMPLATES.items():
        field = pod.at(name)
        entries = list(field)
        if field.given and not isinstance(field.value, list):
            yield field.problem("must be a list; start each entry with '- '")
        if len(entries) > most:
            yield field.problem(f"must have at most {most} entries, not {len(entries)}")
        for entry in entries:
            yield from _mapping(entry, required=True)
            if name != "volumes":
                yield from _security(entry.at("securityContext"))


def _mapping(node: Node, *, required: bool = False) -> Iterator[Problem]:
    if not isinstance(node.value, dict) and (node.given or required):
        yield node.problem("must be a mapping of fields")


def _security(context: Node) -> Iterator[Problem]:
    yield from _mapping(context)
    for flag in (context.at(name) for name in _FLAGS):
        if flag.given and not isinstance(flag.value, bool):
            yield flag.problem("must be true or false, without quotes")


def _forbidden(node: Node) -> Iterator[Problem]:
    for inner in node.items():
        field = inner.path[-1]
        if field in _FORBIDDEN_IN_TEMPLATES:
            yield inner.problem("is not allowed in a pod template: it would reach beyond the run; remove it")
        elif field in _FLAGS and inner.value is True:
            yield inner.problem("is not allowed in a pod template; remove it")
        else:
            yield from _forbidden(inner)
    for entry in node:
        yield from _forbidden(entry)


def secrets_collide(spec: Node) -> Iterator[Problem]:
    """`moaa run` reads {name, key} from one environment variable; two pairs must not share it."""
    seen: dict[str, tuple[str, str]] = {}
    for model in spec.at("models"):
        headers = [header.at("secret") for header in model.at("endpoint", "headers")]
        for secret in (model.at("tokenSecret"), model.at("endpoint", "secret"), *headers):
            name, key = secret.at("name").text, secret.at("key").text
            if not name or not key:
                continue
            variable = SecretKey.model_construct(name=name, key=key).environment_variable
            if seen.setdefault(variable, (name, key)) != (name, key):
                yield Problem(secret.name, "", f"would be read from {variable}, as another secret is; rename one")


def unused(spec: Node, used: Counter[str]) -> Iterator[str]:
    for model in spec.at("models"):
        name = model.at("name").text
        if name and name not in used and name != spec.at("student").text:
            yield f"{model.name}: {name!r} is declared and asked by nobody; it is resolved but never served"


def budget_prices(spec: Node) -> Iterator[Problem]:
    """Dollars can be counted only where everything that costs some has a price."""
    budget = spec.at("budget")
    limits = [limit for limit in (budget.at("dollars"), budget.at("perIteration", "dollars")) if limit.given]
    if not limits:
        return
    models = list(spec.at("models"))
    for model in models:
        if model.at("endpoint").given and not model.at("endpoint", "price").given:
            remedy = f'is needed by {limits[0].name}; write what its calls cost, "0" where they are free'
            yield Problem(model.at("endpoint", "price").name, "", remedy)
    if holds_gpus(spec) and not spec.at("cost", "gpuHourUsd").given:
        remedy = f"is needed by {limits[0].name}; write what one GPU costs an hour"
        yield Problem(spec.at("cost", "gpuHourUsd").name, "", remedy)


def holds_gpus(spec: Node) -> bool:
    """Whether a server or a training asks for any."""
    trains = spec.at("training", "resources", "gpusPerWorker").integer(DEFAULT_GPUS_PER_WORKER)
    own = [model for model in spec.at("models") if not model.at("endpoint").given]
    return trains > 0 or any(model.at("serving", "gpus").integer(DEFAULT_GPUS) > 0 for model in own)


RULES = (
    names,
    student,
    origins,
    auto_replicas,
    serving_nodes,
    serving_args,
    chat_templates,
    templates,
    secrets_collide,
    budget_prices,
)
