"""Where benchmarks are registered whose files say more of a question than what it asks."""

from collections.abc import Mapping
from typing import assert_never

from moaa.api.evaluation import AlpacaEval, AnyBenchmark, ArenaHard, ExactMatch, MtBench, Pairwise
from moaa.data.further import alpaca_known, arena_baseline, mt_references
from moaa.data.further.completion import NOTHING_MORE, Completion, Files


def completion_of(benchmark: AnyBenchmark, further: Mapping[str, Files], questions: int) -> Completion:
    """How rows of `benchmark` become whole. `further` are its further files by field (`moaa.api.evaluation`),
    `questions` how many rows its source has.

    Raises:
        DataError: a further file is wrong or does not belong to these questions.
    """
    match benchmark:
        case ExactMatch() | Pairwise():
            return NOTHING_MORE
        case AlpacaEval():
            return alpaca_known.completion(further.get("known"), questions)
        case ArenaHard():
            return arena_baseline.completion(further["answers"], benchmark.category)
        case MtBench():
            return mt_references.completion(further.get("answers"))
        case _:
            assert_never(benchmark)
