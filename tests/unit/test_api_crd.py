"""The CRD: a structural schema that a cluster takes, refusing what `moaa validate` refuses and nothing it accepts.

No API server runs here: `tests.crd_server` does what one does, and `tests.cel` evaluates the rules.
"""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from moaa import cli
from moaa.api import MoAA
from moaa.api.base import Spec
from moaa.api.crd import crd, crd_yaml
from moaa.api.load import load, load_text
from moaa.api.schema import Additions, structural
from moaa.api.status import MAX_STAGES, MoAAStatus, StageStatus
from moaa.errors import ResourceError
from moaa.plan.stage import StageResult
from tests import cel
from tests.cel_cost import CRD_LIMIT, NAME_LENGTH, RULE_LIMIT, Estimator
from tests.crd_server import RULES, Refusal, Schema, admit, broken, complete, invalid, root_schema, unknown
from tests.plan_helpers import tree
from tests.unit.test_api_load import BAD

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent / "golden" / "moaas.moaa.dev.yaml"
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
TINY = ROOT / "examples" / "tiny" / "moaa.yaml"
APPLY_LIMIT = 262_144
"""Bytes of an annotation, in which `kubectl apply` keeps the object."""


def places(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Every schema with its path; `[]` is an entry of a list."""
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from places(inner, f"{path}.{name}")
    if "items" in schema:
        yield from places(schema["items"], f"{path}[]")


def rules(schema: Schema, times: int = 1, path: str = "") -> Iterator[tuple[str, Schema, dict[str, str], int]]:
    """Every rule with its place, the place's schema and how often it may run on one resource."""
    for rule in schema.get(RULES, []):
        yield path, schema, rule, times
    for name, inner in schema.get("properties", {}).items():
        yield from rules(inner, times, f"{path}.{name}")
    if "items" in schema:
        yield from rules(schema["items"], times * schema["maxItems"], f"{path}[]")


def test_the_golden_file_is_current() -> None:
    assert crd_yaml() == GOLDEN.read_text(), f"look at the difference, then: moaa crd > {GOLDEN.relative_to(ROOT)}"


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["crd"]) == 0
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


def test_it_fits_into_what_kubectl_apply_takes() -> None:
    as_applied = json.dumps(crd(), separators=(",", ":"), ensure_ascii=False).encode()
    assert len(as_applied) < 80 * 1024
    assert len(crd_yaml().encode()) < APPLY_LIMIT / 2


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
    assert spec["start"] == {"type": "string", "enum": ["Promoted", "Base"], "default": "Promoted"}
    assert spec["data"]["properties"]["sft"]["items"]["properties"]["limit"]["description"].endswith(
        "Absent: all rows, for one iteration only."
    )
    learning_rate = spec["training"]["properties"]["sft"]["properties"]["learningRate"]
    assert (learning_rate["type"], learning_rate["default"]) == ("string", "0.000008")
    assert "mixture" not in root_schema()["properties"]["spec"]["required"]
    assert "default" not in spec["mixture"]


def test_benchmarks_are_one_object_whose_type_says_which_fields_it_has() -> None:
    benchmark = root_schema()["properties"]["spec"]["properties"]["evaluation"]["properties"]["report"]["items"]
    assert benchmark["properties"]["type"]["enum"] == ["ExactMatch", "Pairwise"]
    assert benchmark["required"] == ["source", "name", "type"]
    assert "default" not in benchmark["properties"]["baseline"], "an ExactMatch would get one"
    assert benchmark["properties"]["baseline"]["description"].startswith("Pairwise only. Whose answers")


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
        estimate = Estimator({"self": schema, "oldSelf": schema}).of(cel.parse(rule["rule"]))
        assert estimate.schema["type"] == "boolean", (path, rule["rule"])
        assert estimate.cost * times <= RULE_LIMIT / 4, (path, rule["rule"])
        total += estimate.cost * times
        if says := rule.get("messageExpression"):
            message = Estimator({"self": schema}).of(cel.parse(says))
            assert message.schema["type"] == "string", (path, says)
            total += message.cost
    assert total <= CRD_LIMIT / 4


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


