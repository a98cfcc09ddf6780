"""What a disturbed run left in its store, held against what an undisturbed one would have."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from benchmarks.soak.counting import Asked
from moaa.api import MoAA
from moaa.client.request import ChatRequest, request_hash, sampling_seed
from moaa.data.slices import take
from moaa.judge.ask import RETRY_KEY
from moaa.judge.method import Ranked
from moaa.judge.ranking import rank
from moaa.judge.row import pair_row
from moaa.local.serving.catalogue import served_name
from moaa.plan.digests import answering_digest, model_digest
from moaa.plan.graph import benchmarks, build
from moaa.plan.ids import RESOLVE, STAGE_DATA, made_by, stage_id
from moaa.plan.kinds.table import TRAINING
from moaa.plan.result import StageResult
from moaa.plan.slices import slice_rows
from moaa.plan.stage import Kind
from moaa.plan.subjects import subjects
from moaa.rows import PairRow
from moaa.store.ledger.segments import Entry, decode_segment
from moaa.store.objects.base import Store
from moaa.store.objects.directory import DirectoryStore
from moaa.store.objects.keys import HIDDEN
from moaa.store.stages.manifest import StageManifest
from moaa.store.stages.shards import read_table

CALL_KEYS = ("", "half", RETRY_KEY, f"{RETRY_KEY}half")
"""Every `key` that mixture and judge give a call."""

Call = tuple[str, str, str]
"""Row, path and key."""
Tables = dict[str, list[dict[str, Any]]]
"""Rows by table."""


@dataclass(frozen=True)
class Verdict:
    name: str
    holds: bool
    text: str

    def __str__(self) -> str:
        return f"{'holds' if self.holds else 'FAILS'}  {self.name:<10}  {self.text}"


def verdict(name: str, problems: Sequence[str], text: str) -> Verdict:
    """Holds when there are no problems; otherwise says the first few."""
    shown = "; ".join(problems[:5]) + (f"; and {len(problems) - 5} more" if len(problems) > 5 else "")
    return Verdict(name, not problems, shown or text)


def snapshot(root: Path) -> dict[str, str]:
    """sha256 of every object of a directory store, by key."""
    files = (path for path in root.rglob("*") if path.is_file() and HIDDEN not in path.parts)
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def changed(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Keys of objects that came, went or changed."""
    return sorted(key for key in {*before, *after} if before.get(key) != after.get(key))


async def read_tables(store: Store, manifest: StageManifest) -> Tables:
    return {table: await read_table(store, manifest, table) for table in manifest.tables}


# Rows.


def misplaced(where: str, found: Sequence[object], expected: Sequence[object], *, missing: int = 0) -> list[str]:
    """What keeps `found` from being `expected`, in order, with exactly `missing` left out."""
    if len(found) != len(expected) - missing:
        return [f"{where}: {len(found)} rows instead of {len(expected)} less {missing} failures"]
    rest = iter(expected)
    lost = next((item for item in found if item not in rest), None)
    return [] if lost is None else [f"{where}: row {lost} is out of order, there twice or not of the inputs"]


class Rows:
    """Which rows every table must have, from the tables of an undisturbed stage-data."""

    def __init__(self, resource: MoAA, reference: Mapping[str, Tables], found: Mapping[str, Tables]) -> None:
        self._resource = resource
        self._reference = reference
        self._found = found

    def problems(self, manifests: Mapping[str, StageManifest]) -> list[str]:
        """Everything that is wrong with the tables of all stages."""
        problems = [f"{name}: no manifest" for name in build(self._resource).stages if name not in manifests]
        for name, manifest in manifests.items():
            problems += self._stage(name, manifest)
        return problems

    def _stage(self, name: str, manifest: StageManifest) -> list[str]:
        kind, found, missing = manifest.kind, self._found[name], sum(manifest.failures.values())
        if name in (RESOLVE, STAGE_DATA):
            differ = sorted(t for t in {*found, *self._reference[name]} if found.get(t) != self._reference[name].get(t))
            return [f"{name}: table {table} is not that of the undisturbed run" for table in differ]
        if kind in TRAINING:
            steps = [row["step"] for row in found["curve"]]
            return misplaced(f"{name} curve", steps, range(1, max(steps, default=0) + 1))
        match kind:
            case Kind.GENERATE | Kind.SAMPLE:
                (table,) = found
                return misplaced(f"{name} {table}", _ids(found[table]), self._slice(kind, manifest), missing=missing)
            case Kind.JUDGE:
                samples = self._found[stage_id(manifest.iteration, Kind.SAMPLE)]["samples"]
                pairs = [pair for row in found["rankings"] if (pair := _pair_again(row))]
                ranked = misplaced(f"{name} rankings", _ids(found["rankings"]), _ids(samples), missing=missing)
                return ranked + misplaced(f"{name} pairs", found["pairs"], pairs)
            case Kind.EVALUATE:
                return self._evaluate(name, found, missing)
            case Kind.PROMOTE:
                candidates = list(build(self._resource).stages[name].candidates)
                gains = misplaced(f"{name} gains", [row["candidate"] for row in found["gains"]], candidates)
                prompts = self._prompts()
                scores = [(row["benchmark"], row["id"]) for row in found["scores"]]
                # Which of them failed is said by the stage that measured the winner.
                return gains + misplaced(f"{name} scores", scores, prompts, missing=len(prompts) - len(scores))
        raise AssertionError(f"{name}: nobody said which rows a stage of kind {kind} has")

    def _slice(self, kind: Kind, manifest: StageManifest) -> list[str]:
        parts = slice_rows(self._resource, kind, manifest.iteration)
        tables = self._reference[STAGE_DATA]
        return [row["id"] for part in parts for row in take(tables[part.table], part)]  # type: ignore[arg-type]

    def _evaluate(self, name: str, found: Tables, missing: int) -> list[str]:
        measured = subjects(self._resource, build(self._resource).stages[name])
        expected = [(*prompt, subject.label) for prompt in self._prompts() for subject in measured]
        places = {table: [(r["benchmark"], r["id"], r["model"]) for r in found[table]] for table in found}
        scores = misplaced(f"{name} scores", places["scores"], expected, missing=missing)
        return scores + misplaced(f"{name} answers", places["answers"], places["scores"])

    def _prompts(self) -> list[tuple[str, str]]:
        """Benchmark and id of every evaluation prompt."""
        tables = self._reference[STAGE_DATA]
        named = [(benchmark.name, tables[f"eval-{benchmark.name}"]) for benchmark in benchmarks(self._resource.spec)]
        return [(name, row["id"]) for name, rows in named for row in rows]


