"""Every mistake is named with its place, what was found and what to do; all of them at once."""

import errno
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from moaa.api import MoAA
from moaa.api.reading.check import check, warnings
from moaa.api.reading.load import MAX_FILE_BYTES, load, load_document, load_text
from moaa.api.reading.yaml_text import MAX_VALUES
from moaa.errors import Problem, ResourceError
from tests.bad_resources import BAD, SEEDED
from tests.plan_helpers import resource, tree


def problems(text: str) -> tuple[Problem, ...]:
    with pytest.raises(ResourceError) as caught:
        load_text(text)
    return caught.value.problems


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
        "model is text",
        "model without origin",
        "bad model name",
        "long model name",
        "two models of a name",
        "vllm in a model's name",
        "nothing trained",
        "a schedule without an end",
        "the best by no measure",
        "patience with nothing to look at",
        "a stage without a gradient norm",
        "bfloat on a CPU",
        "a budget of no dollars",
        "an absurd budget",
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


SEVERAL: dict[str, tuple[dict[str, Any], set[tuple[str, str]]]] = {
    "a judge": (
        {"spec__judge": {"method": "Panel", "judges": [{"model": "$student"}] * 2, "aggregator": {"model": "a"}}},
        {
            ("spec.judge", "method Panel has no aggregator; remove it"),
            ("spec.judge", "method Panel needs an odd number of judges so that a majority exists, not 2"),
            ("spec.judge", "$student would judge its own training; name another model or set allowStudent: true"),
        },
    ),
    "a reward model that compares": (
        {
            "spec__judge": {
                "method": "RewardModel",
                "judges": [{"model": "a"}],
                "aggregator": {"model": "a"},
                "comparisons": "Seeded",
                "verdict": "LogProbs",
            }
        },
        {
            ("spec.judge", "method RewardModel asks no judges; remove them"),
            ("spec.judge", "method RewardModel has no aggregator; remove it"),
            ("spec.judge", "method RewardModel needs rewardModel, a declared model of kind Reward"),
            ("spec.judge.comparisons", "has no effect with method RewardModel, which compares nothing; remove it"),
            ("spec.judge.verdict", "has no effect with method RewardModel, which gives none; remove it"),
        },
    ),
    "a judge without members": (
        {"spec__judge": {"criteria": 9}},
        {
            ("spec.judge", "method Mixture needs at least one entry in judges"),
            ("spec.judge", "method Mixture needs an aggregator, the model that gives the verdict"),
            ("spec.judge", "criteria 9 is more than the 8 criteriaChoices"),
        },
    ),
    "both trainings": (
        {
            "spec__training__sft": {"batchSize": 9},
            "spec__training__dpo": {"batchSize": 7},
            "spec__training__resources": {"workers": 2, "gpusPerWorker": 0},
        },
        {
            (
                "spec.training",
                f"{part}.batchSize {rows} is not divisible by workers × microBatchSize (2); write {rows - 1}, or "
                "change one of the two",
            )
            for part, rows in (("sft", 9), ("dpo", 7))
        }
        | {
            ("spec.training", f"{part}.precision BF16 needs GPUs; write FP32 to train on the CPU")
            for part in ("sft", "dpo")
        },
    ),
    "a schedule without an end": (
        {f"spec__training__{part}": {"schedule": "Constant", "minLearningRateRatio": "0.1"} for part in ("sft", "dpo")},
        {
            (
                "spec.training",
                f"{part}.minLearningRateRatio has no effect under schedule Constant; remove it, or write Linear or "
                "Cosine",
            )
            for part in ("sft", "dpo")
        },
    ),
    "prompts": (
        {"spec__prompts": {"metaJudge": "{question}", "proposal": "{txt}"}},
        {
            ("spec.prompts", "metaJudge: {answer_a} is missing; put it where the model is to see it"),
            ("spec.prompts", "proposal: {txt} is not a placeholder here; use {number}, {text}"),
        },
    ),
    "layers": (
        {"spec__mixture__minProposals": 2, "spec__mixture__layers": [{"proposers": [{"model": "a"}]}] * 2},
        {
            (
                "spec.mixture",
                f"minProposals 2 is more than layers[{i}] can give (1); lower it or add proposers or samples",
            )
            for i in (0, 1)
        },
    ),
}


@pytest.mark.parametrize(("changes", "expected"), SEVERAL.values(), ids=SEVERAL.keys())
def test_every_broken_rule_of_one_object_is_named(changes: dict[str, Any], expected: set[tuple[str, str]]) -> None:
    found = problems(yaml.safe_dump(tree(**changes)))
    assert {(problem.path, problem.remedy) for problem in found} == expected