# Resources


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_admitted_and_the_server_s_defaults_are_ours(path: Path) -> None:
    document = yaml.safe_load(path.read_text())
    assert list(unknown(document, root_schema())) == []
    stored, refusals = admit(document)
    assert refusals == []
    assert as_resource(stored) == load(path)


def test_the_tiny_resource_is_admitted_once_its_paths_are_absolute() -> None:
    text = re.sub(r"file://\.\.?/", "file:///tiny/", TINY.read_text())
    stored, refusals = admit(yaml.safe_load(text))
    assert refusals == []
    assert as_resource(stored) == load_text(text)


def as_resource(stored: Schema) -> MoAA:
    return MoAA.model_validate_json(json.dumps(stored), strict=True, by_alias=True, by_name=False)


JUDGE = {"aggregator": {"model": "agg"}, "judges": [{"model": "a"}]}
THREE = [{"model": "a"}, {"model": "b"}, {"model": "eva"}]
POD = {
    "metadata": {"labels": {"team": "x"}},
    "spec": {
        "nodeSelector": {"gpu": "h100"},
        "volumes": [{"name": "cache", "emptyDir": {"sizeLimit": "1Gi"}}],
        "containers": [{"name": "main", "securityContext": {"privileged": False, "runAsUser": 7}}],
    },
}
GOOD: dict[str, dict[str, Any]] = {
    "as it is": {},
    "an endpoint": {"spec__models__0": {"name": "a", "endpoint": {"url": "https://x/v1", "model": "m"}}},
    "an endpoint with an empty serving": {
        "spec__models__0": {"name": "a", "serving": {}, "endpoint": {"url": "https://x:8/v1?a=b", "model": "m"}}
    },
    "a revision of a hub model": {
        "spec__models__0": {
            "name": "a",
            "source": "hf://o/m",
            "revision": "main",
            "tokenSecret": {"name": "a", "key": "b"},
        }
    },
    "a model in a bucket": {"spec__models__0__source": "s3://bucket/x"},
    "other arguments": {"spec__models__0__serving": {"args": ["--quantization", "fp8", "--models-are=fine", "model"]}},
    "a pod template": {"spec__models__0__serving": {"template": POD}, "spec__training__resources": {"template": POD}},
    "a panel of three": {"spec__judge": {"method": "Panel", "judges": THREE}},
    "a single judge": {"spec__judge": {"method": "Single", "aggregator": {"model": "a"}}},
    "a student that judges": {"spec__judge": {**JUDGE, "judges": [{"model": "$student"}], "allowStudent": True}},
    "no criteria chosen": {"spec__judge": {**JUDGE, "criteria": 0}},
    "own criteria": {
        "spec__judge": {**JUDGE, "criteria": 1, "criteriaChoices": [{"name": "Short", "definition": "d"}]},
    },
    "the student in the second layer": {
        "spec__mixture__addStudent": True,
        "spec__mixture__layers": [
            {"proposers": [{"model": "a", "samples": 3}]},
            {"proposers": [{"model": "$student"}, {"model": "b", "samples": 2}]},
        ],
        "spec__mixture__minProposals": 3,
    },
    "a baseline of its own": {"spec__evaluation__selection__0__baseline": "eva"},
    "the base as baseline": {"spec__evaluation__selection__0__baseline": "$base"},
    "an exact match": {
        "spec__evaluation__report": [
            {"name": "x", "type": "ExactMatch", "source": "s3://b/x.parquet", "sampling": {"maxTokens": 9}}
        ]
    },
    "numbers": {
        "spec__training__sft": {"epochs": "0.5", "learningRate": "1E-5", "warmupRatio": "0", "weightDecay": "1"},
        "spec__mixture__aggregator": {"model": "agg", "temperature": "2", "topP": "0.95"},
    },
    "prompts": {
        "spec__prompts": {
            "aggregate": "Look: {proposals}\n{",
            "proposal": "{number}) {text}\n",
            "judge": "{question} {answer_a} {answer_b}",
        }
    },
    "batches over workers": {
        "spec__training__resources": {"workers": 4},
        "spec__training__sft": {"batchSize": 24, "microBatchSize": 3},
        "spec__training__dpo": {"batchSize": 8, "microBatchSize": 2},
    },
    "training on CPUs": {
        "spec__training__resources": {"gpusPerWorker": 0},
        "spec__training__sft": {"precision": "FP32"},
        "spec__training__dpo": {"precision": "FP32"},
    },
    "iterations over the same rows": {
        "spec__iterations": 2,
        "spec__data__allowReuse": True,
        "spec__data__sft": [{"source": "hf://datasets/o/d"}],
    },
    "iterations with limits": {"spec__iterations": 2},
    "no mixture for given answers": {
        "spec__mixture": None,
        "spec__data__sft": [{"source": "hf://datasets/o/d/", "answers": "Given", "split": "x", "revision": "main"}],
    },
    "a loss is tolerated": {"spec__evaluation__gate": {"rule": "LowerBound", "minGain": "-0.02"}},
    "storage in S3": {
        "spec__storage": {"uri": "s3://bucket/x", "endpoint": "https://s3.x", "region": "eu", "secret": {"name": "s"}}
    },
}


