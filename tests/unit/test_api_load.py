"""Every mistake is named with its place, what was found and what to do; all of them at once."""

import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from moaa.api import MoAA
from moaa.api.check import check, warnings
from moaa.api.load import MAX_FILE_BYTES, load, load_text
from moaa.api.yaml_text import MAX_VALUES
from moaa.errors import Problem, ResourceError
from tests.plan_helpers import resource, tree


def problems(text: str) -> tuple[Problem, ...]:
    with pytest.raises(ResourceError) as caught:
        load_text(text)
    return caught.value.problems


BAD: dict[str, tuple[dict[str, Any], str, str]] = {
    # the envelope
    "api version": ({"apiVersion": "moaa.dev/v1"}, "apiVersion", "did you mean moaa.dev/v1alpha1?"),
    "kind": ({"kind": "Moaa"}, "kind", "did you mean MoAA?"),
    "no name": ({"metadata__name": None}, "metadata.name", "is required"),
    "long name": ({"metadata__name": "a" * 25}, "metadata.name", "at most 24 characters"),
    "upper-case name": ({"metadata__name": "Llama"}, "metadata.name", "lower-case letters"),
    "name is a number": ({"metadata__name": 7}, "metadata.name", "must be text; put it in quotes"),
    "vllm in the name": ({"metadata__name": "vllm-run"}, "metadata.name", "starts with 'vllm'"),
    "unknown top field": ({"specs": {}}, "specs", "did you mean spec?"),
    "no spec": ({"spec": None}, "spec", "is required"),
    "spec is a list": ({"spec": []}, "spec", "must be a mapping of fields"),
    # scalars
    "seed in quotes": ({"spec__seed": "1"}, "spec.seed", "whole number, without quotes"),
    "seed with a fraction": ({"spec__seed": 1.5}, "spec.seed", "whole number"),
    "negative seed": ({"spec__seed": -1}, "spec.seed", "must be at least 0"),
    "suspend as text": ({"spec__suspend": "yes"}, "spec.suspend", "true or false, without quotes"),
    "no iterations": ({"spec__iterations": 0}, "spec.iterations", "must be at least 1"),
    "not a number": ({"spec__training__sft": {"epochs": "many"}}, "spec.training.sft.epochs", "a number in quotes"),
    "a number with a unit": (
        {"spec__training__sft": {"learningRate": "8e-6 "[:-1] + "x"}},
        "spec.training.sft.learningRate",
        "a number in quotes",
    ),
    "zero epochs": ({"spec__training__sft": {"epochs": "0"}}, "spec.training.sft.epochs", "must be more than 0"),
    "hot": (
        {"spec__mixture__aggregator__temperature": "2.5"},
        "spec.mixture.aggregator.temperature",
        "must be at most 2",
    ),
    "infinite": (
        {"spec__mixture__aggregator__temperature": float("inf")},
        "spec.mixture.aggregator.temperature",
        "must be a number in quotes",
    ),
    "number without quotes": (
        {"spec__mixture__aggregator__temperature": 0.1},
        "spec.mixture.aggregator.temperature",
        "must be a number in quotes",
    ),
    "unknown choice": ({"spec__start": "promoted"}, "spec.start", "did you mean Promoted?"),
    "far choice": ({"spec__start": "elsewhere"}, "spec.start", "write one of: Promoted, Base"),
    "empty field": ({"spec__storage__uri": ""}, "spec.storage.uri", "s3://bucket/prefix"),
    # names of fields
    "snake case": (
        {"spec__mixture__aggregator__max_tokens": 9},
        "spec.mixture.aggregator.max_tokens",
        "mean maxTokens?",
    ),
    "misspelt field": ({"spec__mixture__minProposal": 1}, "spec.mixture.minProposal", "did you mean minProposals?"),
    "field elsewhere": ({"spec__mixture__epochs": 1}, "spec.mixture.epochs", "fields here: layers"),
    "field of the other benchmark": (
        {"spec__evaluation__selection__0__answer": 1},
        "spec.evaluation.selection[0].answer",
        "is not a field here",
    ),
    # models
    "no models": ({"spec__models": []}, "spec.models", "at least 1 entries"),
    "model is text": ({"spec__models__0": "a"}, "spec.models[0]", "must be a mapping of fields"),
    "model without origin": ({"spec__models__0": {"name": "a"}}, "spec.models[0]", "exactly one of source"),
    "bad model name": ({"spec__models__0__name": "A_b"}, "spec.models[0].name", "lower-case letters"),
    "long model name": ({"spec__models__0__name": "a" * 21}, "spec.models[0].name", "at most 20 characters"),
    "two models of a name": (
        {"spec__models__1__name": "a"},
        "spec.models[1].name",
        "already the name of spec.models[0]",
    ),
    "vllm in a model's name": ({"spec__models__0__name": "vllm-a"}, "spec.models[0].name", "starts with 'vllm'"),
    "source without scheme": ({"spec__models__0__source": "org/a"}, "spec.models[0].source", "hf://owner/name"),
    "hf without owner": ({"spec__models__0__source": "hf://a"}, "spec.models[0].source", "hf://owner/name"),
    "a data set as model": ({"spec__models__0__source": "hf://datasets/a/b"}, "spec.models[0].source", "is a data set"),
    "relative folder": ({"spec__models__0__source": "file://a/b"}, "spec.models[0].source", "absolute folder"),
    "revision of a folder": (
        {"spec__models__0": {"name": "a", "source": "file:///a", "revision": "main"}},
        "spec.models[0].revision",
        "for hf:// sources only",
    ),
    "served endpoint": (
        {"spec__models__0": {"name": "a", "endpoint": {"url": "https://x/v1", "model": "m"}, "serving": {"gpus": 2}}},
        "spec.models[0]",
        "serving has no effect on an endpoint",
    ),
    "password in an address": (
        {"spec__models__0": {"name": "a", "endpoint": {"url": "https://me:pw@x/v1", "model": "m"}}},
        "spec.models[0].endpoint.url",
        "holds a credential",
    ),
    "argument we set": (
        {"spec__models__0__serving": {"args": ["--max-model-len", "9"]}},
        "spec.models[0].serving.args[0]",
        "use serving.maxModelLen",
    ),
    "argument we set, with underscores": (
        {"spec__models__0__serving": {"args": ["--served_model_name=x"]}},
        "spec.models[0].serving.args[0]",
        "the executor sets it",
    ),
    "host path": (
        {"spec__models__0__serving": {"template": {"spec": {"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}}}},
        "spec.models[0].serving.template.spec.volumes[0].hostPath",
        "not allowed in a pod template",
    ),
    "privileged": (
        {
            "spec__training__resources": {
                "template": {"spec": {"containers": [{"securityContext": {"privileged": True}}]}}
            }
        },
        "spec.training.resources.template.spec.containers[0].securityContext.privileged",
        "not allowed in a pod template",
    ),
    "service account in a template": (
        {"spec__training__resources": {"template": {"spec": {"serviceAccountName": "admin"}}}},
        "spec.training.resources.template.spec.serviceAccountName",
        "not allowed in a pod template",
    ),
    "host network": (
        {"spec__models__0__serving": {"template": {"spec": {"hostNetwork": True}}}},
        "spec.models[0].serving.template.spec.hostNetwork",
        "not allowed in a pod template",
    ),
    # who is asked
    "undeclared student": ({"spec__student": "bse"}, "spec.student", "did you mean base?"),
    "endpoint student": (
        {"spec__models__3": {"name": "base", "endpoint": {"url": "http://x/v1", "model": "m"}}},
        "spec.student",
        "has no weights to train",
    ),
    "student on a claim": (
        {"spec__models__3__source": "pvc://claim/folder"},
        "spec.student",
        "which training cannot read",
    ),
    "undeclared proposer": (
        {"spec__mixture__layers__0__proposers__1__model": "bb"},
        "spec.mixture.layers[0].proposers[1].model",
        "is not declared in spec.models",
    ),
    "undeclared judge": ({"spec__judge__aggregator__model": "agc"}, "spec.judge.aggregator.model", "did you mean agg?"),
    "undeclared evaluation judge": (
        {"spec__evaluation__selection__0__judge__aggregator__model": "nobody"},
        "spec.evaluation.selection[0].judge.aggregator.model",
        "declared: a, b, agg, base, eva",
    ),
    "undeclared baseline": (
        {"spec__evaluation__selection__0__baseline": "ebb"},
        "spec.evaluation.selection[0].baseline",
        "is not declared in spec.models",
    ),
    "student as judge": ({"spec__judge__aggregator__model": "$student"}, "spec.judge", "allowStudent: true"),
    "no layers": ({"spec__mixture__layers": []}, "spec.mixture.layers", "at least 1 entries"),
    "too few proposals": ({"spec__mixture__minProposals": 3}, "spec.mixture", "more than layers[0] can give (2)"),
    "student twice": (
        {"spec__mixture__addStudent": True, "spec__mixture__layers__0__proposers__0__model": "$student"},
        "spec.mixture.layers[0].proposers[0].model",
        "keep one of the two",
    ),
    "no mixture": ({"spec__mixture": None}, "spec.mixture", "is required: spec.data.sft[0]"),
    "no judge": ({"spec__judge": None}, "spec.judge", "is required: training.dpo needs pairs"),
    "even panel": (
        {"spec__judge": {"method": "Panel", "judges": [{"model": "a"}, {"model": "b"}]}},
        "spec.judge",
        "odd number of judges",
    ),
    "judges of a single judge": ({"spec__judge__method": "Single"}, "spec.judge", "remove judges"),
    "answers as long as the window": (
        {"spec__mixture__aggregator__maxTokens": 8192},
        "spec.mixture.aggregator.maxTokens",
        "leave no room for the prompt",
    ),
    "default answers in a small window": (
        {"spec__models__4__serving": {"maxModelLen": 2048}},
        "spec.evaluation.selection[0].judge.aggregator.maxTokens",
        "raise spec.models[4].serving.maxModelLen",
    ),
    "samples longer than the student's window": (
        {"spec__training__dpo": {"maxTokens": 9000}},
        "spec.training.dpo.maxTokens",
        "leave no room for the prompt in base's 8192 tokens",
    ),
    # prompts
    "misspelt placeholder": (
        {"spec__prompts": {"aggregate": "{proposal}"}},
        "spec.prompts",
        "{proposal} is not a placeholder",
    ),
    "missing placeholder": ({"spec__prompts": {"judge": "{question}"}}, "spec.prompts", "is missing"),
    # data
    "no rows for sft": ({"spec__data__sft": []}, "spec.data.sft", "training.sft needs prompts"),
    "no rows for dpo": ({"spec__data__preference": []}, "spec.data.preference", "training.dpo needs prompts"),
    "rows without sft": ({"spec__training__sft": None}, "spec.data.sft", "is read by nobody without training.sft"),
    "a model as data": (
        {"spec__data__sft__0__source": "hf://a/b"},
        "spec.data.sft[0].source",
        "hf://datasets/owner/name",
    ),
    "unread format": (
        {"spec__data__sft__0__source": "s3://b/x.csv"},
        "spec.data.sft[0].source",
        ".jsonl, .json, .parquet",
    ),
    "data on a claim": ({"spec__data__sft__0__source": "pvc://c/x.json"}, "spec.data.sft[0].source", "hf://datasets"),
    "iterations without limit": (
        {"spec__iterations": 2, "spec__data__sft__0__limit": None},
        "spec.data.sft[0].limit",
        "is required with 2 iterations",
    ),
    "revision of a file": (
        {"spec__data__sft__0__revision": "x"},
        "spec.data.sft[0].revision",
        "for hf:// data sets only",
    ),
    # training
    "nothing trained": ({"spec__training": {}}, "spec.training", "without either nothing is trained"),
    "batch does not divide": (
        {"spec__training__sft": {"batchSize": 7}, "spec__training__resources": {"workers": 2}},
        "spec.training",
        "not divisible by workers × microBatchSize (2)",
    ),
    "bfloat on a CPU": ({"spec__training__resources": {"gpusPerWorker": 0}}, "spec.training", "write FP32"),
    # storage
    "bucket in upper case": ({"spec__storage__uri": "s3://Bucket/x"}, "spec.storage.uri", "s3://bucket/prefix"),
    "endpoint of a folder": (
        {"spec__storage": {"uri": "file:///x", "endpoint": "http://x"}},
        "spec.storage.endpoint",
        "is for s3:// storage",
    ),
    "secret of a folder": (
        {"spec__storage": {"uri": "file:///x", "secret": {"name": "x"}}},
        "spec.storage.secret",
        "is for s3:// storage",
    ),
    # evaluation
    "two benchmarks of a name": (
        {"spec__evaluation__report": [{"name": "held", "type": "ExactMatch", "source": "file:///x.json"}]},
        "spec.evaluation.report[0].name",
        "already the name of spec.evaluation.selection[0]",
    ),
    "benchmark without type": (
        {"spec__evaluation__report": [{"name": "x", "source": "file:///x.json"}]},
        "spec.evaluation.report[0].type",
        "write one of: ExactMatch, Pairwise",
    ),
    "benchmark of a wrong type": (
        {"spec__evaluation__report": [{"name": "x", "type": "ExactMach", "source": "file:///x.json"}]},
        "spec.evaluation.report[0].type",
        "did you mean ExactMatch?",
    ),
    "pairwise without judge": (
        {"spec__evaluation__report": [{"name": "x", "type": "Pairwise", "source": "file:///x.json"}]},
        "spec.evaluation.report[0].judge",
        "is required",
    ),
    "gain in percent": (
        {"spec__evaluation__gate": {"minGain": "2"}},
        "spec.evaluation.gate.minGain",
        "between -1 and 1",
    ),
    "secrets that share a variable": (
        {
            "spec__models__0__tokenSecret": {"name": "my-hub", "key": "token"},
            "spec__models__1__tokenSecret": {"name": "my.hub", "key": "token"},
        },
        "spec.models[1].tokenSecret",
        "MOAA_SECRET_MY_HUB_TOKEN",
    ),
}


@pytest.mark.parametrize(("changes", "path", "phrase"), BAD.values(), ids=BAD.keys())
def test_a_mistake_has_its_place_and_remedy(changes: dict[str, Any], path: str, phrase: str) -> None:
    found = problems(yaml.safe_dump(tree(**changes)))
    at = [problem for problem in found if problem.path == path]
    assert at, [str(problem) for problem in found]
    assert any(phrase in problem.remedy for problem in at), [str(problem) for problem in found]
    assert all(problem.line for problem in found)


def test_most_mistakes_are_named_once_and_alone() -> None:
    """No mistake is reported with consequences that only confuse; these have more than one cause."""
    several = {
        "no spec",
        "spec is a list",
        "no models",
        "model is text",
        "model without origin",
        "bad model name",
        "long model name",
        "two models of a name",
        "vllm in a model's name",
        "nothing trained",
        "bfloat on a CPU",
        "no layers",
        "no judge",
        "endpoint student",
    }
    for name, (changes, _, _) in BAD.items():
        found = problems(yaml.safe_dump(tree(**changes)))
        assert len(found) == 1 or name in several, (name, [str(problem) for problem in found])


def test_at_least_sixty_mistakes_are_tabled() -> None:
    assert len(BAD) >= 60


def test_all_mistakes_show_at_once_in_the_order_of_the_file() -> None:
    root = tree(
        spec__seed="x",
        spec__student="bse",
        spec__training__sft={"epochs": "0", "batchSize": 7},
        spec__training__resources={"workers": 2},
        spec__models__0__serving={"args": ["--port", "1"]},
        spec__mixture__layers__0__proposers__0__model="aa",
    )
    found = problems(yaml.safe_dump(root, sort_keys=False))
    assert {problem.path for problem in found} == {
        "spec.seed",
        "spec.student",
        "spec.training.sft.epochs",
        "spec.training",  # the class's own rule, although one of its fields was wrong
        "spec.models[0].serving.args[0]",
        "spec.mixture.layers[0].proposers[0].model",
    }
    lines = [problem.line or 0 for problem in found]
    assert lines == sorted(lines)


def test_the_error_text_has_file_line_path_value_and_remedy(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(tree(spec__seed="x"), sort_keys=False))
    with pytest.raises(ResourceError) as caught:
        load(file)
    line = file.read_text().splitlines().index("  seed: x") + 1
    assert str(caught.value) == (
        f'{file}: 1 problem\n  line {line}: spec.seed: "x" must be a whole number, without quotes'
    )


TEXTS: dict[str, tuple[str, str]] = {
    "nothing": ("", "holds nothing"),
    "comments": ("# only\n", "holds nothing"),
    "a list": ("- 1\n", "is not a mapping"),
    "text": ("hello\n", "is not a mapping"),
    "unclosed": ("a: [1\n", "is not valid YAML"),
    "a tab": ("a:\n\tb: 1\n", "is not valid YAML"),
    "undefined alias": ("a: *b\n", "is not valid YAML"),
    "two resources": ("kind: MoAA\n---\nkind: MoAA\n", "holds 2 resources of kind MoAA in 2 documents"),
    "none of two": ("kind: Secret\n---\nkind: ConfigMap\n", "holds 0 resources of kind MoAA in 2 documents"),
    "deep": ("a: " + "[" * 70 + "]" * 70, "nested deeper than 64 levels"),
    "very deep": ("[" * 200_000, "nested deeper than 64 levels"),
    "an alias inside what it names": ("a: &a\n  b: *a\n", "nested deeper"),
    "a Python object": ("a: !!python/object/apply:os.getcwd []\n", "has the YAML tag"),
    "a set": ("a: !!set {x: null}\n", "has the YAML tag"),
    "bytes": ("a: !!binary aGVsbG8=\n", "has the YAML tag"),
    "a control character": ("a: \x01\n", "is not valid YAML"),
}


@pytest.mark.parametrize(("text", "phrase"), TEXTS.values(), ids=TEXTS.keys())
def test_a_text_that_is_no_resource(text: str, phrase: str) -> None:
    assert any(phrase in problem.remedy for problem in problems(text)), problems(text)


def test_a_bomb_of_aliases_is_refused_quickly() -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    started = time.monotonic()
    assert str(MAX_VALUES) in problems("\n".join(levels))[0].remedy
    assert time.monotonic() - started < 5


def test_a_key_that_stands_twice_names_both_lines() -> None:
    text = yaml.safe_dump(tree(), sort_keys=False) + "  seed: 1\n  seed: 2\n"
    last = len(text.splitlines())
    assert problems(text) == (
        Problem("spec.seed", "", f"stands twice, first on line {last - 1}; keep one of them", last),
    )


def test_keys_are_text() -> None:
    assert any("has a key that is not text" in p.remedy for p in problems(yaml.safe_dump(tree()) + "1: x\n"))


def test_anchors_and_merge_keys_work() -> None:
    root = yaml.safe_dump(tree(), sort_keys=False)
    text = root.replace(
        "  training:\n    sft: {}\n    dpo: {}\n",
        "  training:\n    sft: &o {batchSize: 64, maxLength: 512}\n    dpo: {<<: *o, maxLength: 1024}\n",
    )
    training = load_text(text).spec.training
    assert training.sft is not None
    assert training.dpo is not None
    assert (training.sft.max_length, training.dpo.batch_size, training.dpo.max_length) == (512, 64, 1024)


def test_a_date_stays_text() -> None:
    text = yaml.safe_dump(tree(), sort_keys=False)
    loaded = load_text(text.replace("  name: small", "  name: small\n  annotations: {made: 2026-01-02}"))
    assert loaded.metadata.annotations == {"made": "2026-01-02"}


def test_other_objects_beside_the_resource_are_passed_over() -> None:
    text = "kind: Secret\nstringData: {token: hf_abcdefghijklmnopqrst}\n---\n" + yaml.safe_dump(tree())
    assert load_text(text) == resource()


def test_what_kubectl_prints_loads() -> None:
    root = tree(metadata__uid="1", metadata__resourceVersion="9", metadata__generation=2)
    root["status"] = {"phase": "Running"}
    assert load_text(yaml.safe_dump(root)) == resource()


SECRETS = [
    ("spec__models__0__tokenSecret", "hf_abcdefghijklmnopqrstuv"),
    ("spec__models__0__apiKey", "supersecretvalue"),
    ("spec__models__0__source", "hf_abcdefghijklmnopqrstuv"),
    ("spec__student", "sk-abcdefghijklmnop1234"),
    ("spec__storage__accessKey", "AKIAABCDEFGHIJKLMNOP"),
    ("spec__storage__uri", "https://user:hunter2secret@bucket"),
    ("spec__storage__endpoint", "https://user:hunter2secret@minio"),
    ("spec__seed", "ghp_abcdefghijklmnopqrstuvwxyz"),
    ("spec__password", "hunter2secret"),
    ("spec__start", "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"),
    ("metadata__name", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIx"),
]


@pytest.mark.parametrize(("path", "secret"), SECRETS, ids=[path for path, _ in SECRETS])
def test_a_credential_is_never_repeated(path: str, secret: str) -> None:
    with pytest.raises(ResourceError) as caught:
        load_text(yaml.safe_dump(tree(**{path: secret})))
    assert secret not in str(caught.value)
    assert "hunter2secret" not in str(caught.value)


def test_the_value_of_an_argument_is_never_repeated() -> None:
    found = problems(yaml.safe_dump(tree(spec__models__0__serving={"args": ["--api-key=topsecret"]})))
    assert "topsecret" not in str(found)
    assert found[0].found == '"--api-key"'


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="cannot be read"):
        load(tmp_path / "absent.yaml")
    with pytest.raises(ResourceError, match="cannot be read"):
        load(tmp_path)
    (tmp_path / "big.yaml").write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    with pytest.raises(ResourceError, match=f"has at most {MAX_FILE_BYTES}"):
        load(tmp_path / "big.yaml")
    (tmp_path / "latin.yaml").write_bytes("a: 1\nb: café\n".encode("latin-1"))
    with pytest.raises(ResourceError, match=r"not UTF-8 \(line 2\)"):
        load(tmp_path / "latin.yaml")


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_bytes(b"\xef\xbb\xbf" + yaml.safe_dump(tree()).encode())
    assert load(tmp_path / "run.yaml") == resource()


def test_relative_files_start_from_the_resource_s_folder(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "run.yaml"
    file.parent.mkdir()
    file.write_text(
        yaml.safe_dump(tree(spec__storage__uri="file://./store", spec__data__sft__0__source="file://../rows.jsonl"))
    )
    spec = load(file).spec
    assert spec.storage.uri == f"file://{tmp_path}/deep/store"
    assert spec.data.sft[0].source == f"file://{tmp_path}/rows.jsonl"


def test_a_good_resource_has_no_problems_and_no_warnings_of_surprise() -> None:
    assert check(resource()) == []
    assert load_text(yaml.safe_dump(tree())) == resource()


WARNINGS: dict[str, tuple[dict[str, Any], str]] = {
    "unused model": (
        {"spec__models": [*tree()["spec"]["models"], {"name": "x", "source": "hf://o/x"}]},
        "asked by nobody",
    ),
    "idle judge": ({"spec__training__dpo": None, "spec__data__preference": None}, "only training.dpo asks it"),
    "student joins one iteration": ({"spec__mixture__addStudent": True}, "from the second iteration on"),
    "untrained student": ({"spec__mixture__aggregator__model": "$student"}, "$student is base, untrained"),
    "idle gate": ({"spec__evaluation": {"gate": {"rule": "LowerBound"}}}, "always promoted"),
    "judge of both": ({"spec__evaluation__selection__0__judge__aggregator__model": "agg"}, "its scores will flatter"),
    "own judge": ({"spec__evaluation__selection__0__judge__aggregator__model": "base"}, "its own style"),
    "long answers": ({"spec__training__sft": {"maxLength": 1024}}, "longer rows count as failed"),
    "cold samples": (
        {"spec__mixture__layers__0__proposers__0": {"model": "a", "samples": 3, "temperature": "0"}},
        "all samples are one answer",
    ),
    "no verdict asked for": (
        {"spec__prompts": {"single": "{question}{answer_a}{answer_b} [[A]]"}},
        "never asks for [[B]]",
    ),
    "twins": ({"spec__mixture__layers__0__proposers__1__model": "a"}, "'a' stands 2 times"),
    "trained on the test": (
        {"spec__evaluation__selection__0__source": "file:///sft.jsonl"},
        "is a training source as well",
    ),
}


@pytest.mark.parametrize(("changes", "phrase"), WARNINGS.values(), ids=WARNINGS.keys())
def test_advice(changes: dict[str, Any], phrase: str) -> None:
    owner = resource(**changes)
    assert check(owner) == []
    assert any(phrase in sentence for sentence in warnings(owner)), warnings(owner)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
PLACES = [
    "spec__models",
    "spec__models__0",
    "spec__models__0__serving",
    "spec__mixture",
    "spec__mixture__layers",
    "spec__mixture__layers__0__proposers__0",
    "spec__judge",
    "spec__data",
    "spec__data__sft__0",
    "spec__training",
    "spec__training__resources",
    "spec__evaluation__selection__0",
    "spec__iterations",
    "spec__storage",
    "spec__prompts",
    "metadata",
]


@given(place=st.sampled_from(PLACES), value=json_values)
@settings(max_examples=50, deadline=None)
def test_whatever_stands_anywhere_ends_in_a_resource_or_a_resource_error(place: str, value: object) -> None:
    root = tree(**{place: value})
    try:
        text = yaml.safe_dump(root, allow_unicode=True)
    except yaml.YAMLError:
        return
    outcome = loaded_or_problems(text)
    assert isinstance(outcome, MoAA) or (outcome and all(problem.remedy for problem in outcome))


def loaded_or_problems(text: str) -> MoAA | tuple[Problem, ...]:
    try:
        return load_text(text)
    except ResourceError as error:
        return error.problems