CONSEQUENCES: dict[str, tuple[dict[str, Any], set[str]]] = {
    "a misspelt origin": ({"spec__models__0": {"name": "a", "sourc": "hf://o/m"}}, {"spec.models[0].sourc"}),
    "a judge of no known method": ({"spec__judge__method": "Single!"}, {"spec.judge.method"}),
    "judges that are no list": (
        {"spec__judge": {"judges": "a", "aggregator": {"model": "a"}}},
        {"spec.judge.judges"},
    ),
    "samples that are no number": (
        {"spec__mixture__minProposals": 2, "spec__mixture__layers__0__proposers": [{"model": "a", "samples": "2"}]},
        {"spec.mixture.layers[0].proposers[0].samples"},
    ),
    "a batch that is no number": (
        {"spec__training__sft": {"batchSize": "9"}, "spec__training__resources": {"workers": 64}},
        {"spec.training.sft.batchSize"},
    ),
    "an endpoint's serving with an unknown field": (
        {"spec__models__0": {"name": "a", "endpoint": {"url": "http://x", "model": "m"}, "serving": {"gpu": 2}}},
        {"spec.models[0].serving.gpu"},
    ),
    "a judge where none belongs": (
        {
            "spec__evaluation__report": [
                {"name": "x", "type": "ExactMatch", "source": "file:///x.json", "judge": {"judges": []}}
            ]
        },
        {"spec.evaluation.report[0].judge"},
    ),
}


@pytest.mark.parametrize(("changes", "expected"), CONSEQUENCES.values(), ids=CONSEQUENCES.keys())
def test_what_only_follows_from_a_mistake_is_not_named(changes: dict[str, Any], expected: set[str]) -> None:
    assert {problem.path for problem in problems(yaml.safe_dump(tree(**changes)))} == expected


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


def test_a_bomb_of_aliases_is_refused() -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    assert str(MAX_VALUES) in problems("\n".join(levels))[0].remedy


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


@pytest.mark.parametrize(
    "url",
    [
        "https://x/v1/chat/completions?api_key=hunter2secret",
        "https://me@x/models",
        "https://x/v1#key=hunter2secret",
        "https://x/v1#?token=hunter2secret",
    ],
)
def test_a_key_in_an_address_that_is_wrong_anyway_is_never_repeated(url: str) -> None:
    found = problems(yaml.safe_dump(tree(spec__models__0={"name": "a", "endpoint": {"url": url, "model": "m"}})))
    assert found
    assert {problem.path for problem in found} == {"spec.models[0].endpoint.url"}
    assert "hunter2secret" not in str(found)
    assert "me@" not in str(found)


def test_every_mistake_of_a_header_is_named_at_once() -> None:
    endpoint = {
        "url": "https://x/v1",
        "model": "m",
        "secret": {"name": "s", "key": "k"},
        "headers": [{"name": "Authorization", "value": "x"}, {"name": "host"}, {"name": "Host", "value": "x"}],
    }
    found = problems(yaml.safe_dump(tree(spec__models__0={"name": "a", "endpoint": endpoint})))
    headers = "spec.models[0].endpoint.headers"
    assert [problem.path for problem in found] == [
        f"{headers}[0].name",
        f"{headers}[0].value",
        f"{headers}[1]",
        f"{headers}[1].name",
        f"{headers}[2].name",
        f"{headers}[2].name",
    ]


def test_the_value_of_an_argument_is_never_repeated() -> None:
    found = problems(yaml.safe_dump(tree(spec__models__0__serving={"args": ["--api-key=topsecret"]})))
    assert "topsecret" not in str(found)
    assert found[0].found == '"--api-key"'


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="cannot be read"):
        load(tmp_path / "absent.yaml")
    with pytest.raises(ResourceError, match="Is a directory; name a file in it"):
        load(tmp_path)
    (tmp_path / "big.yaml").write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    with pytest.raises(ResourceError, match=f"has at most {MAX_FILE_BYTES}"):
        load(tmp_path / "big.yaml")
    (tmp_path / "latin.yaml").write_bytes("a: 1\nb: café\n".encode("latin-1"))
    with pytest.raises(ResourceError, match=r"not UTF-8 \(line 2\)"):
        load(tmp_path / "latin.yaml")


def test_a_file_that_may_not_be_read_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    (tmp_path / "run.yaml").touch()
    monkeypatch.setattr(Path, "read_bytes", refused)  # root, who runs the tests in containers, may read everything
    with pytest.raises(ResourceError, match="Permission denied; let the user that runs moaa read it"):
        load(tmp_path / "run.yaml")


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