@pytest.mark.parametrize("changes", GOOD.values(), ids=GOOD.keys())
def test_what_moaa_validate_accepts_is_admitted(changes: dict[str, Any]) -> None:
    document = tree(**changes)
    stored, refusals = admit(document)
    assert refusals == []
    assert as_resource(stored) == load_text(yaml.safe_dump(document))


def test_a_field_without_a_value_is_a_field_left_out() -> None:
    document = tree()
    document["spec"]["evaluation"] = None
    assert admit(document)[0] == admit(tree(spec__evaluation=None))[0]


NOT_IN_THE_CRD = {
    "api version": "the server knows the resource by it",
    "kind": "the server knows the resource by it",
    "no name": "the server's own rule about metadata",
    "name is a number": "the server's own rule about metadata",
    "secrets that share a variable": "is about environment variables of `moaa run`",
}


def refused(document: Schema) -> list[Refusal]:
    """By the schema, by rules, or by the strict validation of fields that kubectl asks for."""
    fields = [Refusal(path, "unknown field", "strict") for path in unknown(document, root_schema())]
    return [*fields, *admit(document)[1]]


MORE_BAD: dict[str, tuple[dict[str, Any], str]] = {
    "escalation in a template": (
        {
            "spec__training__resources": {
                "template": {
                    "spec": {
                        "initContainers": [{"securityContext": {"allowPrivilegeEscalation": True, "procMount": "x"}}]
                    }
                }
            }
        },
        "spec.training.resources.template.spec.initContainers[0].securityContext.allowPrivilegeEscalation",
    ),
    "the host in a template": (
        {"spec__models__0__serving": {"template": {"spec": {"hostPID": True, "hostIPC": True, "serviceAccount": "x"}}}},
        "spec.models[0].serving.template.spec.hostPID",
    ),
    "dpo batch does not divide": (
        {"spec__training__resources": {"workers": 3}, "spec__training__sft": {"batchSize": 3}},
        "spec.training.dpo.batchSize",
    ),
    "key in an address": (
        {"spec__storage": {"uri": "s3://bucket/x", "endpoint": "https://s3/?x=1&api_key=2"}},
        "spec.storage.endpoint",
    ),
    "region of a folder": ({"spec__storage": {"uri": "file:///x", "region": "x"}}, "spec.storage.region"),
    "judge longer than its window": (
        {"spec__judge": {"method": "Single", "aggregator": {"model": "a", "maxTokens": 8192}}},
        "spec.judge",
    ),
    "judge as student longer than its window": (
        {
            "spec__judge": {
                "method": "Single",
                "aggregator": {"model": "$student", "maxTokens": 8192},
                "allowStudent": True,
            }
        },
        "spec.judge",
    ),
    "student longer than its window": (
        {"spec__mixture__addStudent": True, "spec__mixture__studentSampling": {"maxTokens": 8192}},
        "spec.mixture.studentSampling.maxTokens",
    ),
    "answers in a report longer than the window": (
        {
            "spec__evaluation__report": [
                {"name": "x", "type": "ExactMatch", "source": "file:///x.json", "sampling": {"maxTokens": 9000}}
            ]
        },
        "spec.evaluation.report",
    ),
    "an unknown judge in a report": (
        {
            "spec__evaluation__report": [
                {
                    "name": "x",
                    "type": "Pairwise",
                    "source": "file:///x.json",
                    "judge": {**JUDGE, "judges": [{"model": "z"}]},
                }
            ]
        },
        "spec.evaluation.report",
    ),
    "fields of another type": (
        {
            "spec__evaluation__report": [
                {"name": "x", "type": "ExactMatch", "source": "file:///x.json", "judge": JUDGE, "baseline": "a"}
            ]
        },
        "spec.evaluation.report[0].baseline",
    ),
    "token of a bucket's model": (
        {"spec__models__0": {"name": "a", "source": "s3://b/m", "tokenSecret": {"name": "a", "key": "b"}}},
        "spec.models[0].tokenSecret",
    ),
    "token of a file": (
        {"spec__data__sft": [{"source": "file:///x.json", "limit": 1, "tokenSecret": {"name": "a", "key": "b"}}]},
        "spec.data.sft[0].tokenSecret",
    ),
    "relative file": ({"spec__data__sft__0__source": "file://x.json"}, "spec.data.sft[0].source"),
    "half a data set": ({"spec__data__sft__0__source": "hf://datasets/x"}, "spec.data.sft[0].source"),
    "fraction over one": ({"spec__failures": {"maxFraction": "1.01"}}, "spec.failures.maxFraction"),
    "top p of nothing": ({"spec__mixture__studentSampling": {"topP": "0"}}, "spec.mixture.studentSampling.topP"),
    "full confidence": ({"spec__evaluation__confidence": "1"}, "spec.evaluation.confidence"),
    "frozen samples": ({"spec__training__dpo": {"temperature": "0.0"}}, "spec.training.dpo.temperature"),
    "below zero": ({"spec__training__sft": {"weightDecay": "-0.1"}}, "spec.training.sft.weightDecay"),
    "a very long number": ({"spec__training__sft": {"weightDecay": "0." + "1" * 40}}, "spec.training.sft.weightDecay"),
    "more criteria than there are": ({"spec__judge": {**JUDGE, "criteria": 9}}, "spec.judge.criteria"),
    "criteria of one name": (
        {
            "spec__judge": {
                **JUDGE,
                "criteria": 1,
                "criteriaChoices": [{"name": "A a", "definition": "x"}, {"name": "a A", "definition": "y"}],
            }
        },
        "spec.judge.criteriaChoices",
    ),
    "student among the judges": ({"spec__judge": {**JUDGE, "judges": [{"model": "$student"}]}}, "spec.judge"),
    "preference without limit": (
        {"spec__iterations": 3, "spec__data__preference": [{"source": "file:///x.json"}]},
        "spec.data.preference",
    ),
    "panel with an aggregator": (
        {"spec__judge": {"method": "Panel", "judges": THREE, "aggregator": {"model": "a"}}},
        "spec.judge.aggregator",
    ),
    "mixture without aggregator": ({"spec__judge": {"judges": THREE}}, "spec.judge.aggregator"),
    "mixture without judges": ({"spec__judge": {"aggregator": {"model": "a"}}}, "spec.judge.judges"),
    "text behind the last line": ({"spec__student": "base\n"}, "spec.student"),
} | {
    f"prompt {name} without its texts": ({"spec__prompts": {name: "{nothing}"}}, f"spec.prompts.{name}")
    for name in ("aggregate", "proposal", "criterion", "criteria", "judge", "evaluation", "metaJudge", "single")
}

