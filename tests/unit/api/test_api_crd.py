"""The CRD as a definition: a structural schema that a cluster takes, with rules that compile and cost little.

No API server runs here: `tests.cel` compiles the rules, and `tests.cel_cost` says what one would say of their types
and cost.
"""

import re
from pathlib import Path

import pytest
import yaml

from moaa.api.base import Spec
from moaa.api.crd.definition import crd, crd_yaml
from moaa.api.crd.schema import Additions, structural
from moaa.cli.main import main
from tests import cel
from tests.cel_cost import CRD_LIMIT, NAME_LENGTH, RULE_LIMIT, Estimator
from tests.crd_server import Schema, broken, invalid, kept_by_kubectl, places, root_schema, rules, unknown

ROOT = Path(__file__).parents[3]
COMMITTED = ROOT / "charts" / "moaa" / "files" / "moaas.moaa.dev.yaml"
ANNOTATIONS_LIMIT = 262_144
"""Bytes that an API server takes for all annotations of an object."""


def test_the_definition_in_the_chart_is_current() -> None:
    assert crd_yaml() == COMMITTED.read_text(), "run `make crd` and look at the difference"


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["crd"]) == 0
    assert yaml.safe_load(capsys.readouterr().out) == crd()


def test_the_names_and_the_version() -> None:
    definition = crd()
    spec = definition["spec"]
    assert definition["apiVersion"] == "apiextensions.k8s.io/v1"
    assert definition["metadata"]["name"] == f"{spec['names']['plural']}.{spec['group']}" == "moaas.moaa.dev"
    assert spec["names"] == {
        "kind": "MoAA",
        "listKind": "MoAAList",
        "plural": "moaas",
        "singular": "moaa",
        "shortNames": ["ma"],
    }
    assert [(v["name"], v["served"], v["storage"], v["subresources"]) for v in spec["versions"]] == [
        ("v1alpha1", True, True, {"status": {}})
    ]


def test_it_fits_into_an_object_s_annotations() -> None:
    """kubectl keeps a copy there. Indentation does not count; a quarter stays free for what other tools write."""
    free = ANNOTATIONS_LIMIT * 3 // 4 - len(kept_by_kubectl(crd()).encode())
    assert free >= 0, f"{-free} bytes too many: shorten descriptions and rules"


def test_the_annotation_is_measured_as_it_is_written() -> None:
    assert kept_by_kubectl({"metadata": {"name": "x"}, "a": "ä && <1>"}) == (
        r'{"a":"ä \u0026\u0026 \u003c1\u003e","metadata":{"annotations":{},"name":"x"}}' + "\n"
    )


KNOWN = {
    "type", "description", "properties", "required", "items", "default", "enum", "pattern", "format", "minimum",
    "maximum", "minLength", "maxLength", "minItems", "maxItems", "x-kubernetes-list-type", "x-kubernetes-list-map-keys",
    "x-kubernetes-preserve-unknown-fields", "x-kubernetes-validations",
}  # fmt: skip
"""Keywords in use. None is among what a CRD forbids ($ref, definitions, patternProperties, uniqueItems, title, ...) or
holds only in part (additionalProperties, oneOf, anyOf, allOf, not, nullable)."""


def test_the_schema_is_structural() -> None:
    for path, schema in places(root_schema()):
        assert set(schema) <= KNOWN, path
        assert schema["type"] in ("object", "array", "string", "integer", "boolean"), path
        properties = schema.get("properties", {})
        assert set(schema.get("required", [])) <= set(properties), path
        assert not [name for name in schema.get("required", []) if "default" in properties[name]], path
        if schema["type"] == "object":
            assert properties or schema.get("x-kubernetes-preserve-unknown-fields") or path == ".metadata", path
        for key in schema.get("x-kubernetes-list-map-keys", []):
            assert key in schema["items"]["required"], path
            assert schema["items"]["properties"][key]["type"] in ("string", "integer"), path
        re.compile(schema.get("pattern", ""))
        assert "(?" not in schema.get("pattern", ""), f"{path}: RE2 knows no look-around"
    assert root_schema()["properties"]["metadata"] == {"type": "object"}


def test_every_list_string_and_number_is_bounded() -> None:
    for path, schema in places(root_schema()):
        match schema["type"]:
            case "array":
                assert schema["maxItems"] > 0, path
            case "string" if path not in (".apiVersion", ".kind"):
                assert "maxLength" in schema or "enum" in schema or schema.get("format") == "date-time", path
            case "integer":
                assert "minimum" in schema, path