def test_a_chat_template_in_a_file_is_read_with_the_resource(tmp_path: Path) -> None:
    (tmp_path / "own.jinja").write_text("{{ messages }}\n")
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(tree(spec__models__0__chatTemplate="file://./own.jinja")))
    assert load(tmp_path / "run.yaml").spec.models[0].chat_template == "{{ messages }}\n"
    (tmp_path / "own.jinja").unlink()
    with pytest.raises(
        ResourceError, match=r"spec\.models\[0\]\.chatTemplate: .*own\.jinja.* cannot be read .*No such file"
    ):
        load(tmp_path / "run.yaml")


@pytest.mark.parametrize("name", ["messages", "add_generation_prompt", "strftime_now"])
def test_arguments_that_a_request_decides_are_refused(name: str) -> None:
    with pytest.raises(ResourceError, match=rf"chatTemplateArgs\.{name}: .*is decided by each request"):
        load_text(yaml.safe_dump(tree(spec__models__0__chatTemplateArgs={name: "x"})))


def test_an_argument_of_a_template_is_a_plain_value() -> None:
    with pytest.raises(ResourceError, match=r"chatTemplateArgs\.x"):
        load_text(yaml.safe_dump(tree(spec__models__0__chatTemplateArgs={"x": [1]})))


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
    "idle gate": ({"spec__evaluation": {"gate": {"rule": "Mean"}}}, "always promoted"),
    "lenient gate": ({"spec__evaluation__gate": {"rule": "Mean"}}, "a student that is no better in nine runs of ten"),
    "judge of both": ({"spec__evaluation__selection__0__judge__aggregator__model": "agg"}, "its scores will flatter"),
    "own judge": ({"spec__evaluation__selection__0__judge__aggregator__model": "base"}, "its own style"),
    "a twin of the student judges": (
        {"spec__models__4__source": "hf://org/student-8b"},
        "judge 'eva' has the weights of the student; models favour answers of their own kind",
    ),
    "a twin of the student judges its own training": (
        {"spec__models__2__source": "hf://org/student-8b"},
        "spec.judge.aggregator.model: judge 'agg' has the weights of the student",
    ),
    "a judge of a proposer's family": (
        {"spec__models__0__source": "hf://Qwen/Qwen2-72B-Instruct", "spec__models__4__source": "file:///m/qwen2.5-72b"},
        "judge 'eva' is of the family (qwen) of proposer 'a'",
    ),
    "a judge that proposes": (
        {"spec__evaluation__selection__0__judge__aggregator__model": "b"},
        "spec.evaluation.selection[0].judge.aggregator.model: judge 'b' is also proposer 'b'",
    ),
    "a judge that nobody has measured": ({}, "write anchors: {} to measure it"),
    "long answers": ({"spec__training__sft": {"maxLength": 1024}}, "longer rows count as failed"),
    "cold samples": (
        {"spec__mixture__layers__0__proposers__0": {"model": "a", "samples": 3, "temperature": "0"}},
        "all samples are one answer",
    ),
    "no verdict asked for": (
        {"spec__prompts": {"single": "{question}{answer_a}{answer_b} [[A]]"}},
        "never asks for [[B]]",
    ),
    "a judge without room for two long samples": (
        {"spec__training__dpo": {"maxTokens": 3100}},
        "spec.judge.judges[0].model: two answers of 3100 tokens (spec.training.dpo.maxTokens) leave no room",
    ),
    "a benchmark's judge without room for two long answers": (
        {"spec__models__4__serving": {"maxModelLen": 4096}},
        "in eva's 4096, of which 1024 are for its own; pairs of long answers have no verdict then: raise "
        "spec.models[4].serving.maxModelLen or lower spec.evaluation.selection[0].sampling.maxTokens",
    ),
    "three pairs of three answers": (
        {**SEEDED, "spec__training__dpo": {"samples": 3}},
        "spec.judge.comparisons: Seeded judges three pairs, and 3 answers have no more",
    ),
    "an adapter with the rate of all weights": (
        {"spec__training__sft": {"adapter": {"type": "LoRA"}, "learningRate": "8E-6"}},
        "spec.training.sft.learningRate: 0.000008 is meant for training all weights",
    ),
    "an adapter on pairs without a rate of its own": (
        {"spec__training__dpo": {"adapter": {"type": "LoRA"}}},
        "spec.training.dpo.learningRate: 0.0000008 is meant for training all weights",
    ),
    "looks at no rows": (
        {"spec__training__dpo": {"evalSteps": 10}},
        "spec.training.dpo.evalSteps: without heldOut no rows are looked at",
    ),
    "comparisons one after another, and models in turn": (
        {"spec__judge__comparisons": "Adaptive", "spec__serving__schedule": "InTurn"},
        "spec.judge.comparisons: Adaptive asks one comparison after another",
    ),
    "a benchmark that skips its one comparison": (
        {"spec__evaluation__selection__0__judge__comparisons": "Adaptive"},
        "spec.evaluation.selection[0].judge.comparisons: a benchmark compares one answer with one",
    ),
    "criteria of prompts where none are chosen": (
        {"spec__judge__criteriaFor": "Prompt", "spec__judge__criteria": 0},
        "spec.judge.criteriaFor: no criteria are chosen here",
    ),
    "twins": ({"spec__mixture__layers__0__proposers__1__model": "a"}, "'a' stands 2 times"),
    "trained on the test": (
        {"spec__evaluation__selection__0__source": "file:///sft.jsonl"},
        "is a training source as well",
    ),
}