EVERY_BAD = [
    *((name, changes, path) for name, (changes, path, _) in BAD.items() if name not in NOT_IN_THE_CRD),
    *((name, changes, path) for name, (changes, path) in MORE_BAD.items()),
]


@pytest.mark.parametrize(("changes", "path"), [case[1:] for case in EVERY_BAD], ids=[case[0] for case in EVERY_BAD])
def test_what_moaa_validate_refuses_is_refused_near_its_place(changes: dict[str, Any], path: str) -> None:
    document = tree(**changes)
    with pytest.raises(ResourceError):
        load_text(yaml.safe_dump(document))
    found = refused(document)
    assert [r for r in found if r.path.startswith(path) or path.startswith(r.path) or path in r.message], found
    assert not [r for r in found if "fails:" in r.message and not invalid_at(document, r.path)]


def invalid_at(document: Schema, path: str) -> bool:
    """A rule may fail to run only where the schema has already refused the value."""
    return any(refusal.path == path for refusal in invalid(complete(document), root_schema()))


def test_every_rule_refuses_something_above_and_holds_for_what_is_right() -> None:
    unused = {rule["rule"] for _, _, rule, _ in rules(root_schema()) if "oldSelf" not in rule["rule"]}
    for _, changes, _ in EVERY_BAD:
        stored = complete(tree(**changes))
        if not isinstance(stored.get("spec"), dict) or list(invalid(stored, root_schema())):
            continue
        unused -= {refusal.about for refusal in broken(stored, None, root_schema())}
    assert unused == set()


