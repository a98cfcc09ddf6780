"""Resources with one mistake each: what is changed in `tests.plan_helpers.tree`, where it lies, what the remedy says.

Every tier that refuses resources refuses these: `moaa validate`, and as far as a schema and CEL can, the API server.
"""

from typing import Any


def asked(**endpoint: Any) -> dict[str, Any]:
    """A model behind an endpoint."""
    return {"name": "a", "endpoint": {"url": "https://x/v1", "model": "m", **endpoint}}


ARENA_HARD: dict[str, Any] = {
    "name": "x",
    "type": "ArenaHard",
    "source": "file:///x.jsonl",
    "version": "v0.1",
    "answers": {"source": "file:///a.jsonl"},
    "judgeModel": {"model": "a"},
}
MT_BENCH: dict[str, Any] = {"name": "x", "type": "MtBench", "source": "file:///x.jsonl", "judgeModel": {"model": "a"}}

ONLY_A: Any = [{"proposers": [{"model": "a"}]}]
REWARD_B: dict[str, Any] = {"name": "b", "source": "hf://org/reward-8b", "kind": "Reward"}
SCORED: dict[str, Any] = {
    "spec__models__1": REWARD_B,
    "spec__mixture__layers": ONLY_A,
    "spec__judge": {"method": "RewardModel", "rewardModel": "b"},
}
"""A judge that is a reward model."""
SEEDED: dict[str, Any] = {
    **SCORED,
    "spec__judge": {
        "judges": [{"model": "a"}],
        "aggregator": {"model": "agg"},
        "comparisons": "Seeded",
        "rewardModel": "b",
    },
}
"""Judges that compare the ends of a reward model's order."""
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
        {"spec__training__sft": {"learningRate": "8e-6x"}},
        "spec.training.sft.learningRate",
        "a number in quotes",
    ),
    "zero epochs": ({"spec__training__sft": {"epochs": "0"}}, "spec.training.sft.epochs", "must be more than 0"),
    "epochs without end": ({"spec__training__sft": {"epochs": "1e30"}}, "spec.training.sft.epochs", "at most 1000"),
    "epochs beyond numbers": (
        {"spec__training__sft": {"epochs": "1e999999"}},
        "spec.training.sft.epochs",
        "an exponent has at most two digits",
    ),
    "epochs beyond floats": (
        {"spec__training__dpo": {"epochs": "1e400"}},
        "spec.training.dpo.epochs",
        "an exponent has at most two digits",
    ),
    "an absurd price": ({"spec__cost": {"gpuHourUsd": "1e30"}}, "spec.cost.gpuHourUsd", "must be at most 100000"),
    "a budget of nothing": ({"spec__budget": {"tokens": 0}}, "spec.budget.tokens", "must be at least 1"),
    "an absurd budget of tokens": (
        {"spec__budget": {"tokens": 10**16}},
        "spec.budget.tokens",
        "must be at most 1000000000000000",
    ),
    "a budget of no dollars": ({"spec__budget": {"dollars": "0"}}, "spec.budget.dollars", "must be more than 0"),
    "an absurd budget": ({"spec__budget": {"dollars": "1e10"}}, "spec.budget.dollars", "must be at most 1000000000"),
    "a budget of no hours": (
        {"spec__budget__perIteration": {"gpuHours": "0"}},
        "spec.budget.perIteration.gpuHours",
        "must be more than 0",
    ),
    "an absurd budget of hours": (
        {"spec__budget__perIteration": {"gpuHours": "1e9"}},
        "spec.budget.perIteration.gpuHours",
        "must be at most 100000000",
    ),
    "dollars without a price of GPUs": (
        {"spec__budget": {"dollars": "5"}},
        "spec.cost.gpuHourUsd",
        "is needed by spec.budget.dollars",
    ),
    "dollars without a price of an endpoint": (
        {"spec__budget__perIteration": {"dollars": "5"}, "spec__cost": {"gpuHourUsd": "2"}, "spec__models__0": asked()},
        "spec.models[0].endpoint.price",
        "is needed by spec.budget.perIteration.dollars",
    ),
    "no requests a minute": (
        {"spec__models__0": asked(requestsPerMinute=0)},
        "spec.models[0].endpoint.requestsPerMinute",
        "must be at least 1",
    ),
    "absurdly many requests a minute": (
        {"spec__models__0": asked(requestsPerMinute=10**9)},
        "spec.models[0].endpoint.requestsPerMinute",
        "must be at most 100000000",
    ),
    "no tokens a minute": (
        {"spec__models__0": asked(tokensPerMinute=0)},
        "spec.models[0].endpoint.tokensPerMinute",
        "must be at least 1",
    ),
    "absurdly many tokens a minute": (
        {"spec__models__0": asked(tokensPerMinute=10**13)},
        "spec.models[0].endpoint.tokensPerMinute",
        "must be at most 1000000000000",
    ),
    "an absurd limit": (
        {"spec__data__sft__0__limit": int("9" * 54)},
        "spec.data.sft[0].limit",
        "must be at most 1000000000",
    ),
    "an absurd window": (
        {"spec__models__0__serving": {"maxModelLen": 10**12}},
        "spec.models[0].serving.maxModelLen",
        "must be at most 100000000",
    ),
    "a number too long to write out": (
        {"spec__training__sft": {"learningRate": "1e-40"}},
        "spec.training.sft.learningRate",
        "at most 32 characters when it is written without an exponent",
    ),
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
    "field elsewhere": ({"spec__mixture__epochs": 1}, "spec.mixture.epochs", "fields here: method, layers"),
    "field of the other benchmark": (
        {"spec__evaluation__selection__0__answer": 1},
        "spec.evaluation.selection[0].answer",
        "is not a field here",
    ),
    # models
    "no models": ({"spec__models": []}, "spec.models", "at least 1 must be there"),
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
    "token of a folder": (
        {"spec__models__0": {"name": "a", "source": "file:///a", "tokenSecret": {"name": "a", "key": "b"}}},
        "spec.models[0].tokenSecret",
        "for hf:// sources only",
    ),
    "a template that is none": (
        {"spec__models__0__chatTemplate": "file:///a.jinja"},
        "spec.models[0].chatTemplate",
        "write its text",
    ),
    "a template of an endpoint": (
        {
            "spec__models__0": {
                "name": "a",
                "endpoint": {"url": "https://x/v1", "model": "m"},
                "chatTemplate": "{{ x }}",
            }
        },
        "spec.models[0].chatTemplate",
        "models that we serve",
    ),
    "a template in arguments": (
        {"spec__models__0__serving": {"args": ["--chat-template", "x"]}},
        "spec.models[0].serving.args[0]",
        "use the model's chatTemplate",
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
    "no layers": ({"spec__mixture__layers": []}, "spec.mixture", "method Mixture needs layers with proposers"),
    "layers of one teacher": ({"spec__mixture__method": "Single"}, "spec.mixture", "method Single has no layers"),
    "a draw from two layers": (
        {"spec__mixture": {"method": "Random", "layers": [{"proposers": [{"model": "a"}]}] * 2}},
        "spec.mixture",
        "method Random has one layer, not 2",
    ),
    "no aggregator": ({"spec__mixture__aggregator": None}, "spec.mixture", "method Mixture needs an aggregator"),
    "an aggregator of combined answers": (
        {"spec__mixture__method": "Combined"},
        "spec.mixture",
        "method Combined has no aggregator",
    ),
    "nobody to join": (
        {"spec__mixture": {"method": "Single", "aggregator": {"model": "a"}, "addStudent": True}},
        "spec.mixture",
        "so addStudent has none to join",
    ),
    "samples of no mixture": (
        {
            "spec__training__dpo__samplesFrom": "Mixture",
            "spec__mixture": None,
            "spec__data__sft": None,
            "spec__training__sft": None,
        },
        "spec.training.dpo.samplesFrom",
        "Mixture needs spec.mixture",
    ),
    "pairs of one answer": (
        {
            "spec__training__dpo__samplesFrom": "Mixture",
            "spec__mixture": {"method": "Combined", "layers": [{"proposers": [{"model": "a"}]}]},
        },
        "spec.training.dpo.samplesFrom",
        "has one answer, and pairs need two",
    ),
    "smoothing of another loss": (
        {"spec__training__dpo": {"labelSmoothing": "0.1"}},
        "spec.training.dpo.labelSmoothing",
        "read by loss Robust only, and loss is Sigmoid",
    ),
    "a robust loss without its share": (
        {"spec__training__dpo": {"loss": "Robust"}},
        "spec.training.dpo.labelSmoothing",
        "is required with loss Robust",
    ),
    "a gamma of another loss": (
        {"spec__training__dpo": {"loss": "Hinge", "simpoGamma": "1"}},
        "spec.training.dpo.simpoGamma",
        "read by loss SimPO only, and loss is Hinge",
    ),
    "SimPO without its gamma": (
        {"spec__training__dpo": {"loss": "SimPO"}},
        "spec.training.dpo.simpoGamma",
        "is required with loss SimPO",
    ),
    "SimPO against a ref_model": (
        {"spec__training__dpo": {"loss": "SimPO", "simpoGamma": "1", "refModel": "Base"}},
        "spec.training.dpo.refModel",
        "Base has no effect: loss SimPO reads no ref_model",
    ),
    "a margin above any floor": (
        {"spec__training__dpo": {"pairs": {"minMargin": "0.7", "minRejectedPoints": "0.31"}}},
        "spec.training.dpo.pairs.minMargin",
        "and minRejectedPoints 0.31 are more than 1 together",
    ),
    "a floor under the worse of two": (
        {"spec__training__dpo": {"samples": 2, "pairs": {"minRejectedPoints": "0.1"}}},
        "spec.training.dpo.pairs.minRejectedPoints",
        "needs three samples",
    ),
    "a margin over skipped comparisons": (
        {"spec__judge__comparisons": "Adaptive", "spec__training__dpo": {"pairs": {"minMargin": "0.2"}}},
        "spec.training.dpo.pairs.minMargin",
        "judge.comparisons Adaptive skips some",
    ),
    "a floor over skipped comparisons": (
        {"spec__judge__comparisons": "Adaptive", "spec__training__dpo": {"pairs": {"minRejectedPoints": "0.2"}}},
        "spec.training.dpo.pairs.minRejectedPoints",
        "judge.comparisons Adaptive skips some",
    ),
    "any loser of skipped comparisons": (
        {"spec__judge__comparisons": "Adaptive", "spec__training__dpo": {"pairs": {"rejected": "Random"}}},
        "spec.training.dpo.pairs.rejected",
        "judge.comparisons Adaptive skips some",
    ),
    "an average that nothing measures": (
        {"spec__training__average": "0.5", "spec__evaluation": {}},
        "spec.training.average",
        "needs a benchmark in evaluation.selection",
    ),
    "the best of one": (
        {"spec__mixture": {"method": "BestOfN", "layers": [{"proposers": [{"model": "a"}]}]}},
        "spec.mixture",
        "layers[0] gives 1; add proposers or samples",
    ),
    "the best without a judge": (
        {
            "spec__mixture": {"method": "BestOfN", "layers": [{"proposers": [{"model": "a", "samples": 2}]}]},
            "spec__judge": None,
            "spec__training__dpo": None,
            "spec__data__preference": None,
        },
        "spec.judge",
        "is required: mixture.method BestOfN",
    ),
    "too few proposals": ({"spec__mixture__minProposals": 3}, "spec.mixture", "more than layers[0] can give (2)"),
    "student twice": (
        {"spec__mixture__addStudent": True, "spec__mixture__layers__0__proposers__0__model": "$student"},
        "spec.mixture.layers[0].proposers[0].model",
        "keep one of the two",
    ),
    "no mixture": ({"spec__mixture": None}, "spec.mixture", "is required: spec.data.sft[0]"),
    "anchors and no judge": (
        {
            "spec__anchors": {},
            "spec__training": {"sft": {}},
            "spec__data__preference": None,
            "spec__evaluation": None,
        },
        "spec.anchors",
        "nothing is judged",
    ),
    "no judge passes a floor of one": ({"spec__anchors": {"floor": "1"}}, "spec.anchors.floor", "must be less than 1"),
    "labelled pairs at a model's address": (
        {"spec__anchors": {"source": {"source": "hf://owner/name"}}},
        "spec.anchors.source.source",
        "must be hf://datasets/owner/name",
    ),
    "no judge": ({"spec__judge": None}, "spec.judge", "is required: training.dpo needs pairs"),
    "even panel": (
        {"spec__judge": {"method": "Panel", "judges": [{"model": "a"}, {"model": "b"}]}},
        "spec.judge",
        "odd number of judges",
    ),
    "more judges needed than there are": (
        {"spec__judge": {"judges": [{"model": "a"}], "aggregator": {"model": "a"}, "minJudges": 2}},
        "spec.judge",
        "minJudges 2 is more than the 1 judges",
    ),
    "judges of a single judge": ({"spec__judge__method": "Single"}, "spec.judge", "asks no judges; remove them"),
    "an answer by a reward model": (
        {"spec__models__1": REWARD_B, "spec__judge__judges": [{"model": "a"}]},
        "spec.mixture.layers[0].proposers[1].model",
        "names a model of kind Reward, and here one has to write answers",
    ),
    "a verdict by a reward model": (
        {"spec__models__4": {"name": "eva", "source": "hf://org/eva-70b", "kind": "Reward"}},
        "spec.evaluation.selection[0].judge.aggregator.model",
        "names a model of kind Reward",
    ),
    "a reward model that learns": (
        {"spec__models__3": {"name": "base", "source": "hf://org/student-8b", "kind": "Reward"}},
        "spec.student",
        "names a model of kind Reward",
    ),
    "a score by a model that writes": (
        {"spec__judge": {"method": "RewardModel", "rewardModel": "eva"}},
        "spec.judge.rewardModel",
        "names a model of kind Chat, and here one has to give numbers",
    ),
    "a score by nobody": ({"spec__judge": {"method": "RewardModel"}}, "spec.judge", "needs rewardModel"),
    "an order by nobody": (
        {"spec__judge__comparisons": "Seeded"},
        "spec.judge",
        "comparisons Seeded needs rewardModel",
    ),
    "a reward model for nothing": (
        {
            **SCORED,
            "spec__judge": {"judges": [{"model": "a"}], "aggregator": {"model": "agg"}, "rewardModel": "b"},
        },
        "spec.judge.rewardModel",
        "is asked by nobody here",
    ),
    "a reward model that is not declared": (
        {"spec__judge": {"method": "RewardModel", "rewardModel": "nobody"}},
        "spec.judge.rewardModel",
        "is not declared in spec.models",
    ),
    "a reward model that compares": (
        {**SCORED, "spec__judge": {"method": "RewardModel", "rewardModel": "b", "comparisons": "Adaptive"}},
        "spec.judge.comparisons",
        "has no effect with method RewardModel",
    ),
    "a reward model's verdicts": (
        {**SCORED, "spec__judge": {"method": "RewardModel", "rewardModel": "b", "verdict": "LogProbs"}},
        "spec.judge.verdict",
        "has no effect with method RewardModel",
    ),
    "both orders of a reward model": (
        {**SCORED, "spec__training__dpo": {"pairs": {"consistent": True}}},
        "spec.training.dpo.pairs.consistent",
        "reads each answer by itself",
    ),
    "an order of two": (
        {
            **SCORED,
            "spec__evaluation__selection__0__judge": {
                "method": "Single",
                "aggregator": {"model": "eva"},
                "comparisons": "Seeded",
                "rewardModel": "b",
            },
        },
        "spec.evaluation.selection[0].judge.comparisons",
        "a benchmark's judge compares one with one",
    ),
    "the best of answers without points": (
        {**SEEDED, "spec__mixture": {"method": "BestOfN", "layers": [{"proposers": [{"model": "a", "samples": 2}]}]}},
        "spec.judge.comparisons",
        "leaves answers without points, and mixture.method BestOfN",
    ),
    "a margin over the ends of an order": (
        {**SEEDED, "spec__training__dpo": {"pairs": {"minMargin": "0.2"}}},
        "spec.training.dpo.pairs.minMargin",
        "judge.comparisons Seeded skips some",
    ),
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
    "unknown placeholder of AlpacaEval": (
        {"spec__prompts": {"alpacaEval": "{question} {answer_a} {answer_b} {criteria}"}},
        "spec.prompts",
        "",
    ),
    "missing placeholder of AlpacaEval": (
        {"spec__prompts": {"alpacaEval": "{question} {answer_a}"}},
        "spec.prompts",
        "is missing",
    ),
    "missing placeholder": ({"spec__prompts": {"judge": "{question}"}}, "spec.prompts", "is missing"),
    **{
        f"a template without its placeholders: {name}": (
            {"spec__prompts": {name: "Decide."}},
            "spec.prompts",
            f"{name}: {{{hole}}} is missing",
        )
        for name, hole in {
            "arenaHard": "answer_a",
            "exchange": "answer",
            "expected": "text",
            "grade": "conversation",
            "gradeReference": "conversation",
        }.items()
    },
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
        {"spec__data__sft__0__source": "s3://b/x.xlsx"},
        "spec.data.sft[0].source",
        "must end with .jsonl, .json, .csv or .tsv",
    ),
    "compressed Parquet": (
        {"spec__data__sft__0__source": "s3://b/x.parquet.gz"},
        "spec.data.sft[0].source",
        "must end with .jsonl",
    ),
    "two columns for the conversation": (
        {"spec__data__sft__0__columns": {"messages": "dialog", "prompt": "query"}},
        "spec.data.sft[0].columns.prompt",
        "stands beside messages",
    ),
    "a source twice": (
        {"spec__data__preference": [{"source": "s3://b/x.json"}, {"source": "s3://b/x.json", "split": "train"}]},
        "spec.data.preference[1].source",
        "rows are taken once",
    ),
    "a source of sft twice": (
        {"spec__data__sft": [{"source": "s3://b/x.json"}, {"source": "s3://b/x.json", "answers": "Given"}]},
        "spec.data.sft[1].source",
        "is spec.data.sft[0] again",
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
    # serving
    "machines that do not divide the GPUs": (
        {"spec__models__2__serving": {"gpus": 12, "nodes": 5}},
        "spec.models[2].serving.nodes",
        "does not divide gpus (12), of which each machine has an equal part; write one of 1, 2, 3, 4, 6, 12",
    ),
    "machines for the one GPU of the default": (
        {"spec__models__2__serving": {"nodes": 2}},
        "spec.models[2].serving.nodes",
        "does not divide gpus (1)",
    ),
    "a pipeline of CPUs": (
        {"spec__models__2__serving": {"gpus": 0, "nodes": 2}},
        "spec.models[2].serving.nodes",
        "needs GPUs: vLLM serves over several machines as a pipeline, which it does not on CPUs",
    ),
    "no machine": ({"spec__models__2__serving": {"nodes": 0}}, "spec.models[2].serving.nodes", "must be at least 1"),
    "machines without end": (
        {"spec__models__2__serving": {"gpus": 17, "nodes": 17}},
        "spec.models[2].serving.nodes",
        "must be at most 16",
    ),
    "stages of a pipeline as an argument": (
        {"spec__models__0__serving": {"args": ["--pipeline_parallel_size=2"]}},
        "spec.models[0].serving.args[0]",
        "use serving.nodes",
    ),
    "Auto without a limit": (
        {"spec__serving": {"replicas": "Auto"}},
        "spec.serving.replicas",
        "give maxGpus, the GPUs that all servers may hold",
    ),
    "a limit of nothing": ({"spec__serving": {"maxGpus": 9}}, "spec.serving.maxGpus", "without replicas: Auto"),
    "a limit below one model": (
        {"spec__serving": {"replicas": "Auto", "maxGpus": 7}, "spec__models__2__serving": {"gpus": 4, "replicas": 2}},
        "spec.serving.maxGpus",
        "is less than the 8 GPUs of agg",
    ),
    "no GPU": ({"spec__serving": {"replicas": "Auto", "maxGpus": 0}}, "spec.serving.maxGpus", "must be at least 1"),
    "GPUs without end": (
        {"spec__serving": {"replicas": "Auto", "maxGpus": 100_001}},
        "spec.serving.maxGpus",
        "must be at most 100000",
    ),
    # training
    "nothing trained": ({"spec__training": {}}, "spec.training", "without either nothing is trained"),
    "batch does not divide": (
        {"spec__training__sft": {"batchSize": 7}, "spec__training__resources": {"workers": 2}},
        "spec.training",
        "not divisible by workers × microBatchSize (2); write 6",
    ),
    "a schedule without an end": (
        {f"spec__training__{part}": {"schedule": "Constant", "minLearningRateRatio": "0.1"} for part in ("sft", "dpo")},
        "spec.training",
        "no effect under schedule Constant",
    ),
    "sequences that nobody fills": (
        {"spec__training__sft": {"batchOf": "Sequences", "packing": False}},
        "spec.training.sft.batchOf",
        "needs packing",
    ),
    "the best by no measure": (
        {f"spec__training__{part}": {"keep": "Best"} for part in ("sft", "dpo")},
        "spec.training",
        "keep Best needs heldOut",
    ),
    "patience with nothing to look at": (
        {f"spec__training__{part}": {"patience": 3} for part in ("sft", "dpo")},
        "spec.training",
        "patience needs heldOut",
    ),
    "a stage without a gradient norm": (
        {f"spec__training__{part}": {"zeroStage": 0, "precision": "FP32"} for part in ("sft", "dpo")},
        "spec.training",
        "zeroStage 0 tells no gradient norm",
    ),
    "bfloat on a CPU": ({"spec__training__resources": {"gpusPerWorker": 0}}, "spec.training", "write FP32"),
    # storage
    "bucket in upper case": ({"spec__storage__uri": "s3://Bucket/x"}, "spec.storage.uri", "s3://bucket/prefix"),
    "line break in the storage": ({"spec__storage__uri": "file:///x\ny"}, "spec.storage.uri", "a line break"),
    "control character in a source": (
        {"spec__data__sft__0__source": "file:///x\x01.jsonl"},
        "spec.data.sft[0].source",
        "another control character",
    ),
    "line break in a model's source": (
        {"spec__models__0__source": "file:///x\ny"},
        "spec.models[0].source",
        "a line break",
    ),
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
    # addresses
    **{
        f"{what} in a model's source": (
            {"spec__models__0__source": source},
            "spec.models[0].source",
            remedy,
        )
        for what, source, remedy in (
            ("a revision", "hf://o/m@main", "a branch or commit goes into revision"),
            ("a query", "hf://o/m?revision=x", "a branch or commit goes into revision"),
            ("a space", "hf://o/my model", "must be hf://owner/name"),
            ("no bucket", "s3:///x", "must be s3://bucket/"),
            ("a user", "s3://me@bucket/x", "must be s3://bucket/"),
            ("a capital claim", "pvc://Claim/x", "must be pvc://claim/folder"),
            ("no claim", "pvc:///x", "must be pvc://claim/folder"),
            ("a web page", "https://huggingface.co/o/m", "must be hf://owner/name, s3://bucket/prefix"),
        )
    },
    **{
        f"{what} in a source of rows": ({"spec__data__sft__0__source": source}, "spec.data.sft[0].source", remedy)
        for what, source, remedy in (
            ("a revision", "hf://datasets/o/d@main", "goes into revision"),
            ("a query", "hf://datasets/o/d?x", "goes into revision"),
            ("a key and its secret", "s3://AK:SE/CRET@bucket/x.json", "must be s3://bucket/"),
            ("a space for a bucket", "s3:// bucket/x.json", "must be s3://bucket/"),
        )
    },
    **{
        f"{what} in the storage's server": (
            {"spec__storage": {"uri": "s3://bucket/x", "endpoint": address}},
            "spec.storage.endpoint",
            remedy,
        )
        for what, address, remedy in (
            ("no scheme", "s3.example:9000", "must be http:// or https://, a host"),
            ("no host", "https:///x", "must be http:// or https://, a host"),
            ("a word for a port", "https://s3.x:port", "must be http:// or https://, a host"),
            ("a port too high", "https://s3.x:99999", "is not an address"),
            ("a space", "https://s3.x/a b", "must be http:// or https://, a host"),
            ("a fragment", "https://s3.x/#top", "holds a '#'"),
            ("a query", "https://s3.x/?list-type=2", "holds a '?'"),
            ("a user", "https://me@s3.x", "holds a credential"),
            ("a password with a slash", "https://me:p/w@s3.x", "must be http:// or https://, a host"),
        )
    },
    **{
        f"{what} in an endpoint's URL": (
            {"spec__models__0": asked(url=url)},
            "spec.models[0].endpoint.url",
            remedy,
        )
        for what, url, remedy in (
            ("a capital key", "https://x/v1?API_KEY=abc", "holds a credential"),
            ("a signature", "https://x/v1?a=b&sig=abc", "holds a credential"),
            ("no host", "http://:8000/v1", "must be http:// or https://, a host"),
            ("no scheme", "localhost:8000/v1", "must be http:// or https://, a host"),
        )
    },
    # evaluation
    "two benchmarks of a name": (
        {"spec__evaluation__report": [{"name": "held", "type": "ExactMatch", "source": "file:///x.json"}]},
        "spec.evaluation.report[0].name",
        "already the name of spec.evaluation.selection[0]",
    ),
    "benchmark without type": (
        {"spec__evaluation__report": [{"name": "x", "source": "file:///x.json"}]},
        "spec.evaluation.report[0].type",
        "write one of: ExactMatch, Pairwise, AlpacaEval, ArenaHard, MtBench, LmEval, Instructions",
    ),
    "benchmark of a wrong type": (
        {"spec__evaluation__report": [{"name": "x", "type": "ExactMach", "source": "file:///x.json"}]},
        "spec.evaluation.report[0].type",
        "is no such kind; did you mean ExactMatch?",
    ),
    "pairwise without judge": (
        {"spec__evaluation__report": [{"name": "x", "type": "Pairwise", "source": "file:///x.json"}]},
        "spec.evaluation.report[0].judge",
        "is required",
    ),
    "AlpacaEval without judge": (
        {"spec__evaluation__report": [{"name": "x", "type": "AlpacaEval", "source": "file:///x.json"}]},
        "spec.evaluation.report[0].judgeModel",
        "is required",
    ),
    "AlpacaEval judged by the student": (
        {
            "spec__evaluation__report": [
                {"name": "x", "type": "AlpacaEval", "source": "file:///x.json", "judgeModel": {"model": "$student"}}
            ]
        },
        "spec.evaluation.report[0].judgeModel.model",
        "",
    ),
    "AlpacaEval judged by nobody": (
        {
            "spec__evaluation__report": [
                {"name": "x", "type": "AlpacaEval", "source": "file:///x.json", "judgeModel": {"model": "z"}}
            ]
        },
        "spec.evaluation.report[0].judgeModel.model",
        "is not declared",
    ),
    "AlpacaEval with a relative file": (
        {
            "spec__evaluation__report": [
                {
                    "name": "x",
                    "type": "AlpacaEval",
                    "source": "file:///x.json",
                    "judgeModel": {"model": "a"},
                    "known": {"source": "file://x.csv"},
                }
            ]
        },
        "spec.evaluation.report[0].known.source",
        "must be an absolute path",
    ),
    **{
        f"{kind} without {lacks}": (
            {"spec__evaluation__report": [{name: value for name, value in whole.items() if name != lacks}]},
            f"spec.evaluation.report[0].{lacks}",
            "is required",
        )
        for whole in (ARENA_HARD, MT_BENCH)
        for kind in [str(whole["type"])]
        for lacks in {"ArenaHard": ("version", "answers", "judgeModel"), "MtBench": ("judgeModel",)}[kind]
    },
    "Arena-Hard of another version": (
        {"spec__evaluation__report": [ARENA_HARD | {"version": "v1"}]},
        "spec.evaluation.report[0].version",
        "did you mean v0.1?",
    ),
    "Arena-Hard judged by nobody": (
        {"spec__evaluation__report": [ARENA_HARD | {"judgeModel": {"model": "z"}}]},
        "spec.evaluation.report[0].judgeModel.model",
        "is not declared",
    ),
    "MT-Bench whose judge has no room": (
        {"spec__evaluation__report": [MT_BENCH | {"judgeModel": {"model": "a", "maxTokens": 9000}}]},
        "spec.evaluation.report[0].judgeModel.maxTokens",
        "leave no room for the prompt",
    ),
    "MT-Bench with references in a relative file": (
        {"spec__evaluation__report": [MT_BENCH | {"answers": {"source": "file://x.jsonl"}}]},
        "spec.evaluation.report[0].answers.source",
        "must be an absolute path",
    ),
    "LmEval without tasks": (
        {"spec__evaluation__report": [{"name": "x", "type": "LmEval", "source": "file:///x.json"}]},
        "spec.evaluation.report[0].tasks",
        "is required",
    ),
    "LmEval with no task": (
        {"spec__evaluation__report": [{"name": "x", "type": "LmEval", "source": "file:///x.json", "tasks": []}]},
        "spec.evaluation.report[0].tasks",
        "",
    ),
    "LmEval with task files on the Hub": (
        {
            "spec__evaluation__report": [
                {
                    "name": "x",
                    "type": "LmEval",
                    "source": "file:///x.json",
                    "tasks": ["t"],
                    "include": "hf://datasets/o/d/",
                }
            ]
        },
        "spec.evaluation.report[0].include",
        "must be s3://bucket/folder/ or file:///folder/",
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
    # other people's endpoints
    "the URL of a call": (
        {"spec__models__0": asked(url="https://x/v1/chat/completions")},
        "spec.models[0].endpoint.url",
        "write what stands before it: https://x/v1",
    ),
    "the URL of a call with a query": (
        {"spec__models__0": asked(url="https://x/openai/deployments/d/chat/completions?api-version=2024-10-21")},
        "spec.models[0].endpoint.url",
        "write what stands before it: https://x/openai/deployments/d?api-version=2024-10-21",
    ),
    "the URL of responses": (
        {"spec__models__0": asked(url="https://x/v1/responses/")},
        "spec.models[0].endpoint.url",
        "write what stands before it: https://x/v1",
    ),
    "omitted and named": (
        {"spec__models__0": asked(omit=["seed"], names={"seed": "random_seed"})},
        "spec.models[0].endpoint.names.seed",
        "is also in omit and so never sent",
    ),
    "a parameter named as another": (
        {"spec__models__0": asked(names={"temperature": "top_p"})},
        "spec.models[0].endpoint.names.temperature",
        "write what the endpoint calls temperature, such as temperature",
    ),
    "a parameter named as the conversation": (
        {"spec__models__0": asked(names={"topP": "messages"})},
        "spec.models[0].endpoint.names.topP",
        "such as top_p",
    ),
    "tokens named as the answers' number": (
        {"spec__models__0": asked(names={"maxTokens": "n"})},
        "spec.models[0].endpoint.names.maxTokens",
        "such as max_completion_tokens",
    ),
    "a seed named as a stream": (
        {"spec__models__0": asked(names={"seed": "stream"})},
        "spec.models[0].endpoint.names.seed",
        "is another field of each request",
    ),
    "two parameters of a name": (
        {"spec__models__0": asked(names={"temperature": "x", "seed": "x"})},
        "spec.models[0].endpoint.names.seed",
        "is the value of spec.models[0].endpoint.names.temperature already",
    ),
    "an unknown parameter": (
        {"spec__models__0": asked(omit=["top_p"])},
        "spec.models[0].endpoint.omit[0]",
        "did you mean topP?",
    ),
    "a header without a value": (
        {"spec__models__0": asked(headers=[{"name": "X-Title"}])},
        "spec.models[0].endpoint.headers[0]",
        "exactly one of value (plain text) and secret",
    ),
    "a key in plain text": (
        {"spec__models__0": asked(headers=[{"name": "api-key", "value": "hunter2secret"}])},
        "spec.models[0].endpoint.headers[0].value",
        "in a Secret",
    ),
    "a header of the client's": (
        {"spec__models__0": asked(headers=[{"name": "Content-Type", "value": "text/plain"}])},
        "spec.models[0].endpoint.headers[0].name",
        "set",
    ),
    "a header with a line break": (
        {"spec__models__0": asked(headers=[{"name": "X-Title", "value": "a\r\nHost: b"}])},
        "spec.models[0].endpoint.headers[0].value",
        "",
    ),
    "a field that requests have already": (
        {"spec__models__0": {**asked(), "extraBody": {"max_completion_tokens": 5}}},
        "spec.models[0].extraBody.max_completion_tokens",
        "endpoint.names: {maxTokens: max_completion_tokens}",
    ),
    "a key in the body": (
        {"spec__models__0": {**asked(), "extraBody": {"api_key": "hunter2secret"}}},
        "spec.models[0].extraBody.api_key",
        "put it in a Secret",
    ),
    "a template's arguments for a server of ours": (
        {"spec__models__1__extraBody": {"chat_template_kwargs": {"enable_thinking": False}}},
        "spec.models[1].extraBody.chat_template_kwargs",
        "chatTemplateArgs",
    ),
    "a template in the body for a server of ours": (
        {"spec__models__1__extraBody": {"chat_template": "{{ messages }}"}},
        "spec.models[1].extraBody.chat_template",
        "write the model's chatTemplate",
    ),
    "log-probabilities nobody reads": (
        {"spec__models__0": {**asked(), "extraBody": {"logprobs": True}}},
        "spec.models[0].extraBody.logprobs",
        "verdicts by probability ask for them",
    ),
    "the name of a parameter in the body": (
        {"spec__models__0": {**asked(names={"seed": "random_seed"}), "extraBody": {"random_seed": 1}}},
        "spec.models[0].extraBody.random_seed",
        "every request has it already",
    ),
    "a tool": (
        {"spec__models__1__extraBody": {"tools": []}},
        "spec.models[1].extraBody.tools",
        "an answer is text",
    ),
    "an infinite number": (
        {"spec__models__1__extraBody": {"min_p": float("inf")}},
        "spec.models[1].extraBody",
        "not finite",
    ),
    "cut in another word": (
        {"spec__mixture__aggregator__whenCut": "fail"},
        "spec.mixture.aggregator.whenCut",
        "did you mean Fail?",
    ),
}
