"""One row with all that belongs to it: what was proposed, sampled, said by judges, and chosen."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal, cast

from moaa.data.schemas import ANSWERS, CONVERSATIONS, JUDGEMENTS, PAIRS, RANKINGS, SCORES
from moaa.judge.outcomes import MEANS
from moaa.judge.ranking import PAIR
from moaa.plan.stage import Kind
from moaa.report.page import Example, Verdict, example, verdict
from moaa.report.said import Shown, shown
from moaa.rows import AbsentProposal, AnswerRow, ConversationRow, JudgementRow, PairRow, RankingRow, ScoreRow
from moaa.run.read_trail import baseline_label, of_rankings
from moaa.run.trail import Compared, Drawn, Place
from moaa.run.view import StageView
from moaa.store.objects.base import Store
from moaa.store.stages.row_groups import open_part
from moaa.view.filters import exactly
from moaa.view.scan import Row, rows_with
from moaa.view.site import Found

MOST_SAID = 5000
"""Judgements of one row that are read: those of 32 samples in both orders by four judges are 4,000."""


@dataclass(frozen=True)
class Talk:
    """A row of `conversations`."""

    example: Example
    absent: Sequence[AbsentProposal]
    kind: Literal["talk"] = "talk"


@dataclass(frozen=True)
class Judged:
    """A row of `rankings` or `pairs`: the samples, what judges said of each two, the pair and why."""

    verdict: Verdict
    why: str
    said: Sequence[Shown]
    kind: Literal["judged"] = "judged"


@dataclass(frozen=True)
class Answered:
    """A row of `answers`."""

    row: AnswerRow
    score: ScoreRow | None
    """Of the question, over all samples."""
    said: Sequence[Shown]
    kind: Literal["answered"] = "answered"


@dataclass(frozen=True)
class Field:
    name: str
    text: str
    is_long: bool


@dataclass(frozen=True)
class Plain:
    """Any other row, column by column."""

    fields: Sequence[Field]
    kind: Literal["plain"] = "plain"


_COLUMNS: Mapping[str, Sequence[str]] = {
    "conversations": CONVERSATIONS.names,
    "rankings": RANKINGS.names,
    "pairs": PAIRS.names,
    "judgements": JUDGEMENTS.names,
    "answers": ANSWERS.names,
    "scores": SCORES.names,
}
Detail = Talk | Judged | Answered | Plain


@dataclass(frozen=True)
class Reader:
    """Reads what one part of a stage's tables holds: a shard has all rows of an item, in whichever table."""

    store: Store
    found: Found
    stage: StageView
    part: int

    async def rows(self, table: str, **values: str) -> list[Row]:
        """Whole rows of a table that equal these values; none where the stage has no such table. Raises StoreError."""
        if table not in self.found.tables(self.stage):
            return []
        ref = self.found.parts(self.stage, table).get(self.part)
        if ref is None:
            return []
        query = exactly(table, **values)
        names = (await open_part(self.store, ref)).names
        return [complete(table, row) for _, row in await rows_with(self.store, ref, query, names, limit=MOST_SAID)]


def complete(table: str, row: Row) -> Row:
    """The row with every column of its table; those that an earlier release did not write are None."""
    return {**dict.fromkeys(_COLUMNS.get(table, ())), **row}


async def detail(reader: Reader, table: str, found: Row) -> Detail:
    """Raises StoreError: a table is missing or damaged."""
    row = complete(table, found)
    match table:
        case "conversations":
            talk = cast(ConversationRow, row)
            return Talk(example(reader.stage.stage.id, talk), talk["absent"] or [])
        case "rankings":
            return await _judged(reader, cast(RankingRow, row))
        case "pairs":
            ranked = await reader.rows("rankings", id=row["id"])
            return await _judged(reader, cast(RankingRow, ranked[0])) if ranked else plain(row)
        case "answers":
            return await _answered(reader, cast(AnswerRow, row))
        case _:
            return plain(row)


async def _judged(reader: Reader, row: RankingRow) -> Judged:
    pairs = [cast(PairRow, one) for one in await reader.rows("pairs", id=row["id"])]
    said = [cast(JudgementRow, one) for one in await reader.rows("judgements", id=row["id"])]
    compared = of_rankings(
        [Drawn(b"", Place("", "", row["id"], 0, a, b), tuple(some)) for (a, b), some in groupby(said, _two) if a != b],
        {row["id"]: row},
    )
    view, stage = reader.found.view, reader.stage
    pair = pairs[0] if pairs else None
    return Judged(verdict("", stage.stage.id, row, pair), why(row, pair), [shown(view, stage, one) for one in compared])


