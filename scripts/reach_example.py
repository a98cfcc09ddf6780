"""A resource that uses every field, for what an edit of one repeats (`scripts.reach`). It is never run.

Some fields count only beside a value of another: criteria are read by a mixture of judges, `evalSteps` where the best
weights are kept. So there are several: `EXAMPLE`, and what each of `OTHERS` has in its place.
"""

from typing import Any

_FILE: dict[str, Any] = {"source": "file:///rows.jsonl", "limit": 100}
_ONE: dict[str, Any] = {"model": "judge"}
_MIXTURE: dict[str, Any] = {"method": "Mixture", "judges": [{"model": "one"}], "aggregator": _ONE, "criteria": 2}
_SEEDED: dict[str, Any] = {**_MIXTURE, "comparisons": "Seeded", "rewardModel": "reward"}
_PANEL: dict[str, Any] = {"method": "Panel", "judges": [{"model": name} for name in ("one", "two", "judge")]}
_SINGLE: dict[str, Any] = {"method": "Single", "aggregator": _ONE, "criteria": 2}
_ADAPTER: dict[str, Any] = {"type": "LoRA", "targetModules": ["q_proj"]}
_TRAINING: dict[str, Any] = {"adapter": _ADAPTER, "heldOut": "0.1", "keep": "Best", "patience": 3}
_TEMPLATE: dict[str, Any] = {"metadata": {"labels": {"a": "b"}}, "spec": {"nodeSelector": {"a": "b"}}}
_SECRET: dict[str, Any] = {"name": "secret", "key": "token"}

BENCHMARKS: list[dict[str, Any]] = [
    {"name": "exact", "type": "ExactMatch", "sampling": {"temperature": "0.5"}},
    {"name": "mixed", "type": "Pairwise", "baseline": "one", "judge": _MIXTURE},
    {"name": "panel", "type": "Pairwise", "judge": _PANEL},
    {"name": "seeded", "type": "Pairwise", "judge": _SEEDED},
    {"name": "single", "type": "Pairwise", "judge": _SINGLE},
    {
        "name": "alpaca",
        "type": "AlpacaEval",
        "judgeModel": _ONE,
        "known": {"source": "file:///known.csv", "tokenSecret": _SECRET},
    },
    {
        "name": "arena",
        "type": "ArenaHard",
        "version": "v2.0",
        "category": "writing",
        "answers": {"source": "file:///arena.jsonl"},
        "judgeModel": _ONE,
        "judgeSystem": "Judge.",
    },
    {"name": "bench", "type": "MtBench", "answers": {"source": "file:///bench.jsonl"}, "judgeModel": _ONE},
    {"name": "tasks", "type": "LmEval", "tasks": ["gsm8k"], "include": "file:///tasks/", "fewshotSplit": "dev"},
    {"name": "rules", "type": "Instructions"},
]

EXAMPLE: dict[str, Any] = {
    "apiVersion": "moaa.dev/v1alpha1",
    "kind": "MoAA",
    "metadata": {"name": "example"},
    "spec": {
        "storage": {"uri": "s3://bucket/prefix", "endpoint": "https://s3.example.com", "secret": {"name": "secret"}},
        "models": [
            {
                "name": "one",
                "source": "hf://owner/one-7b",
                "tokenSecret": _SECRET,
                "serving": {"args": ["--quantization"], "template": _TEMPLATE},
            },
            {
                "name": "two",
                "endpoint": {
                    "url": "https://api.example.com/v1",
                    "model": "two-large",
                    "secret": _SECRET,
                    "price": {"inputUsdPerMillion": "1", "outputUsdPerMillion": "2"},
                    "omit": ["seed"],
                    "headers": [{"name": "x-team", "value": "a"}, {"name": "x-key", "secret": _SECRET}],
                },
            },
            {"name": "judge", "source": "hf://owner/judge-70b"},
            {"name": "reward", "source": "hf://owner/reward-8b", "kind": "Reward"},
            {"name": "student", "source": "hf://owner/student-8b"},
        ],
        "student": "student",
        "mixture": {
            "layers": [{"proposers": [{"model": "one"}, {"model": "two"}]}],
            "aggregator": {"model": "judge"},
        },
        "judge": _MIXTURE,
        "anchors": {"source": {"source": "file:///anchors.jsonl", "tokenSecret": _SECRET}},
        "data": {
            "sft": [{**_FILE, "tokenSecret": _SECRET, "columns": {"ignore": ["a"]}}],
            "preference": [{**_FILE, "source": "file:///preference.jsonl", "tokenSecret": _SECRET}],
        },
        "training": {
            "resources": {"template": _TEMPLATE},
            "sft": _TRAINING,
            "dpo": _TRAINING,
            "average": "0.5",
            "trackers": {name: {"project": "moaa"} for name in ("wandb", "mlflow", "trackio")},
        },
        "evaluation": {
            "selection": [
                {**_FILE, "source": f"file:///{one['name']}.jsonl", "tokenSecret": _SECRET, **one} for one in BENCHMARKS
            ],
            "report": [{**_FILE, "name": "seen", "source": "file:///seen.jsonl", "type": "ExactMatch"}],
        },
    },
}

_EXACT: dict[str, Any] = {"selection": [{**_FILE, **BENCHMARKS[0]}]}

OTHERS: tuple[dict[str, Any], ...] = (
    {
        "iterations": 2,
        "evaluation": _EXACT,
        "mixture": {"method": "BestOfN", "layers": EXAMPLE["spec"]["mixture"]["layers"], "addStudent": True},
        "judge": _PANEL,
    },
    {"evaluation": _EXACT, "judge": {**_SINGLE, "criteriaFor": "Prompt"}},
    {"evaluation": _EXACT, "judge": _SEEDED},
)
"""Fields of `spec` that further examples have in place of `EXAMPLE`'s."""
