"""Rules that join fields of a resource: what no single field can say about itself.

`check` holds for a parsed resource and `check_document` for a document that may not even parse, so that a user sees
every mistake at once. Both run the same rules; `warnings` is advice.
"""

from moaa.api.reading import rules_addresses, rules_asking, rules_data, rules_endpoints, rules_models
from moaa.api.reading.advice import ADVICE
from moaa.api.reading.node import Node
from moaa.api.resource import MoAA
from moaa.errors import Problem

RULES = (*rules_models.RULES, *rules_addresses.RULES, *rules_endpoints.RULES, *rules_asking.RULES, *rules_data.RULES)


def check(resource: MoAA) -> list[Problem]:
    """Every broken rule; empty when the resource can be planned and run."""
    return check_document(resource.model_dump(mode="json", by_alias=True))


def check_document(root: object) -> list[Problem]:
    """The same for a plain document of any shape; what a rule cannot find or read, it says nothing about."""
    spec, name = Node(root).at("spec"), Node(root).at("metadata", "name")
    problems = [problem for rule in RULES for problem in rule(spec)] if spec.given else []
    if (name.text or "").startswith("vllm"):
        problems.append(
            name.problem("starts with 'vllm', which vLLM's own environment variables do too; choose another")
        )
    return problems


def warnings(resource: MoAA) -> list[str]:
    """What is allowed and probably not meant, each naming its field."""
    spec = Node(resource.model_dump(mode="json", by_alias=True)).at("spec")
    return [sentence for advise in ADVICE for sentence in advise(spec)]
