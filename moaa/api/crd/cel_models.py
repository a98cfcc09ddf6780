"""Rules about declared models, how they are served, and pod templates."""

from collections.abc import Iterator
from decimal import Decimal
from itertools import combinations, product

from moaa.api.base import decimal_text
from moaa.api.crd.rule import Reason, Rule, Rules, listed, matches, quoted
from moaa.api.models import Endpoint, Header, Model, ModelKind, Parameter, ParameterNames, Serving
from moaa.api.reading.rules_endpoints import (
    CREDENTIAL,
    OWN_HEADERS,
    OWN_NAMES,
    fields_of_others,
)
from moaa.api.reading.rules_models import OWN_ARGS
from moaa.api.resource import MoAASpec, Replicas, ServingPolicy


def _unserved() -> str:
    """`serving` is as if it had not been written."""
    parts = []
    for name, info in Serving.model_fields.items():
        field, default = f"self.serving.{info.alias or name}", info.default
        match default:
            case None:
                parts.append(f"!has({field})")
            case bool():
                parts.append(field if default else f"!{field}")
            case int():
                parts.append(f"{field} == {default}")
            case Decimal():
                parts.append(f"{field} == {quoted(decimal_text(default))}")
            case list():
                parts.append(f"size({field}) == 0")
            case dict():  # a pod template
                parts.append(f"!has({field}.metadata) && !has({field}.spec)")
            case _:
                raise TypeError(f"Serving.{name}: no rule says that it has its default")
    return " && ".join(parts)


def _own_args() -> str:
    """No entry is an argument of ours, alone or with =value."""
    spellings = [spelling for arg in OWN_ARGS for spelling in _spellings(arg)]
    with_value = " || ".join(f"a.startsWith({quoted(f'{spelling}=')})" for spelling in spellings)
    return f"self.args.all(a, !(a in {listed(spellings)} || {with_value}))"


def _spellings(arg: str) -> Iterator[str]:
    """vLLM reads each `_` in a long argument's name as `-`."""
    if not arg.startswith("--"):
        yield arg
        return
    first, *words = arg.removeprefix("--").split("-")
    for signs in product("-_", repeat=len(words)):
        yield f"--{first}" + "".join(sign + word for sign, word in zip(signs, words, strict=True))


def _no_dollars() -> str:
    return "(!has(self.budget.dollars) && !has(self.budget.perIteration.dollars))"