FIELD = {"name": "f", "source": "file:///f.jsonl", "judgeModel": {"model": "eva"}}
ARENA = FIELD | {"type": "ArenaHard", "version": "v0.1", "answers": {"source": "file:///b.jsonl"}}
MT_BENCH = FIELD | {"type": "MtBench"}
WARNINGS |= {
    "a temperature beside those by category": (
        {"spec__evaluation__report": [MT_BENCH | {"sampling": {"temperature": "0.2"}}]},
        "spec.evaluation.report[0].sampling.temperature: byCategory gives each category its own",
    ),
    "labels of Arena-Hard asked for nowhere": (
        {
            "spec__evaluation__report": [ARENA | {"judgeSystem": "[[A>>B]] [[A=B]] [[B>A]] [[B>>A]]"}],
            "spec__prompts": {"arenaHard": "{question}{answer_a}{answer_b}"},
        },
        "spec.prompts.arenaHard: neither it nor spec.evaluation.report[0].judgeSystem asks for [[A>B]], and nothing",
    ),
    "no grade asked for": (
        {"spec__evaluation__report": [MT_BENCH], "spec__prompts": {"gradeReference": "{conversation}{references}"}},
        "spec.prompts.gradeReference: neither it nor spec.evaluation.report[0].judgeSystem asks for [[, and nothing",
    ),
    "the field's judge without room for two long answers": (
        {"spec__models__4__serving": {"maxModelLen": 4096}, "spec__evaluation": {"report": [ARENA]}},
        "spec.evaluation.report[0].judgeModel.model: two answers of 2048 tokens",
    ),
}


def test_temperatures_by_category_are_not_those_of_sampling() -> None:
    """Nothing is advised where nothing is written, and samples by category differ."""
    report = [MT_BENCH | {"samples": 2, "sampling": {"maxTokens": 1024}}]
    assert not [said for said in warnings(resource(spec__evaluation__report=report)) if "temperature" in said]


@pytest.mark.parametrize(("changes", "phrase"), WARNINGS.values(), ids=WARNINGS.keys())
def test_advice(changes: dict[str, Any], phrase: str) -> None:
    owner = resource(**changes)
    assert check(owner) == []
    assert any(phrase in sentence for sentence in warnings(owner)), warnings(owner)


@pytest.mark.parametrize(("benchmarks", "is_said"), [("LogProbs", False), ("Text", True)])
def test_labels_are_asked_for_only_where_a_verdict_is_read_from_words(benchmarks: str, is_said: bool) -> None:
    changes = {
        "spec__prompts": {"single": "{question}{answer_a}{answer_b}"},
        "spec__judge__verdict": "LogProbs",
        "spec__evaluation__selection__0__judge__verdict": benchmarks,
    }
    said = [sentence for sentence in warnings(resource(**changes)) if "never asks for" in sentence]
    assert bool(said) is is_said


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


@pytest.mark.parametrize("levels", [60, 5000])
def test_a_document_of_any_depth_is_refused_by_its_path(levels: int) -> None:
    inner: object = 1
    for _ in range(levels):
        inner = {"a": inner}
    spec = {"models": [{"serving": {"template": {"metadata": inner}}}]}
    with pytest.raises(ResourceError) as refused:
        load_document({"spec": spec})
    (problem,) = refused.value.problems
    assert problem.path == "spec.models[0].serving.template.metadata.a.a"
    assert problem.remedy == "is nested deeper than 64 levels; remove what is inside"
