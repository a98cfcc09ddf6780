"""Rules about what requests to a model hold: parameters, further fields and headers."""

import re
from collections.abc import Iterator, Mapping

from moaa.api.models import Parameter
from moaa.api.reading.node import Node
from moaa.errors import Problem

OWN_FIELDS = (
    *("model", "messages", "temperature", "top_p", "max_tokens", "max_completion_tokens", "seed", "n", "stream"),
    *("stream_options", "tools", "tool_choice", "functions", "function_call", "logprobs", "top_logprobs"),
    *("add_generation_prompt", "continue_final_message", "echo"),
)
"""Fields of a request's body that other fields of the resource set, or that would make its answer unreadable."""
_FIELD_INSTEAD = {
    "model": "use endpoint.model",
    "messages": "the rows and prompts say them",
    "temperature": "use temperature where the model is asked",
    "top_p": "use topP where the model is asked",
    "max_tokens": "use maxTokens where the model is asked",
    "max_completion_tokens": "write endpoint.names: {maxTokens: max_completion_tokens}",
    "seed": "calls have seeds of their own, from spec.seed",
    "n": "use samples",
    **dict.fromkeys(("stream", "stream_options"), "answers are read whole"),
    **dict.fromkeys(("logprobs", "top_logprobs"), "verdicts by probability ask for them, and nothing else reads them"),
    **dict.fromkeys(
        ("add_generation_prompt", "continue_final_message", "echo"), "each answer is a new turn, without its prompt"
    ),
    **dict.fromkeys(
        ("tools", "tool_choice", "functions", "function_call"), "an answer is text, and a call of a tool is none"
    ),
}
OWN_NAMES: Mapping[Parameter, tuple[str, ...]] = {
    Parameter.TEMPERATURE: ("temperature",),
    Parameter.TOP_P: ("top_p",),
    Parameter.MAX_TOKENS: ("max_tokens", "max_completion_tokens"),
    Parameter.SEED: ("seed",),
}
"""Those of OWN_FIELDS by which a parameter may go."""
_CHAT_INSTEAD = {
    "chat_template_kwargs": "write the model's chatTemplateArgs, which both follow",
    "chat_template": "write the model's chatTemplate, which both follow",
    "documents": "put them into the rows",
    "add_special_tokens": "remove it",
}
"""Fields by which vLLM makes another text of a conversation than the template alone does."""
OWN_HEADERS = ("content-type", "content-length", "host", "connection", "transfer-encoding", "accept-encoding", "expect")
CREDENTIAL = re.compile(
    r"(?i)(^|[-_])(api[-_]?key|key|secret|password|authorization|cookie|(access|auth|bearer|security)[-_]?token|token)$"
)
"""Names under which credentials travel."""


def fields_of_others(parameter: Parameter) -> list[str]:
    """Fields of a request that are not this parameter's."""
    return [name for name in OWN_FIELDS if name not in OWN_NAMES[parameter]]


def parameter_names(spec: Node) -> Iterator[Problem]:
    for model in spec.at("models"):
        endpoint = model.at("endpoint")
        omitted = {entry.text for entry in endpoint.at("omit")}
        seen: dict[str, Node] = {}
        for parameter in Parameter:
            named = endpoint.at("names", parameter)
            if named.given and parameter in omitted:
                yield named.problem("is also in omit and so never sent; keep one of the two")
            if named.text in fields_of_others(parameter):
                yield named.problem(
                    f"is another field of each request; write what the endpoint calls {parameter}, such as "
                    f"{OWN_NAMES[parameter][-1]}"
                )
            if named.text and (first := seen.setdefault(named.text, named)) is not named:
                yield named.problem(f"is the value of {first.name} already; give each parameter a name of its own")


def extra_fields(spec: Node) -> Iterator[Problem]:
    for model in spec.at("models"):
        endpoint = model.at("endpoint")
        renamed = {str(name.value) for name in endpoint.at("names").items()}
        for entry in model.at("extraBody").items():
            name = str(entry.path[-1])
            if name in OWN_FIELDS or name in renamed:
                instead = _FIELD_INSTEAD.get(name, "every request has it already")
                yield entry.problem(f"cannot be given here: {instead}")
            elif name in _CHAT_INSTEAD and not endpoint.given:
                yield entry.problem(
                    f"would make the server's chats other than the ones that are trained; {_CHAT_INSTEAD[name]}"
                )
            elif CREDENTIAL.search(name):
                yield Problem(entry.name, "(hidden)", "looks like a credential; put it in a Secret, and in a header")


def headers(spec: Node) -> Iterator[Problem]:
    for model in spec.at("models"):
        endpoint = model.at("endpoint")
        seen: dict[str, Node] = {}
        for header in endpoint.at("headers"):
            name = (header.at("name").text or "").lower()
            if isinstance(header.value, dict) and header.at("value").given == header.at("secret").given:
                yield header.problem("give exactly one of value (plain text) and secret (where it is)")
            if name in OWN_HEADERS:
                yield header.at("name").problem("is set by the HTTP client; remove it")
            if name == "authorization" and endpoint.at("secret").given:
                yield header.at("name").problem(f"is set by {endpoint.at('secret').name} already; keep one of the two")
            if name in seen:
                yield header.at("name").problem(f"is the name of {seen[name].name} already; keep one of the two")
            if header.at("value").given and CREDENTIAL.search(name):
                yield Problem(header.at("value").name, "(hidden)", "is a credential; put it in a Secret and name that")
            if name:
                seen.setdefault(name, header)


RULES = (parameter_names, extra_fields, headers)
