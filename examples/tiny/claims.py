"""Hold what was measured against the claims of `claims.yaml`, and say it in a line each.

A claim whose scores a run did not measure is `not measured`, never true by default; a claim that fails is reported as
failed. Which scores there are and what they mean stands at the head of `claims.yaml`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from moaa.api import MoAA
from moaa.evaluate.statistics import Estimate, mean_estimate, paired
from moaa.plan.fingerprint import identify
from moaa.plan.graph import build
from moaa.plan.result import StageResult
from moaa.plan.stage import Kind
from moaa.rows import AnswerRow, ScoreRow
from moaa.store.objects.base import Store
from moaa.store.stages.shards import read_manifest, read_table

BENCHMARK = "report"
PROPOSERS = ("proposer-a", "proposer-b", "proposer-c")
RESAMPLES = 10_000

Scores = dict[str, dict[str, float]]
"""Name of a score (claims.yaml) to question id to score."""


@dataclass(frozen=True)
class Verdict:
    id: str
    statement: str
    difference: Estimate | None
    """None: a score it needs was not measured."""
    holds: bool | None

    def __str__(self) -> str:
        if self.difference is None or self.holds is None:
            return f"not measured  {self.id}: {self.statement}"
        d = self.difference
        interval = f"{d.mean:+.3f} [{d.low:+.3f}, {d.high:+.3f}], n = {d.rows}"
        return f"{'holds' if self.holds else 'FAILS':<12}  {self.id}: {self.statement} {interval}"


def judge(claims_file: Path, runs: Sequence[Scores], *, is_corrected: bool = False) -> list[Verdict]:
    """The verdict on every claim over the questions of all runs (one run a seed), paired by question and run.

    `is_corrected`: the intervals hold for all claims together at the file's confidence (Bonferroni).
    """
    claims: dict[str, Any] = yaml.safe_load(claims_file.read_text())
    confidence = float(claims["confidence"])
    if is_corrected:
        confidence = 1 - (1 - confidence) / len(claims["claims"])
    return [_verdict(claim, runs, confidence) for claim in claims["claims"]]


def _verdict(claim: Mapping[str, Any], runs: Sequence[Scores], confidence: float) -> Verdict:
    first, second = _name(claim["first"], runs), _name(claim["second"], runs)
    differences: list[float] = []
    for run in runs:
        if first not in run or second not in run:
            return Verdict(claim["id"], claim["statement"], None, None)
        differences += paired(run[first], run[second])
    if not differences:
        return Verdict(claim["id"], claim["statement"], None, None)
    difference = mean_estimate(differences, resamples=RESAMPLES, confidence=confidence)
    assert difference.low is not None
    assert difference.high is not None  # more than one question
    holds = difference.low > float(claim.get("lowerAbove", "-inf"))
    holds = holds and difference.high < float(claim.get("upperBelow", "inf"))
    return Verdict(claim["id"], claim["statement"], difference, holds)


def _name(side: str | Mapping[str, list[str]], runs: Sequence[Scores]) -> str:
    """`{best: [...]}` is whichever of them has the highest mean over all runs: the hardest to beat."""
    if isinstance(side, str):
        return side
    names = side["best"]
    return max(names, key=lambda name: sum(sum(run.get(name, {}).values()) for run in runs))


async def read_scores(resource: MoAA, store: Store) -> Scores:
    """Every score of the report benchmark that a run has so far."""
    results: dict[str, StageResult] = {}
    scores: Scores = {}
    for stage in build(resource).stages.values():
        identity = identify(stage, resource, results)
        manifest = await read_manifest(store, identity.path) if identity else None
        if manifest is None:
            continue
        results[stage.id] = manifest.result()
        if stage.kind is not Kind.EVALUATE:
            continue
        rows: list[ScoreRow] = await read_table(store, manifest, "scores")  # type: ignore[assignment]  # its schema
        for row in rows:
            if row["benchmark"] == BENCHMARK:
                name = f"{row['model']}-{stage.iteration}" if stage.iteration else row["model"]
                scores.setdefault(name, {})[row["id"]] = row["score"]
        if stage.iteration == 0:
            answers: list[AnswerRow] = await read_table(store, manifest, "answers")  # type: ignore[assignment]
            scores["majority"] = majority(answers)
    return scores


def majority(answers: Sequence[AnswerRow]) -> dict[str, float]:
    """The score of the most frequent of the proposers' own answers; of equally frequent ones, the first proposer's."""
    texts: dict[str, dict[str, str]] = {}
    gold: dict[str, str] = {}
    for row in answers:
        if row["benchmark"] == BENCHMARK and row["model"] in PROPOSERS and row["sample"] == 0:
            texts.setdefault(row["id"], {})[row["model"]] = row["text"].strip()
            gold[row["id"]] = (row["gold"] or "").strip()
    scores: dict[str, float] = {}
    for question, by_model in texts.items():
        ordered = [by_model[name] for name in PROPOSERS if name in by_model]
        winner = Counter(ordered).most_common(1)[0][0]  # of equal counts, the one met first
        scores[question] = float(winner == gold[question])
    return scores