def test_lists_whose_entries_have_names_are_maps() -> None:
    found = {p: s["x-kubernetes-list-map-keys"] for p, s in places(root_schema()) if "x-kubernetes-list-map-keys" in s}
    choices = "judge.criteriaChoices"
    assert found == {
        ".spec.models": ["name"],
        f".spec.{choices}": ["name"],
        ".spec.evaluation.selection": ["name"],
        f".spec.evaluation.selection[].{choices}": ["name"],
        ".spec.evaluation.report": ["name"],
        f".spec.evaluation.report[].{choices}": ["name"],
        ".status.conditions": ["type"],
        ".status.stages": ["stage"],
        ".status.stages[].outputs": ["name"],
        ".status.stages[].models": ["name"],
        ".status.cost.stages": ["stage"],
        ".status.history": ["iteration"],
    }


def test_what_stands_in_the_classes_stands_in_the_schema() -> None:
    spec = root_schema()["properties"]["spec"]["properties"]
    assert spec["models"]["items"]["properties"]["serving"]["properties"]["gpus"] == {
        "type": "integer",
        "description": "GPUs a replica; 0 serves on the CPU.",
        "minimum": 0,
        "maximum": 64,
        "default": 1,
    }
    assert spec["start"] == {
        "type": "string",
        "description": "Which student an iteration trains.",
        "enum": ["Promoted", "Base"],
        "default": "Promoted",
    }
    assert spec["data"]["properties"]["sft"]["items"]["properties"]["limit"]["description"].endswith(
        "Absent: all, for one iteration only."
    )
    learning_rate = spec["training"]["properties"]["sft"]["properties"]["learningRate"]
    assert (learning_rate["type"], learning_rate["default"]) == ("string", "0.000008")
    assert "mixture" not in root_schema()["properties"]["spec"]["required"]
    assert "default" not in spec["mixture"]


def test_benchmarks_are_one_object_whose_type_says_which_fields_it_has() -> None:
    evaluation = root_schema()["properties"]["spec"]["properties"]["evaluation"]["properties"]
    benchmark = evaluation["selection"]["items"]
    kinds = ["ExactMatch", "Pairwise", "AlpacaEval", "ArenaHard", "MtBench", "LmEval", "Instructions"]
    assert benchmark["properties"]["type"]["enum"] == kinds
    assert benchmark["required"] == ["source", "name", "type"]
    assert "default" not in benchmark["properties"]["baseline"], "an ExactMatch would get one"
    assert benchmark["properties"]["baseline"]["description"].startswith("Pairwise only. Whose answers")


def test_what_stands_again_is_described_once() -> None:
    evaluation = root_schema()["properties"]["spec"]["properties"]["evaluation"]["properties"]
    first, again = evaluation["selection"]["items"], evaluation["report"]["items"]
    assert again["description"] == "Fields as in .spec.evaluation.selection[]."
    assert "description" not in again["properties"]["name"]
    assert again["properties"].keys() == first["properties"].keys()
    assert again["x-kubernetes-validations"] == first["x-kubernetes-validations"]
    judge = first["properties"]["judge"]
    assert judge["description"].endswith("Fields as in .spec.judge.")
    assert judge["properties"]["criteria"]["default"] == 3


# Rules


def test_every_rule_compiles_and_its_cost_is_far_below_the_limits() -> None:
    name = {"type": "string", "maxLength": NAME_LENGTH // 4}
    whole = root_schema()
    root = {
        **whole,
        "properties": {**whole["properties"], "metadata": {"type": "object", "properties": {"name": name}}},
    }
    total = 0
    for path, schema, rule, times in rules(root):
        estimate = Estimator({"self": schema, "oldSelf": schema}).of(cel.tree(rule["rule"]))
        assert estimate.schema["type"] == "boolean", (path, rule["rule"])
        assert estimate.cost * times <= RULE_LIMIT / 4, (path, rule["rule"])
        total += estimate.cost * times
        if says := rule.get("messageExpression"):
            message = Estimator({"self": schema}).of(cel.tree(says))
            assert message.schema["type"] == "string", (path, says)
            total += message.cost
    assert total <= CRD_LIMIT / 4, f"{total:,}: lower maxItems or maxLength, or ask with one match instead of a loop"


THING: Schema = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 10},
        "count": {"type": "integer"},
        "parts": {"type": "array", "maxItems": 4, "items": {"type": "string"}},
        "any": {"type": "array", "items": {"type": "string", "maxLength": 2}},
    },
}


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ("self.nmae == 'x'", "undefined field nmae"),
        ("has(self.nmae)", "undefined field nmae"),
        ("self.count < 1.5", "no such overload"),
        ("self.name + self.count == 'x'", "no such overload"),
        ("self.parts.all(p, self.count)", "no such overload"),
        ("self.name.all(p, true)", "a loop over string"),
        ("self.name.reverse() == 'x'", "reverse is not known"),
        ("self.count.startsWith('x')", "no such overload"),
        ("self.name.matches(self.count)", "no such overload"),
        ("self.name.sum() == 1", "no such overload"),
        ("self.name.split(',') == ['x']", "split is not known"),
        ("sets.contains(self.parts, ['x'])", "undeclared reference to 'sets'"),
        ("self.name == ", "Syntax error"),
    ],
)
def test_a_rule_that_would_not_compile_or_uses_what_is_not_known_here_is_found(rule: str, why: str) -> None:
    with pytest.raises(cel.CelError, match=why):
        Estimator({"self": THING}).of(cel.tree(rule))