RULES: Rules = {
    Endpoint: (
        *(
            Rule(
                f"!({quoted(parameter)} in self.omit) || !has(self.names.{parameter})",
                f"{parameter} is also in omit and so never sent; keep one of the two",
                f".names.{parameter}",
            )
            for parameter in Parameter
        ),
        Rule(
            "!has(self.secret) || !self.headers.exists(h, h.name.lowerAscii() == 'authorization')",
            "headers has Authorization, which secret sets already; keep one of the two",
            ".headers",
            Reason.DUPLICATE,
        ),
        Rule(
            "self.headers.all(a, self.headers.exists_one(b, a.name.lowerAscii() == b.name.lowerAscii()))",
            "headers: two have the same name; keep one",
            ".headers",
            Reason.DUPLICATE,
        ),
    ),
    ParameterNames: (
        *(
            Rule(
                f"!has(self.{parameter}) || !(self.{parameter} in {listed(fields_of_others(parameter))})",
                f"{parameter} has the name of another field of each request; write what the endpoint calls it, such as "
                f"{OWN_NAMES[parameter][-1]}",
                f".{parameter}",
            )
            for parameter in Parameter
        ),
        Rule(
            " && ".join(
                f"(!has(self.{a}) || !has(self.{b}) || self.{a} != self.{b})" for a, b in combinations(Parameter, 2)
            ),
            "two parameters have the same name; give each one of its own",
            reason=Reason.DUPLICATE,
        ),
    ),
    Header: (
        Rule("has(self.value) != has(self.secret)", "give exactly one of value (plain text) and secret (where it is)"),
        Rule(
            f"!(self.name.lowerAscii() in {listed(list(OWN_HEADERS))})",
            "name is a header that the HTTP client sets; remove it",
            ".name",
            Reason.FORBIDDEN,
        ),
        Rule(
            f"!has(self.value) || !{matches('self.name', CREDENTIAL.pattern)}",
            "value is a credential, by the header's name; put it in a Secret and name that",
            ".value",
            Reason.FORBIDDEN,
        ),
    ),
    Serving: (
        Rule(
            _own_args(),
            "args sets what the executor or another field does (source, chatTemplate, maxModelLen, …); remove that",
            ".args",
            Reason.FORBIDDEN,
        ),
        Rule(
            "self.nodes == 1 || (self.gpus > 0 && self.gpus % self.nodes == 0)",
            "nodes does not divide gpus, of which each machine has an equal part, at least one; change one of the two",
            ".nodes",
        ),
    ),
    ServingPolicy: (
        Rule(
            f"self.replicas != {quoted(Replicas.AUTO)} || has(self.maxGpus)",
            "replicas Auto needs a limit; give maxGpus, the GPUs that all servers may hold",
            ".replicas",
            Reason.REQUIRED,
        ),
        Rule(
            f"!has(self.maxGpus) || self.replicas == {quoted(Replicas.AUTO)}",
            "maxGpus has no effect without replicas Auto; remove it, or write that",
            ".maxGpus",
        ),
    ),
    Model: (
        Rule(
            "!has(self.chatTemplate) || self.chatTemplate.contains('{')",
            "chatTemplate must be the text of a Jinja template; a cluster sees no files of yours",
            ".chatTemplate",
        ),
        Rule(
            "!has(self.endpoint) || !has(self.chatTemplate)",
            "chatTemplate is for models that we serve; remove it",
            ".chatTemplate",
            Reason.FORBIDDEN,
        ),
        Rule(
            "has(self.source) != has(self.endpoint)",
            "give exactly one of source (we serve it) and endpoint (somebody else does)",
        ),
        Rule(
            f"!has(self.endpoint) || has(self.source) || ({_unserved()})",
            "serving has no effect on an endpoint; remove it",
            ".serving",
            Reason.FORBIDDEN,
        ),
        Rule(
            "!self.name.startsWith('vllm')",
            "name starts with 'vllm', and vLLM would read Kubernetes' variables of that name as settings; rename it",
            ".name",
        ),
    ),
    MoAASpec: (
        Rule(
            f"{_no_dollars()} || self.models.all(m, !has(m.endpoint) || has(m.endpoint.price))",
            "budget has a limit in dollars, which needs the price of every endpoint of models; write them",
            ".models",
            Reason.REQUIRED,
        ),
        Rule(
            f"{_no_dollars()} || has(self.cost.gpuHourUsd) || (self.training.resources.gpusPerWorker == 0 && "
            "self.models.all(m, has(m.endpoint) || m.serving.gpus == 0))",
            "budget has a limit in dollars, which needs cost.gpuHourUsd; write what one GPU costs an hour",
            ".cost",
            Reason.REQUIRED,
        ),
        Rule(
            "self.models.exists(m, m.name == self.student)",
            "student is not declared in spec.models; declare it there or name one of them",
            ".student",
            says="'student ' + self.student + ' is not declared in spec.models; declare it there or name one of them'",
        ),
        Rule(
            f"!self.models.exists(m, m.name == self.student && m.kind == {quoted(ModelKind.REWARD)})",
            "student is a model of kind Reward, which writes no answers; name one of kind Chat",
            ".student",
        ),
        Rule(
            "!self.models.exists(m, m.name == self.student && has(m.endpoint))",
            "student is an endpoint and has no weights to train; name a model with a source",
            ".student",
        ),
        Rule(
            "!self.models.exists(m, m.name == self.student && !has(m.endpoint) && has(m.source) && "
            "m.source.startsWith('pvc://'))",
            "student comes from pvc://, which training cannot read; give it an hf://, s3:// or file:// source",
            ".student",
        ),
        Rule(
            "!has(self.serving.maxGpus) || self.models.all(m, has(m.endpoint) || "
            "m.serving.gpus * m.serving.replicas <= self.serving.maxGpus)",
            "serving.maxGpus is less than one model's gpus × replicas; raise it, or lower those",
            ".serving.maxGpus",
        ),
    ),
}