@pytest.mark.parametrize("name", NOT_IN_THE_CRD)
def test_what_the_crd_leaves_to_others_is_known(name: str) -> None:
    changes, _, _ = BAD[name]
    assert not [refusal for refusal in refused(tree(**changes)) if "metadata.name" not in refusal.about]


SCHEMA_ALONE = {
    "a list for a mapping": ({"spec__data": []}, "spec.data"),
    "a number without quotes": ({"spec__training__sft": {"epochs": 3}}, "spec.training.sft.epochs"),
    "a number that is none": ({"spec__training__sft": {"epochs": "3x"}}, "spec.training.sft.epochs"),
    "a choice that is none": ({"spec__judge__method": "single"}, "spec.judge.method"),
    "too many samples": ({"spec__training__dpo": {"samples": 65}}, "spec.training.dpo.samples"),
    "too few samples": ({"spec__training__dpo": {"samples": 1}}, "spec.training.dpo.samples"),
    "too many layers": ({"spec__mixture__layers": [{"proposers": [{"model": "a"}]}] * 9}, "spec.mixture.layers"),
    "no proposers": ({"spec__mixture__layers": [{"proposers": []}]}, "spec.mixture.layers[0].proposers"),
    "a proposer without model": (
        {"spec__mixture__layers": [{"proposers": [{}]}]},
        "spec.mixture.layers[0].proposers[0].model",
    ),
    "a placeholder of no student": ({"spec__judge__aggregator": {"model": "$me"}}, "spec.judge.aggregator.model"),
    "a secret without key": ({"spec__models__0__tokenSecret": {"name": "x"}}, "spec.models[0].tokenSecret.key"),
    "a long argument": ({"spec__models__0__serving": {"args": ["x" * 513]}}, "spec.models[0].serving.args[0]"),
    "an address that is none": (
        {"spec__models__0": {"name": "a", "endpoint": {"url": "ftp://x", "model": "m"}}},
        "spec.models[0].endpoint.url",
    ),
    "a long prompt": ({"spec__prompts": {"judge": "x" * 16385}}, "spec.prompts.judge"),
    "no storage": ({"spec__storage": None}, "spec.storage"),
    "no training": ({"spec__training": None}, "spec.training"),
}


