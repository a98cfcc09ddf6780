"""Resources for golden values: two iterations with everything that a judge, a benchmark or a prompt bears on."""

from typing import Any

from moaa.api import MoAA
from tests.plan_helpers import tree

METHODS = ("Mixture", "Single", "Panel")
BENCHMARKS = ("exact", "base", "model")
"""ExactMatch; Pairwise against `$base`; Pairwise against a declared model."""

OWN_PROMPTS = {
    "aggregate": "AGGREGATE\n{proposals}",
    "proposal": "[{number}: {text}]\n",
    "criterion": "{number}/{name}/{definition};",
    "criteria": "CRITERIA q={question} a={answer_a} b={answer_b} {count} of {criteria}",
    "judge": "JUDGE q={question} a={answer_a} b={answer_b} by {criteria}",
    "evaluation": "({number}: {text})",
    "metaJudge": "META q={question} a={answer_a} b={answer_b} by {criteria} read {evaluations}",
    "single": "SINGLE q={question} a={answer_a} b={answer_b} by {criteria}",
}
MODELS: list[dict[str, Any]] = [
    {"name": "a", "source": "hf://org/model-a-7b", "revision": "0" * 40, "license": "mit"},
    {
        "name": "b",
        "source": "hf://org/model-b-13b",
        "serving": {"args": ["--quantization", "fp8", "--gpu-memory-utilization", "0.8"], "maxModelLen": 4096},
    },
    {
        "name": "far",
        "endpoint": {
            "url": "https://api.example.com/v1",
            "model": "far-large",
            "secret": {"name": "far", "key": "token"},
            "price": {"inputUsdPerMillion": "2.5", "outputUsdPerMillion": "10"},
        },
    },
    {"name": "agg", "source": "hf://org/model-agg-70b", "serving": {"gpus": 4, "replicas": 2}},
    {"name": "base", "source": "hf://org/student-8b"},
    {"name": "eva", "source": "s3://weights/eva-70b"},
]
JUDGES: dict[str, dict[str, Any]] = {
    "Mixture": {
        "judges": [{"model": "a"}, {"model": "far", "temperature": "0.2", "maxTokens": 512}],
        "aggregator": {"model": "agg", "topP": "0.9"},
        "criteria": 2,
    },
    "Single": {"aggregator": {"model": "agg"}, "criteria": 0},
    "Panel": {"judges": [{"model": "a"}, {"model": "b"}, {"model": "far"}], "criteria": 2},
}


def judge(method: str) -> dict[str, Any]:
    return {"method": method, **JUDGES[method]}


def benchmark(kind: str, method: str) -> dict[str, Any]:
    shared: dict[str, Any] = {"name": "held", "source": "s3://data/held.jsonl", "limit": 5, "samples": 2}
    if kind == "exact":
        return {**shared, "type": "ExactMatch"}
    baseline = {"base": "$base", "model": "eva"}[kind]
    return {**shared, "type": "Pairwise", "baseline": baseline, "judge": judge(method)}


def rich(method: str, kind: str, changes: dict[str, Any] | None = None) -> MoAA:
    """Two iterations, two layers, own prompts, the student among the proposers, an endpoint, members measured."""
    second = {"name": "seen", "type": "ExactMatch", "source": "s3://data/seen.jsonl"}
    base: dict[str, Any] = {
        "spec__storage": {"uri": "s3://bucket/prefix", "region": "eu-west-1"},
        "spec__seed": 11,
        "spec__iterations": 2,
        "spec__models": MODELS,
        "spec__prompts": OWN_PROMPTS,
        "spec__mixture": {
            "layers": [
                {"proposers": [{"model": "a", "samples": 2}, {"model": "b", "temperature": "0.9"}]},
                {"proposers": [{"model": "far", "maxTokens": 256}, {"model": "a"}]},
            ],
            "aggregator": {"model": "agg", "temperature": "0.3"},
            "addStudent": True,
            "minProposals": 2,
        },
        "spec__judge": judge(method),
        "spec__data__sft": [{"source": "s3://data/sft.jsonl", "limit": 10}, {"source": "hf://datasets/org/more"}],
        "spec__data__preference": [{"source": "s3://data/preference.jsonl", "limit": 4}],
        "spec__training__dpo": {"samples": 3, "beta": "0.05"},
        "spec__evaluation": {"selection": [benchmark(kind, method)], "report": [second], "gate": {"minGain": "0.01"}},
        "spec__cost": {"gpuHourUsd": "2.2"},
    }
    return MoAA.model_validate(tree(**{**base, **(changes or {})}))


VARIANTS: dict[str, dict[str, Any]] = {
    "default prompts": {"spec__prompts": None},
    "default prompts, Panel": {"spec__prompts": None, "spec__judge": judge("Panel")},
    "a Single judge asked for criteria": {"spec__judge": judge("Single") | {"criteria": 3}},
    "own criteria": {
        "spec__judge": judge("Mixture")
        | {"criteria": 1, "criteriaChoices": [{"name": "Brevity", "definition": "Is it short?"}]}
    },
    "the student judges": {
        "spec__judge": judge("Panel") | {"allowStudent": True, "judges": [{"model": "$student"}], "criteria": 0}
    },
    "the student judges a benchmark": {
        "spec__evaluation__selection": [
            benchmark("base", "Single")
            | {"judge": {"method": "Single", "allowStudent": True, "aggregator": {"model": "$student"}}}
        ]
    },
    "served in turn": {"spec__serving": {"schedule": "InTurn"}},
    "without the student": {"spec__mixture__addStudent": False},
    "the student proposes from the start": {
        "spec__mixture": {"layers": [{"proposers": [{"model": "$student"}]}], "aggregator": {"model": "$student"}}
    },
    "from the base each time": {"spec__start": "Base"},
    "reference model is the base": {"spec__training__dpo": {"refModel": "Base"}},
    "answers are given": {"spec__data__sft": [{"source": "s3://data/sft.jsonl", "limit": 10, "answers": "Given"}]},
    "rows may repeat": {"spec__data__allowReuse": True},
    "without sft": {"spec__training__sft": None, "spec__data__sft": []},
    "without dpo": {"spec__training__dpo": None, "spec__data__preference": [], "spec__judge": None},
    "nothing is measured": {"spec__evaluation": None},
    "members are not measured": {"spec__evaluation__members": False},
    "a lenient gate": {"spec__evaluation__gate": {"rule": "Mean"}, "spec__evaluation__confidence": "0.9"},
    "no decontamination": {"spec__data__decontaminationNgram": 0},
    "full precision": {"spec__training__sft": {"precision": "FP32", "packing": False, "zeroStage": 1}},
}
"""Changes of a Mixture that is measured by ExactMatch."""