def _ids(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    return [row["id"] for row in rows]


# Calls.


@dataclass
class CallFigures:
    """What servers were asked, beside what the ledgers hold."""

    entries: int = 0
    asked: int = 0
    """Requests that belong to an entry."""
    repeated: int = 0
    """Of these, beyond the first of each entry: in flight or not yet flushed when something was killed."""
    problems: list[str] = field(default_factory=list)


async def check_calls(
    store: DirectoryStore, resource: MoAA, results: Mapping[str, StageResult], asked: Iterable[Asked]
) -> CallFigures:
    """No request after its answer was durable, and none of the answers came from nowhere.

    A failure counts for its own fingerprint only, so each one that meets it asks once more.
    """
    by_seed: dict[tuple[int, str], list[Asked]] = defaultdict(list)
    digests = served_digests(resource, results)
    for request in asked:
        if "seed" in request.body:  # the canary of a server that starts has none
            by_seed[request.body["seed"], digests[request.body["model"]]].append(request)
    figures = CallFigures()
    entries: list[tuple[Entry, float]] = []
    failed: dict[Call, list[float]] = defaultdict(list)
    async for found in store.list("stages/"):
        if "/ledger/" not in found.key:
            continue
        path = store.local_path(found.key)
        assert path is not None, "a directory store has files"
        durable = path.stat().st_ctime
        for line in decode_segment(found.key, await store.get(found.key)):
            if line.pinned is None:
                entry = Entry.model_validate_json(line.raw)
                entries.append((entry, durable))
                if entry.failure is not None:
                    failed[entry.row, entry.path, entry.key].append(durable)
    for entry, durable in entries:
        failures = failed[entry.row, entry.path, entry.key]
        _check_entry(entry, durable, failures, by_seed, resource, results, figures)
    return figures


def served_digests(resource: MoAA, results: Mapping[str, StageResult]) -> dict[str, str]:
    """By every name in requests, what identifies its model in calls: students of different stages get equal requests
    otherwise."""
    declared = {model.endpoint.model if model.endpoint else model.name: model.name for model in resource.spec.models}
    students = [f"@{stage}" for stage, result in results.items() if "model" in result.outputs]
    names = {**declared, **{served_name(student): student for student in students}}
    return {served: _digest(name, resource, results) for served, name in names.items()}


def _digest(name: str, resource: MoAA, results: Mapping[str, StageResult]) -> str:
    """What identifies a model in its calls."""
    model = resource.spec.model(resource.spec.student if made_by(name) else name)
    return answering_digest(model, model_digest(name, results))


def _check_entry(
    entry: Entry,
    durable: float,
    failed: Sequence[float],
    by_seed: Mapping[tuple[int, str], list[Asked]],
    resource: MoAA,
    results: Mapping[str, StageResult],
    figures: CallFigures,
) -> None:
    digest, seed = _digest(entry.model, resource, results), resource.spec.seed
    times = [
        request.at
        for key in CALL_KEYS
        for request in by_seed.get((sampling_seed(run_seed=seed, row=entry.row, path=entry.path, key=key), digest), ())
        if _hash(request.body, model_digest=digest, run_seed=seed, key=key) == entry.key
    ]
    name = f"{entry.row} {entry.path} of {entry.model}"
    # Between two chains' failures the requests are the later one's; after the last there is to be none.
    since = max((at for at in failed if at < durable), default=float("-inf"))
    until = max(failed) if entry.failure is not None else durable
    own = [at for at in times if at > since and not durable < at <= until]
    figures.entries += 1
    figures.asked += len(own)
    figures.repeated += max(0, len(own) - 1)
    if not any(at <= durable for at in times):
        figures.problems.append(f"{name}: in the ledger, but no server was asked before")
    late = [at for at in times if at > until]
    if late:
        figures.problems.append(f"{name}: asked again {late[0] - until:.1f} s after it was durable")


def _hash(body: Mapping[str, Any], *, model_digest: str, run_seed: int, key: str) -> str:
    """The call's identity, from what the server got. Numbers come as floats; the shortest text is the decimal sent."""
    request = ChatRequest(
        messages=body["messages"],
        temperature=Decimal(repr(body["temperature"])),
        top_p=Decimal(repr(body["top_p"])),
        max_tokens=body["max_tokens"],
        seed=body["seed"],
    )
    return request_hash(request, model_digest=model_digest, run_seed=run_seed, key=key)


def _pair_again(row: Any) -> PairRow | None:
    """The pair that a ranking's comparisons give when they are ranked once more."""
    return pair_row(row, Ranked(rank(row["samples"], row["comparisons"]), []))