@pytest.mark.parametrize(("changes", "path"), SCHEMA_ALONE.values(), ids=SCHEMA_ALONE.keys())
def test_what_the_schema_alone_refuses(changes: dict[str, Any], path: str) -> None:
    assert path in [refusal.path for refusal in invalid(complete(tree(**changes)), root_schema())]


FIXED: dict[str, tuple[dict[str, Any], str]] = {
    "storage.uri": ({"spec__storage": {"uri": "file:///elsewhere"}}, "spec.storage.uri"),
    "student": ({"spec__student": "eva"}, "spec.student"),
    "seed": ({"spec__seed": 1}, "spec.seed"),
}


@pytest.mark.parametrize(("changes", "path"), FIXED.values(), ids=FIXED.keys())
def test_what_a_run_rests_on_cannot_change(changes: dict[str, Any], path: str) -> None:
    _, refusals = admit(tree(**changes), before=tree())
    assert [(r.path, "cannot change" in r.message) for r in refusals] == [(path, True)]
    assert admit(tree(**changes))[1] == []


def test_everything_else_can_change() -> None:
    changed = tree(
        spec__iterations=2, spec__mixture__aggregator={"model": "a", "temperature": "0.1"}, spec__suspend=True
    )
    assert admit(changed, before=tree())[1] == []


# Status

STATUS = {
    "observedGeneration": 2,
    "phase": "Running",
    "iteration": "1/3",
    "stage": "i1-generate",
    "progress": "61 % · 12 min left",
    "score": "0.41 ± 0.03",
    "conditions": [
        {
            "type": "Succeeded",
            "status": "Unknown",
            "reason": "StageRunning",
            "message": "i1-generate: 610 of 1000 rows",
            "observedGeneration": 2,
            "lastTransitionTime": "2026-01-02T03:04:05Z",
        }
    ],
    "stages": [
        {
            "stage": "i0-stage-data",
            "kind": "stage-data",
            "inputs": "a" * 64,
            "fingerprint": "b" * 64,
            "attempt": 1,
            "outputs": [{"name": "sft-0", "digest": "c" * 64, "rows": 7}],
            "models": [],
        }
    ],
    "promoted": {"digest": "d" * 64},
    "history": [{"iteration": 1, "stage": "i1-dpo", "score": "0.41", "closed": "2026-01-02T03:04:05Z"}],
}


def test_a_status_goes_in_and_comes_out_again() -> None:
    assert refused({**tree(), "status": STATUS}) == []
    status = MoAAStatus.model_validate({**STATUS, "added": "by a newer operator"})
    assert status.conditions[0].last_transition_time == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert json.loads(status.model_dump_json(by_alias=True, exclude_none=True)) == STATUS


def test_a_status_holds_what_the_plan_needs_of_a_stage() -> None:
    assert set(StageStatus.model_fields) == set(StageResult.model_fields)


def test_a_status_is_bounded() -> None:
    stage = STATUS["stages"][0]  # type: ignore[index]
    many = {**STATUS, "stages": [{**stage, "stage": f"i{i}-sft"} for i in range(MAX_STAGES + 1)]}
    assert [r.path for r in refused({**tree(), "status": many})] == ["status.stages"]


def test_the_columns_are_those_of_the_documentation_and_read_what_is_there() -> None:
    columns = crd()["spec"]["versions"][0]["additionalPrinterColumns"]
    assert " ".join(["NAME", *(column["name"].upper() for column in columns)]) == (
        "NAME PHASE ITERATION STAGE PROGRESS SCORE REASON AGE"
    )
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
