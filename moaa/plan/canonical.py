"""Which fields of the resource change what a stage produces, and the canonical form they are hashed in.

Everything counts unless it is listed in NEUTRAL: replicas, GPUs, resources, templates, secrets, limits on what is
tolerated. A field that is added later goes into LATER: it is left out at its default, so an upgrade repeats no finished
stage. A test lists every field of every class, so a new one forces the decision.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from enum import Enum

from moaa.api.base import Spec, decimal_text
from moaa.api.data import DataSource
from moaa.api.evaluation import AlpacaEval, ArenaHard, Benchmark, LmEval, MtBench
from moaa.api.mixture import Judge, Mixture, Sampling
from moaa.api.training import Dpo, Optimization, PairRules, Sft

NEUTRAL: Mapping[type[Spec], frozenset[str]] = {
    # A credential opens the same rows; the limit is part of the slice, or of the table for benchmarks; columns are part
    # of the document of stage-data, and of others' by its rows.
    DataSource: frozenset({"token_secret", "revision", "limit", "columns"}),
    Benchmark: frozenset({"source", "split"}),
    # What further files say of a question is part of its row; which questions are asked, of the table.
    AlpacaEval: frozenset({"known"}),
    ArenaHard: frozenset({"answers", "category"}),
    MtBench: frozenset({"answers"}),
    # Task files are a table of stage-data; that code may be run says nothing of what it gives.
    LmEval: frozenset({"fewshot_split", "include", "run_code"}),
    # Resolution has replaced or added the student by then.
    Mixture: frozenset({"add_student", "student_sampling"}),
    Judge: frozenset({"allow_student"}),
    # How a step is cut into pieces and where optimiser state lies: the same batch gives the same mean gradient, up to
    # rounding. Precision is another matter and counts. A look at held-out rows changes nothing unless it decides
    # (`digests.looks`).
    Optimization: frozenset(
        {
            "micro_batch_size",
            "zero_stage",
            "gradient_checkpointing",
            "checkpoint_steps",
            "checkpoint_minutes",
            "eval_steps",
        }
    ),
    # These are what `sample` and `judge` depend on; DPO itself sees the pairs. Packing cuts its steps into pieces.
    Dpo: frozenset(
        {"samples_from", "samples", "temperature", "top_p", "max_tokens", "when_cut", "ref_model", "pairs", "packing"}
    ),
}

LATER: Mapping[type[Spec], frozenset[str]] = {
    Judge: frozenset({"min_judges", "verdict", "criteria_for", "reward_model"}),
    Mixture: frozenset({"method"}),
    Sampling: frozenset({"when_cut"}),
    Optimization: frozenset(
        {
            "adapter",
            "schedule",
            "min_learning_rate_ratio",
            "adam_beta1",
            "adam_beta2",
            "adam_epsilon",
            "too_long",
            "held_out",
            "keep",
            "patience",
        }
    ),
    Sft: frozenset({"batch_of"}),
    Dpo: frozenset({"loss", "label_smoothing", "simpo_gamma", "sft_weight"}),
    PairRules: frozenset(PairRules.model_fields),
}
"""Fields that came after the first release: left out of documents while they are at their default."""

HARMLESS_ARGS: Mapping[str, bool] = {
    # vLLM flags that change speed or memory, not the distribution of answers; the value says whether one follows.
    "--gpu-memory-utilization": True,
    "--max-num-seqs": True,
    "--max-num-batched-tokens": True,
    "--swap-space": True,
    "--cpu-offload-gb": True,
    "--block-size": True,
    "--kv-cache-memory-bytes": True,
    "--tensor-parallel-size": True,
    "-tp": True,
    "--pipeline-parallel-size": True,
    "-pp": True,
    "--data-parallel-size": True,
    "-dp": True,
    "--distributed-executor-backend": True,
    "--download-dir": True,
    "--max-parallel-loading-workers": True,
    "--uvicorn-log-level": True,
    "--performance-mode": True,
    "--enforce-eager": False,
    "--enable-prefix-caching": False,
    "--no-enable-prefix-caching": False,
    "--enable-chunked-prefill": False,
    "--no-enable-chunked-prefill": False,
    "--async-scheduling": False,
    "--no-async-scheduling": False,
    "--disable-log-stats": False,
    "--disable-log-requests": False,
    "--enable-log-requests": False,
    "--no-enable-log-requests": False,
    "--disable-uvicorn-access-log": False,
}


def canonical(part: Spec) -> dict[str, object]:
    """JSON with one spelling: camelCase keys, normalised decimals, neutral and untouched later fields left out."""
    left_out = _listed(NEUTRAL, type(part))
    later = _listed(LATER, type(part))
    return {
        info.alias or name: _value(getattr(part, name))
        for name, info in type(part).model_fields.items()
        if name not in left_out
        and not (name in later and getattr(part, name) == info.get_default(call_default_factory=True))
    }


def _value(value: object) -> object:
    match value:
        case Spec():
            return canonical(value)
        case Decimal():
            return decimal_text(value)
        case Enum():
            return str(value.value)
        case str() | int() | None:
            return value
        case Sequence():
            return [_value(item) for item in value]
    raise TypeError(f"{type(value).__name__} has no canonical form")


def effective_args(args: Sequence[str]) -> list[str]:
    """Serving arguments without the harmless ones; `--flag value` and `--flag=value` are the same."""
    split = [piece for arg in args for piece in (arg.split("=", 1) if arg.startswith("-") else [arg])]
    kept: list[str] = []
    pieces = iter(split)
    for piece in pieces:
        takes_value = HARMLESS_ARGS.get(piece.replace("_", "-") if piece.startswith("--") else piece)
        if takes_value is None:
            kept.append(piece)
        elif takes_value:
            next(pieces, None)
    return kept


def digest_of(document: object) -> str:
    """sha256 of the canonical JSON text of a document."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def text_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _listed(table: Mapping[type[Spec], frozenset[str]], kind: type[Spec]) -> frozenset[str]:
    """Fields listed for a class or for one it derives from."""
    return frozenset().union(*[table[listed] for listed in kind.__mro__ if listed in table])