def why(row: RankingRow, pair: PairRow | None) -> str:
    """Why the prompt gave this pair, or none."""
    if pair is not None:
        return (
            f"The answer with the most points, {pair['chosen_points']:.3g}, is chosen over the one with "
            f"{pair['rejected_points']:.3g}."
        )
    if row["outcome"] == PAIR:
        return "A pair, though the table of pairs does not have it yet."
    return f"No pair: {MEANS.get(row['outcome'], row['outcome'])}."


async def _answered(reader: Reader, row: AnswerRow) -> Answered:
    same = {"id": row["id"], "benchmark": row["benchmark"]}
    scores = [cast(ScoreRow, one) for one in await reader.rows("scores", **same, model=row["model"])]
    rows = [cast(JudgementRow, one) for one in await reader.rows("judgements", **same)]
    said = [one for one in rows if one["model"] == row["model"] and one["sample"] == row["sample"]]
    compared = await _compared(reader, row, said) if said else []
    view, stage = reader.found.view, reader.stage
    return Answered(row, scores[0] if scores else None, [shown(view, stage, one) for one in compared])


async def _compared(reader: Reader, row: AnswerRow, said: Sequence[JudgementRow]) -> list[Compared]:
    """What was said of an answer, held against the start's answer or the row's own."""
    other = await _other(reader, row)
    return [
        Compared(
            Drawn(b"", Place(row["benchmark"], row["model"], row["id"], row["sample"], a, b), tuple(some)),
            row["prompt"], (row["text"], other), row["score"],
        )
        for (a, b), some in groupby(said, _two)
    ]  # fmt: skip


async def _other(reader: Reader, row: AnswerRow) -> str | None:
    """The answer that a judged one is held against; None where it is not in the tables that are at hand."""
    view, stage = reader.found.view, reader.stage
    label = baseline_label(row["benchmark"], stage.resource or view.resource, stage.stage)
    if label is None:
        return row["gold"]
    base = next((s for s in view.stages if s.stage.kind is Kind.EVALUATE and s.stage.iteration == 0), None)
    if base is None or "answers" not in reader.found.tables(base):
        return None
    there = Reader(reader.store, reader.found, base, reader.part)
    rows = await there.rows("answers", id=row["id"], benchmark=row["benchmark"], model=label)
    return next((one["text"] for one in rows if one["sample"] == row["sample"]), None)


@dataclass(frozen=True)
class Elsewhere:
    """Another table that has the item of a row."""

    label: str
    stage: str
    table: str
    asked: Mapping[str, str]
    """The search that finds it there."""


def related(found: Found, stage: StageView, table: str, row: Row) -> list[Elsewhere]:
    """Where else the item of a row is, as far as that can be read by now."""
    same = {"id": str(row.get("id", ""))}
    around = {s.stage.kind: s.stage.id for s in found.view.stages if s.stage.iteration == stage.stage.iteration}
    there: list[Elsewhere] = []
    match table:
        case "samples" if Kind.JUDGE in around:
            there = [Elsewhere("How judges ranked them", around[Kind.JUDGE], "rankings", same)]
        case "rankings" | "pairs" if Kind.SAMPLE in around:
            there = [Elsewhere("The samples before they were judged", around[Kind.SAMPLE], "samples", same)]
        case "judgements" if row["benchmark"]:
            asked = {**same, "benchmark": row["benchmark"], "model": row["model"]}
            there = [Elsewhere("The answer that was judged", stage.stage.id, "answers", asked)]
        case "judgements":
            there = [Elsewhere("All that was said of this prompt", stage.stage.id, "rankings", same)]
    return [one for one in there if one.table in found.tables(found.stage(one.stage))]


def plain(row: Row) -> Plain:
    """Every column as text: conversations by turns, other nested values as JSON."""
    fields = []
    for name, value in row.items():
        if name == "messages":
            fields += [Field(message["role"], message["content"], is_long=True) for message in value]
        elif isinstance(value, list) and value and all(isinstance(one, str) for one in value):
            fields += [Field(f"{name} {number}", one, is_long=True) for number, one in enumerate(value, start=1)]
        else:
            fields.append(_field(name, value))
    return Plain(fields)


def _field(name: str, value: Any) -> Field:
    if value is None:
        return Field(name, "–", is_long=False)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return Field(name, text, is_long=len(text) > 80 or "\n" in text)


def _two(row: JudgementRow) -> tuple[int, int]:
    return row["a"], row["b"]
