"""What the CRD admits and refuses: what `moaa validate` refuses, near the same place, and nothing that it accepts."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from moaa.api import MoAA
from moaa.api.prompts import BRACED
from moaa.api.reading.load import load, load_text
from moaa.errors import ResourceError
from tests.bad_resources import ARENA_HARD, BAD, MT_BENCH, SCORED, SEEDED
from tests.crd_server import Schema, admit, broken, complete, invalid, refused, root_schema, rules, unknown
from tests.plan_helpers import tree

EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*.yaml"))
TINY = Path(__file__).parents[3] / "examples" / "tiny" / "moaa.yaml"


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


JUDGE: dict[str, Any] = {"aggregator": {"model": "agg"}, "judges": [{"model": "a"}]}
THREE = [{"model": "a"}, {"model": "b"}, {"model": "eva"}]
POD: dict[str, Any] = {
    "metadata": {"labels": {"team": "x"}},
    "spec": {
        "nodeSelector": {"gpu": "h100"},
        "volumes": [{"name": "cache", "emptyDir": {"sizeLimit": "1Gi"}}],
        "containers": [{"name": "main", "securityContext": {"privileged": False, "runAsUser": 7}}],
    },
}
PAIRWISE: dict[str, Any] = {"name": "x", "type": "Pairwise", "source": "file:///x.jsonl"}
GOOD: dict[str, dict[str, Any]] = {
    "as it is": {},
    "an endpoint": {"spec__models__0": {"name": "a", "endpoint": {"url": "https://x/v1", "model": "m"}}},
    "an endpoint with ways of its own": {
        "spec__models__0": {
            "name": "a",
            "endpoint": {
                "url": "https://x.example/openai/deployments/d?api-version=2024-10-21",
                "model": "m",
                "omit": ["seed", "topP"],
                "names": {"maxTokens": "max_completion_tokens"},
                "headers": [
                    {"name": "api-key", "secret": {"name": "azure", "key": "key"}},
                    {"name": "X-Title", "value": "moaa"},
                ],
            },
            "extraBody": {
                "chat_template_kwargs": {"enable_thinking": False},
                "reasoning_effort": "low",
                "min_p": 0.05,
                "top_k": 20,
                "inner": {"list": [1, None, True]},
            },
        }
    },
    "an address that only mentions a call": {
        "spec__models__0": {"name": "a", "endpoint": {"url": "https://x/chat/completions/v1", "model": "m"}}
    },
    "policies for cut answers": {
        "spec__mixture__aggregator__whenCut": "Use",
        "spec__mixture__layers__0__proposers__0__whenCut": "Fail",
        "spec__training__dpo": {"whenCut": "Use"},
    },
    "an endpoint with an empty serving": {
        "spec__models__0": {"name": "a", "serving": {}, "endpoint": {"url": "https://x:8/v1?a=b", "model": "m"}}
    },
    "an endpoint with a word of a call in its host or query": {
        "spec__models__0": {"name": "a", "endpoint": {"url": "http://models/", "model": "m"}},
        "spec__models__1": {"name": "b", "endpoint": {"url": "https://x/v1?next=/models", "model": "m"}},
    },
    "a bucket's server with a path": {
        "spec__storage": {"uri": "s3://bucket/x", "endpoint": "https://s3.x:8443/storage/v1/s3/"}
    },
    "a server's address in brackets": {
        "spec__models__0": {"name": "a", "endpoint": {"url": "http://[::1]:8000/v1", "model": "m"}}
    },
    "a key with any character": {"spec__storage__uri": "s3://bucket/exp#1/x?y z"},
    "a bucket of another server": {"spec__models__0__source": "s3://My_bucket/x#1?y"},
    "a whole claim": {"spec__models__0__source": "pvc://models.team-a"},
    "a folder of a data set on the Hub": {
        "spec__data__sft": [{"source": "hf://datasets/o-1/d_x.y/some folder/é", "limit": 1}]
    },
    "a folder with a percent sign": {"spec__models__0__source": "file:///100%25/%20"},
    "a revision of a hub model": {
        "spec__models__0": {
            "name": "a",
            "source": "hf://o/m",
            "revision": "main",
            "tokenSecret": {"name": "a", "key": "b"},
        }
    },
    "a folder with a word for its content": {
        "spec__models__0": {"name": "a", "source": "file:///a", "revision": "mended"}
    },
    "a chat template": {
        "spec__models__0": {
            "name": "a",
            "source": "file:///a",
            "chatTemplate": "{{ messages }}",
            "chatTemplateArgs": {"enable_thinking": False, "effort": "low", "budget": 3},
        },
        "spec__training__thinking": "AnswerOnly",
    },
    "a model in a bucket": {"spec__models__0__source": "s3://bucket/x"},
    "other arguments": {
        "spec__models__0__serving": {"args": ["--quantization", "fp8", "--models-are=fine", "model", "__model"]}
    },
    "a pod template": {"spec__models__0__serving": {"template": POD}, "spec__training__resources": {"template": POD}},
    "an average": {"spec__training__average": "0.5"},
    "off-policy pairs": {
        "spec__training__dpo__samplesFrom": "Mixture",
        "spec__mixture": {"method": "Combined", "layers": [{"proposers": [{"model": "a", "samples": 2}]}]},
    },
    "one teacher": {"spec__mixture": {"method": "Single", "aggregator": {"model": "a"}}},
    "a draw": {"spec__mixture": {"method": "Random", "layers": [{"proposers": [{"model": "a"}, {"model": "b"}]}]}},
    "every answer": {"spec__mixture": {"method": "Combined", "layers": [{"proposers": [{"model": "a"}]}]}},
    "the best of four": {
        "spec__mixture": {
            "method": "BestOfN",
            "layers": [{"proposers": [{"model": "a", "samples": 2}, {"model": "b", "samples": 2}]}],
            "addStudent": True,
        }
    },
    "a panel of three": {"spec__judge": {"method": "Panel", "judges": THREE}},
    "a reward model that judges": SCORED,
    "a reward model that judges a benchmark": {
        **SCORED,
        "spec__evaluation__selection__0__judge": {"method": "RewardModel", "rewardModel": "b"},
    },
    "rules of pairs over a reward model's scores": {
        **SCORED,
        "spec__training__dpo": {"pairs": {"rejected": "Random", "minMargin": "0.1"}},
    },
    "a reward model that orders answers for judges": SEEDED,
    "a reward model behind an endpoint": {
        **SCORED,
        "spec__models__1": {"name": "b", "kind": "Reward", "endpoint": {"url": "https://x/v1", "model": "m"}},
    },
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
    "an AlpacaEval": {
        "spec__evaluation__report": [
            {
                "name": "x",
                "type": "AlpacaEval",
                "source": "s3://b/x.json",
                "judgeModel": {"model": "a", "maxTokens": 16},
                "known": {"source": "hf://datasets/o/d", "split": "df_gamed", "revision": "main"},
                "bothOrders": True,
            }
        ]
    },
    "tasks and instructions": {
        "spec__evaluation__report": [
            {
                "name": "x",
                "type": "LmEval",
                "source": "hf://datasets/openai/gsm8k/main",
                "split": "test",
                "fewshotSplit": "train",
                "tasks": ["gsm8k"],
                "metric": "exact_match,flexible-extract",
                "numFewshot": 5,
                "include": "s3://b/tasks/",
                "runCode": True,
            },
            {"name": "y", "type": "Instructions", "source": "s3://b/rules.jsonl"},
        ]
    },
    "an Arena-Hard and an MT-Bench": {
        "spec__evaluation__report": [
            ARENA_HARD | {"category": "hard_prompt", "judgeSystem": "Be fair."},
            MT_BENCH | {"name": "y", "answers": {"source": "s3://b/gpt-4.jsonl"}, "byCategory": False},
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
    "optimisers": {
        "spec__training__sft": {"schedule": "Linear", "minLearningRateRatio": "0.1", "adamBeta2": "0.95"},
        "spec__training__dpo": {"schedule": "Constant", "adamBeta1": "0", "adamEpsilon": "1e-15"},
    },
    "the best weights and an end": {
        "spec__training__sft": {"heldOut": "0.1", "keep": "Best", "patience": 1},
        "spec__training__dpo": {"heldOut": "0.1", "keep": "Last", "patience": 1000000, "evalSteps": 2},
    },
    "batches of sequences": {"spec__training__sft": {"batchOf": "Sequences"}},
    "adapters": {
        "spec__training__sft": {"adapter": {"type": "LoRA"}, "learningRate": "1e-4"},
        "spec__training__dpo": {
            "adapter": {
                "type": "LoRA",
                "rank": 1024,
                "alpha": "0.5",
                "dropout": "0.99",
                "targetModules": ["q_proj", "c_attn"],
            },
        },
    },
    "rules of pairs": {
        "spec__training__dpo": {
            "samples": 3,
            "pairs": {
                "rejected": "Random",
                "consistent": True,
                "minMargin": "0.7",
                "minRejectedPoints": "3e-1",
                "maxLengthDifference": 0,
            },
        },
    },
    "rules of pairs that need no points, over skipped comparisons": {
        "spec__judge__comparisons": "Adaptive",
        "spec__training__dpo": {"pairs": {"rejected": "Worst", "consistent": True, "maxLengthDifference": 9}},
    },
    "a floor for two of a mixture": {
        "spec__training__dpo": {"samples": 2, "samplesFrom": "Mixture", "pairs": {"minRejectedPoints": "0.1"}},
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
        "spec__storage": {
            "uri": "s3://bucket/x",
            "endpoint": "https://s3.x",
            "region": "eu",
            "secret": {"name": "s"},
            "weights": "Hub",
        }
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


def test_a_field_of_a_pod_template_without_a_value_is_none() -> None:
    context = {"privileged": None, "procMount": None}
    spec = {"volumes": None, "hostNetwork": None, "containers": [{"name": "x", "securityContext": context}]}
    document = tree(spec__models__0__serving={"template": {"spec": spec}})
    assert refused(document) == []
    load_text(yaml.safe_dump(document))


OPAQUE = "a JSON object of any shape is opaque to CEL"
NOT_IN_THE_CRD = {
    "a port too high in the storage's server": "a schema sees no numbers in a text",
    "api version": "the server knows the resource by it",
    "kind": "the server knows the resource by it",
    "no name": "the server's own rule about metadata",
    "name is a number": "the server's own rule about metadata",
    "a number too long to write out": "no rule sees a number's canonical spelling",
    "secrets that share a variable": "is about environment variables of `moaa run`",
    "a field that requests have already": OPAQUE,
    "a key in the body": OPAQUE,
    "a tool": OPAQUE,
    "a template's arguments for a server of ours": OPAQUE,
    "a template in the body for a server of ours": OPAQUE,
    "log-probabilities nobody reads": OPAQUE,
    "the name of a parameter in the body": OPAQUE,
    "an infinite number": "JSON has none",
}


MORE_BAD: dict[str, tuple[dict[str, Any], str]] = {
    **{
        f"{parameter} omitted and named": (
            {
                "spec__models__0": {
                    "name": "a",
                    "endpoint": {"url": "https://x/v1", "model": "m", "omit": [parameter], "names": {parameter: "x"}},
                }
            },
            f"spec.models[0].endpoint.names.{parameter}",
        )
        for parameter in ("temperature", "topP", "maxTokens")
    },
    "a fragment that looks like a key": (
        {"spec__models__0": {"name": "a", "endpoint": {"url": "https://x/v1#?key=1", "model": "m"}}},
        "spec.models[0].endpoint.url",
    ),
    "a line break in an address": (
        {"spec__models__0": {"name": "a", "endpoint": {"url": "https://x/v1/models\n", "model": "m"}}},
        "spec.models[0].endpoint.url",
    ),
    "a header twice": (
        {
            "spec__models__0": {
                "name": "a",
                "endpoint": {
                    "url": "https://x/v1",
                    "model": "m",
                    "headers": [{"name": "X-Title", "value": "a"}, {"name": "x-title", "value": "b"}],
                },
            }
        },
        "spec.models[0].endpoint.headers",
    ),
    "two authorisations": (
        {
            "spec__models__0": {
                "name": "a",
                "endpoint": {
                    "url": "https://x/v1",
                    "model": "m",
                    "secret": {"name": "a", "key": "b"},
                    "headers": [{"name": "authorization", "secret": {"name": "a", "key": "c"}}],
                },
            }
        },
        "spec.models[0].endpoint.headers",
    ),
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
        "spec.training.resources.template.spec.initContainers[0].securityContext",
    ),
    "the host in a template": (
        {"spec__models__0__serving": {"template": {"spec": {"hostPID": True, "hostIPC": True, "serviceAccount": "x"}}}},
        "spec.models[0].serving.template.spec",
    ),
    "a template for an endpoint": (
        {
            "spec__models__0": {
                "name": "a",
                "endpoint": {"url": "https://x/v1", "model": "m"},
                "serving": {"template": {"metadata": {"labels": {"a": "b"}}}},
            }
        },
        "spec.models[0]",
    ),
    "dpo batch does not divide": (
        {"spec__training__resources": {"workers": 3}, "spec__training__sft": {"batchSize": 3}},
        "spec.training.dpo.batchSize",
    ),
    "key and fragment in an address": (
        {"spec__storage": {"uri": "s3://bucket/x", "endpoint": "https://s3.x/#?key=1"}},
        "spec.storage.endpoint",
    ),
    "key in an address": (
        {"spec__storage": {"uri": "s3://bucket/x", "endpoint": "https://s3/?x=1&api_key=2"}},
        "spec.storage.endpoint",
    ),
    "user in an address": (
        {"spec__models__0": {"name": "a", "endpoint": {"url": "https://me@x/v1", "model": "m"}}},
        "spec.models[0].endpoint.url",
    ),
    "encoded line break in the storage": ({"spec__storage__uri": "file:///x%0Ay"}, "spec.storage.uri"),
    "encoded escape in a model's source": ({"spec__models__0__source": "file:///x%1by"}, "spec.models[0].source"),
    "encoded delete in a source": ({"spec__data__sft__0__source": "file:///%7f.json"}, "spec.data.sft[0].source"),
    "argument we set, with both signs": (
        {"spec__models__0__serving": {"args": ["--served_model-name=x"]}},
        "spec.models[0].serving.args",
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
    **{
        f"a field of another benchmark: {name}": (
            {
                "spec__evaluation__report": [
                    {"name": "x", "type": "ExactMatch", "source": "file:///x.json", name: value}
                ]
            },
            f"spec.evaluation.report[0].{name}",
        )
        for name, value in (
            ("judgeModel", {"model": "a"}),
            ("known", {"source": "file:///x.csv"}),
            ("bothOrders", True),
            ("version", "v0.1"),
            ("category", "math"),
            ("answers", {"source": "file:///x.jsonl"}),
            ("judgeSystem", "Be fair."),
            ("byCategory", False),
            ("tasks", ["gsm8k"]),
            ("metric", "m"),
            ("numFewshot", 1),
            ("fewshotSplit", "train"),
            ("include", "s3://b/tasks/"),
            ("runCode", True),
        )
    },
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
    "an average of one model": ({"spec__training__average": "1"}, "spec.training.average"),
    "top p of nothing": ({"spec__mixture__studentSampling": {"topP": "0"}}, "spec.mixture.studentSampling.topP"),
    "full confidence": ({"spec__evaluation__confidence": "1"}, "spec.evaluation.confidence"),
    "frozen samples": ({"spec__training__dpo": {"temperature": "0.0"}}, "spec.training.dpo.temperature"),
    "below zero": ({"spec__training__sft": {"weightDecay": "-0.1"}}, "spec.training.sft.weightDecay"),
    "a mean that never moves": ({"spec__training__sft": {"adamBeta1": "1"}}, "spec.training.sft.adamBeta1"),
    "squares that never move": ({"spec__training__dpo": {"adamBeta2": "1"}}, "spec.training.dpo.adamBeta2"),
    "no patience": ({"spec__training__sft": {"heldOut": "0.1", "patience": 0}}, "spec.training.sft.patience"),
    "patience without end": (
        {"spec__training__dpo": {"heldOut": "0.1", "patience": 1000001}},
        "spec.training.dpo.patience",
    ),
    "an adapter of no kind": ({"spec__training__sft": {"adapter": {}}}, "spec.training.sft.adapter.type"),
    "an adapter of another kind": (
        {"spec__training__sft": {"adapter": {"type": "QLoRA"}}},
        "spec.training.sft.adapter.type",
    ),
    **{
        f"adapter: {field} {value}": (
            {"spec__training__sft": {"adapter": {"type": "LoRA", field: value}}},
            f"spec.training.sft.adapter.{field}",
        )
        for field, value in (
            ("rank", 0),
            ("rank", 1025),
            ("alpha", "0"),
            ("alpha", "65537"),
            ("dropout", "-0.1"),
            ("dropout", "1"),
            ("targetModules", []),
            ("targetModules", ["q"] * 33),
        )
    },
    "an adapter of a pattern": (
        {"spec__training__sft": {"adapter": {"type": "LoRA", "targetModules": [".*_proj"]}}},
        "spec.training.sft.adapter.targetModules[0]",
    ),
    "no epsilon": ({"spec__training__sft": {"adamEpsilon": "0"}}, "spec.training.sft.adamEpsilon"),
    "a margin of nothing": (
        {"spec__training__dpo": {"pairs": {"minMargin": "0"}}},
        "spec.training.dpo.pairs.minMargin",
    ),
    "a floor at the top": (
        {"spec__training__dpo": {"pairs": {"minRejectedPoints": "1"}}},
        "spec.training.dpo.pairs.minRejectedPoints",
    ),
    "lengths below nothing": (
        {"spec__training__dpo": {"pairs": {"maxLengthDifference": -1}}},
        "spec.training.dpo.pairs.maxLengthDifference",
    ),
    "an end at nothing": (
        {"spec__training__sft": {"minLearningRateRatio": "0"}},
        "spec.training.sft.minLearningRateRatio",
    ),
    "labels wrong half the time": (
        {"spec__training__dpo": {"loss": "Robust", "labelSmoothing": "0.5"}},
        "spec.training.dpo.labelSmoothing",
    ),
    "a margin of hundreds": (
        {"spec__training__dpo": {"loss": "SimPO", "simpoGamma": "101"}},
        "spec.training.dpo.simpoGamma",
    ),
    "an SFT term of hundreds": ({"spec__training__dpo": {"sftWeight": "101"}}, "spec.training.dpo.sftWeight"),
    "more held out than taught": ({"spec__training__sft": {"heldOut": "0.51"}}, "spec.training.sft.heldOut"),
    "a rate of nothing": ({"spec__training__sft": {"learningRate": "0"}}, "spec.training.sft.learningRate"),
    "more memory than there is": ({"spec__models__0__serving": {"memoryGib": "1e9"}}, "spec.models[0].serving"),
    "an absurd price of tokens": (
        {
            "spec__models__0": {
                "name": "a",
                "endpoint": {
                    "url": "https://x/v1",
                    "model": "m",
                    "price": {"inputUsdPerMillion": "1e7", "outputUsdPerMillion": "1"},
                },
            }
        },
        "spec.models[0].endpoint.price.inputUsdPerMillion",
    ),
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
    "an order of two answers in the report": (
        {**SCORED, "spec__evaluation": {"report": [PAIRWISE | {"judge": SEEDED["spec__judge"]}]}},
        "spec.evaluation.report",
    ),
    "panel with an aggregator": (
        {"spec__judge": {"method": "Panel", "judges": THREE, "aggregator": {"model": "a"}}},
        "spec.judge.aggregator",
    ),
    "mixture without aggregator": ({"spec__judge": {"judges": THREE}}, "spec.judge.aggregator"),
    "mixture without judges": ({"spec__judge": {"aggregator": {"model": "a"}}}, "spec.judge.judges"),
    "text behind the last line": ({"spec__student": "base\n"}, "spec.student"),
    **{
        f"prompt {name} without its texts": ({"spec__prompts": {name: "{nothing}"}}, f"spec.prompts.{name}")
        for name in (
            "aggregate",
            "proposal",
            "criterion",
            "criteria",
            "promptCriteria",
            "judge",
            "evaluation",
            "metaJudge",
            "single",
        )
    },
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


@given(parts=st.lists(st.sampled_from(["{", "}", "{text}", "{number}", "{texts}", "{ text}", "{}", "text", "\n", "é"])))
def test_unknown_placeholders_are_those_that_rendering_would_look_up(parts: list[str]) -> None:
    text = "".join(parts) + "{text}"
    told = [r.path for r in refused(tree(spec__prompts={"proposal": text})) if "must hold" in r.message]
    assert told == (["spec.prompts.proposal"] if set(BRACED.findall(text)) - {"text", "number"} else [])


def template(spec: object) -> dict[str, Any]:
    return {"spec__models__0__serving": {"template": {"spec": spec}}}


POD_PATH = "spec.models[0].serving.template.spec"
SCHEMA_ALONE: dict[str, tuple[dict[str, Any], str]] = {
    "a template's pod that is a list": (template([]), POD_PATH),
    "volumes that are a mapping": (template({"volumes": {}}), f"{POD_PATH}.volumes"),
    "many containers": (template({"containers": [{"name": "x"}] * 17}), f"{POD_PATH}.containers"),
    "a container that is text": (template({"initContainers": ["x"]}), f"{POD_PATH}.initContainers[0]"),
    "a security context that is a list": (
        template({"containers": [{"securityContext": []}]}),
        f"{POD_PATH}.containers[0].securityContext",
    ),
    "a flag in quotes": (
        template({"containers": [{"securityContext": {"privileged": "yes"}}]}),
        f"{POD_PATH}.containers[0].securityContext.privileged",
    ),
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
