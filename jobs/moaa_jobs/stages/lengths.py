"""Find rows that are too long for the models that read them, before any of them is paid for.

Prompts are counted with each model's own tokenizer where resolve has seen it, by the rule that calls are made by
(`moaa.asking.windows`), and against training's maxLength; of every table the first rows, which are a random sample.

What models will write beside a row (`moaa_jobs.stages.readers`) is not there yet. A row may be too long without it,
with texts of the usual length, or only with texts as long as maxTokens lets them be. The first is certain and may end
the stage; the others are said.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from moaa.api import MoAA
from moaa.asking.windows import MESSAGE_TOKENS, Window, Windows, room_left
from moaa.conversation import Conversation
from moaa.errors import DataError
from moaa.plan.lengths import Fit, fit_metric
from moaa_jobs.stages.readers import Reader, readers

logger = logging.getLogger(__name__)

SAMPLE = 1000
"""Rows of a table that are counted: enough to know a part of 1 % to about a third of it."""


@dataclass(frozen=True)
class Room:
    """Of one row and reader, in tokens."""

    left: int
    """For texts of models; below 0 the row is too long already."""
    likely: int
    """Of the texts that have to be whole."""
    most: int


def check_lengths(resource: MoAA, tables: Mapping[str, Sequence[Conversation]], windows: Windows) -> dict[str, float]:
    """The part of each table's sampled rows that does not fit a reader, by `fit_metric`, where there are any.

    Raises:
        DataError: more rows are too long for certain than may fail, beyond what the sample leaves open.
    """
    parts: dict[str, float] = {}
    for reader in dict.fromkeys(readers(resource)):
        rooms = [_room(row, reader, windows[reader.model]) for row in tables[reader.table]]
        for fit, count in _counts(rooms, reader).items():
            part = count / len(rooms)
            key = fit_metric(reader.table, fit, reader.model)
            parts[key] = max(part, parts.get(key, 0.0))
            told = f"{reader.table}: {count} of {len(rooms)} rows counted ({part:.1%}) are {fit.value} {reader.model}"
            if fit is Fit.TOO_LONG and not reader.is_fine:
                _check_part(part, len(rooms), told, reader, resource)
            logger.warning("rows_too_long %s; %s", told, reader.remedy)
    return parts


def _counts(rooms: Sequence[Room], reader: Reader) -> dict[Fit, int]:
    """Rows by how they fail to fit; what the next worse case adds nothing to is left out."""
    certain = sum(room.left < 0 for room in rooms)
    likely = sum(room.left < room.likely for room in rooms)
    most = sum(room.left < room.most for room in rooms)
    texts = reader.cut.likely + MESSAGE_TOKENS * reader.cut.number
    cut = sum(0 <= room.left - room.likely < texts for room in rooms)
    found = {
        Fit.TOO_LONG: certain,
        Fit.LIKELY: likely if likely > certain else 0,
        Fit.AT_MOST: most if most > max(likely, certain) else 0,
        Fit.CUT: cut,
    }
    return {fit: count for fit, count in found.items() if count}


def _check_part(part: float, rows: int, told: str, reader: Reader, resource: MoAA) -> None:
    """Raises DataError: more than may fail."""
    failures = resource.spec.failures
    name, allowed = (
        ("maxFraction", float(failures.max_fraction))
        if reader.ends_row
        else ("maxMemberFraction", float(failures.max_member_fraction))
    )
    if part - 3 * math.sqrt(part * (1 - part) / rows) > allowed:
        raise DataError(
            f"{told}, and spec.failures.{name} lets {allowed:.1%} fail; {reader.remedy}, or leave such rows out"
        )


def _room(row: Conversation, reader: Reader, window: Window) -> Room:
    times, prompt = reader.times(row), reader.prompt(row)
    if reader.max_tokens is None:  # at least so many, whatever the template adds
        left = reader.max_length - sum(window.counter.least(message["content"]) for message in prompt)
    else:
        left = room_left(window, prompt, max_tokens=reader.max_tokens)
    return Room(left, times * reader.whole.likely, times * reader.whole.most)
