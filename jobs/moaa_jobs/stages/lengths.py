"""Find rows that are too long for the models that read them, before any of them is paid for.

Prompts are counted with each model's own tokenizer where resolve has seen it, by the rule that calls are made by
(`moaa.asking.windows`), and against training's maxLength; of every table the first rows, which are a random sample.
"""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from moaa.api import STUDENT, MoAA
from moaa.api.data import Answers
from moaa.asking.windows import Window, Windows, completion_tokens
from moaa.conversation import Conversation
from moaa.errors import CallError, DataError
from moaa.plan.graph import benchmarks

logger = logging.getLogger(__name__)

SAMPLE = 1000
"""Rows of a table that are counted: enough to know a part of 1 % to about a third of it."""
METRIC = "tooLong"


@dataclass(frozen=True)
class Limit:
    """A model that has to read a table's rows."""

    table: str
    model: str
    """As declared."""
    remedy: str
    ends_row: bool
    """Whether a row that is too long for it fails. If not, the row has one proposal fewer."""
    max_tokens: int | None = None
    """Of an answer to the row; None: it is trained on."""
    max_length: int = 0
    """Of a row that is trained on."""


def limits(resource: MoAA) -> Iterator[Limit]:
    """All models that read a table's rows as they are."""
    spec = resource.spec
    training, student = spec.training, spec.student
    for number, source in enumerate(spec.data.sft):
        table = f"sft-{number}"
        if source.answers is Answers.MIXTURE and spec.mixture is not None:
            aggregator = spec.mixture.aggregator
            asked = [(one.model, one.max_tokens, False) for layer in spec.mixture.layers for one in layer.proposers]
            for name, max_tokens, ends_row in [*asked, (aggregator.model, aggregator.max_tokens, True)]:
                model = student if name == STUDENT else name
                yield Limit(table, model, _window(model), ends_row, max_tokens)
        if training.sft is not None:
            yield Limit(table, student, "raise training.sft.maxLength", True, max_length=training.sft.max_length)
    if training.dpo is not None:
        for number in range(len(spec.data.preference)):
            table, dpo = f"preference-{number}", training.dpo
            yield Limit(table, student, _window(student), True, dpo.max_tokens)
            yield Limit(table, student, "raise training.dpo.maxLength", True, max_length=dpo.max_length)
    for benchmark in benchmarks(spec):
        yield Limit(f"eval-{benchmark.name}", student, _window(student), True, benchmark.sampling.max_tokens)


def _window(model: str) -> str:
    return f"raise maxModelLen of spec.models {model}, or lower maxTokens where it is asked"


def check_lengths(resource: MoAA, tables: Mapping[str, Sequence[Conversation]], windows: Windows) -> dict[str, float]:
    """The part of each table's sampled rows that is too long, as `<table>.tooLong.<model>`, where there are any.

    Raises:
        DataError: more rows are too long than may fail, beyond what the sample leaves open.
    """
    parts: dict[str, float] = {}
    for limit in dict.fromkeys(limits(resource)):
        rows = tables[limit.table]
        long = sum(_is_too_long(row, limit, windows[limit.model]) for row in rows)
        if not long:
            continue
        part = long / len(rows)
        key = f"{limit.table}.{METRIC}.{limit.model}"
        parts[key] = max(part, parts.get(key, 0.0))
        told = f"{limit.table}: {long} of {len(rows)} rows counted ({part:.1%}) are too long for {limit.model}"
        allowed = float(resource.spec.failures.max_fraction)
        if limit.ends_row and part - 3 * math.sqrt(part * (1 - part) / len(rows)) > allowed:
            raise DataError(
                f"{told}, and spec.failures.maxFraction lets {allowed:.1%} fail; {limit.remedy}, or leave such rows out"
            )
        logger.warning("rows_too_long %s; %s", told, limit.remedy)
    return parts


def _is_too_long(row: Conversation, limit: Limit, window: Window) -> bool:
    if limit.max_tokens is None:  # at least so many, whatever the template adds
        return sum(window.counter.least(message["content"]) for message in row) > limit.max_length
    try:
        completion_tokens(window, row, max_tokens=limit.max_tokens)
    except CallError:
        return True
    return False