def test_a_rule_over_what_has_no_bound_costs_too_much() -> None:
    def cost(rule: str) -> int:
        return Estimator({"self": THING}).of(cel.tree(rule)).cost

    assert cost("self.parts.all(p, p == 'x')") == 2 + 4 * (3 + 1 + 1) + 1
    assert cost("self.any.all(p, p == 'x')") > RULE_LIMIT
    assert cost("self.parts.exists(p, p.contains(self.parts[0]))") > RULE_LIMIT


def test_every_rule_says_where_and_what_to_do() -> None:
    for path, schema, rule, _ in rules(root_schema()):
        message = rule["message"]
        assert "\n" not in message + rule["rule"], path
        assert len(message) <= 256
        field = rule.get("fieldPath", "")
        if field:
            assert has_path(schema, field), (path, field)
            assert field.rpartition(".")[2].lower() in message.lower() or "names" in message or "maxTokens" in message
        assert re.search(r"[;,] |give ", message), f"{path}: {message!r} has no remedy"
        assert set(rule) <= {"rule", "message", "messageExpression", "fieldPath", "reason"}
        assert rule.get("reason", "FieldValueInvalid") in {
            "FieldValueInvalid",
            "FieldValueForbidden",
            "FieldValueRequired",
            "FieldValueDuplicate",
        }


def has_path(schema: Schema, path: str) -> bool:
    for name in path.removeprefix(".").split("."):
        if name not in schema.get("properties", {}):
            return False
        schema = schema["properties"][name]
    return True


def test_a_change_is_ruled_only_where_old_and_new_belong_together() -> None:
    changed = [(path, rule["rule"]) for path, _, rule, _ in rules(root_schema()) if "oldSelf" in rule["rule"]]
    assert sorted(changed) == [
        (".spec", "self.seed == oldSelf.seed"),
        (".spec", "self.student == oldSelf.student"),
        (".spec.storage", "self.uri == oldSelf.uri"),
    ]


def test_every_default_is_valid_by_itself() -> None:
    for path, schema in places(root_schema()):
        if "default" in schema:
            default = schema["default"]
            assert list(unknown(default, schema)) == [], path
            assert [*invalid(default, schema), *broken(default, default, schema)] == [], path


def test_the_columns_are_those_of_the_documentation_and_read_what_is_there() -> None:
    columns = crd()["spec"]["versions"][0]["additionalPrinterColumns"]
    assert " ".join(["NAME", *(column["name"].upper() for column in columns)]) == (
        "NAME PHASE ITERATION STAGE PROGRESS SCORE REASON GPU-HOURS DOLLARS AGE"
    )
    assert [column["name"] for column in columns if column.get("priority")] == ["GPU-Hours", "Dollars"], "wide alone"
    for column in columns[:-1]:
        path = re.sub(r"\[\?\(@\.type==\"Succeeded\"\)\]", "[]", column["jsonPath"])
        assert dict(places(root_schema()))[path]["type"] == "string"


# The generator


class Odd(Spec):
    ratio: float = 0.5


class Mixed(Spec):
    value: int | str


@pytest.mark.parametrize(("kind", "place"), [(Odd, "Odd.ratio: float"), (Mixed, "Mixed.value: a union")])
def test_a_type_that_a_crd_cannot_hold_is_named(kind: type[Spec], place: str) -> None:
    with pytest.raises(TypeError, match=place):
        structural(kind, Additions())
