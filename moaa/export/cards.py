"""Cards (README.md with YAML metadata) of what is exported, written from what was measured.

Metadata follow https://huggingface.co/docs/hub/model-cards and https://huggingface.co/docs/hub/datasets-cards. No
licence is guessed: the card lists what the resource states, model by model; who publishes decides.
"""

import re
from collections.abc import Mapping, Sequence

import yaml

from moaa.export.tables import Dataset
from moaa.report.provenance import public_resource
from moaa.report.schema import LineageSummary, ModelSummary, ScoreSummary, Summary
from moaa.report.wording import percent
from moaa.run.students import iteration_of
from moaa.run.view import RunView

_HUB = "hf://"
_FILE = re.compile(r"""file://[^\s"'<>|,]*?([^/\s"'<>|,]+)/?(?=[\s"'<>|,]|$)""")


def model_card(view: RunView, summary: Summary, student: str) -> str:
    """The card of a trained student, `@<stage>`."""
    stage = student[1:]
    line = next(entry for entry in summary.lineage if entry.stage == stage)
    start = view.resource.spec.model(view.resource.spec.student)
    base = _hub_name(start.source)
    metadata: dict[str, object] = {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["moaa", "mixture-of-agents", "alignment"],
    }
    if base is not None:
        metadata["base_model"] = base
    parts = [
        f"# {summary.run.name}, {line.student}",
        f"{start.name} trained by a Mixture of Agents (arXiv 2505.03059): {line.student} of the run "
        f"`{summary.run.run}`, seed {summary.run.seed}.",
        "## Scores",
        _scores(summary, student),
        "## Lineage",
        _lineage(summary, line),
        *_models(summary),
        *_recipe(view),
        *_software(summary),
    ]
    return _card(metadata, parts)


def dataset_card(view: RunView, summary: Summary, dataset: Dataset, rows: Mapping[str, int]) -> str:
    """The card of a dataset; `rows` are those of each stage that wrote some."""
    total = sum(rows.values())
    metadata: dict[str, object] = {
        "tags": ["moaa", "mixture-of-agents", "synthetic", dataset.trains.value],
        "size_categories": [_size(total)],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "data/*.parquet"}]}],
    }
    columns = ", ".join(f"`{name}`" for name in dataset.schema.names)
    read, dropped = [], []
    for stage, count in rows.items():
        training = next((s for s in view.stages if s.stage.id == _reader(stage, dataset)), None)
        lost = training.manifest.failures if training and training.manifest else {}
        read.append(f"| {stage} | {count:,} | {_counts(lost)} |")
        dropped += [f for f in summary.failures if f.stage == stage]
    out = [f"- {f.stage}: {f.rows:,} rows failed ({f.reason})" for f in dropped]
    for pairs in summary.pairs if dataset.table == "pairs" else []:
        if pairs.stage in rows and pairs.dropped:
            out.append(f"- {pairs.stage}: prompts without a pair: {_counts(pairs.dropped)}")
    readers = {_reader(stage, dataset) for stage in rows}
    sources = dict.fromkeys(source for entry in summary.lineage if entry.stage in readers for source in entry.data)
    parts = [
        f"# {summary.run.name}: {dataset.title}",
        f"{total:,} rows that a Mixture of Agents (arXiv 2505.03059) wrote in the run `{summary.run.run}`, seed "
        f"{summary.run.seed}. Columns: {columns}. TRL trains on them as they are.",
        "| stage | rows | of these not trained on |\n|---|--:|---|\n" + "\n".join(read),
        *(["Left out before:\n\n" + "\n".join(out)] if out else []),
        *(["Prompts come from:\n\n" + "\n".join(f"- {source}" for source in sources)] if sources else []),
        *_models(summary),
        *_recipe(view),
        *_software(summary),
    ]
    return _card(metadata, parts)


def _reader(stage: str, dataset: Dataset) -> str:
    return f"{stage.partition('-')[0]}-{dataset.trains}"


def _card(metadata: Mapping[str, object], parts: Sequence[str]) -> str:
    """The whole text. Of a path on this machine only the last part is shown: the others say nothing to a reader."""
    front = yaml.safe_dump(dict(metadata), sort_keys=False, allow_unicode=True)
    text = f"---\n{front}---\n\n" + "\n\n".join(parts) + "\n"
    return _FILE.sub(lambda found: f"file://…/{found.group(1)}", text)


def _scores(summary: Summary, student: str) -> str:
    """The student's own scores and those of the start, of every benchmark that has them."""
    label = student.rpartition("-")[2]
    iteration = iteration_of(student)
    shown = [s for s in summary.scores if (s.iteration, s.model) in ((0, "base"), (iteration, label))]
    if not any(s.iteration == iteration for s in shown):
        return "This student was not measured."
    rows = "\n".join(_score(s) for s in shown)
    table = (
        "| model | benchmark | use | metric | score | interval | questions |\n|---|---|---|---|--:|---|--:|\n" + rows
    )
    is_promoted = summary.headline.promoted == _label(summary, student)
    return f"{table}\n\n{summary.headline.verdict}" if is_promoted else table


def _label(summary: Summary, student: str) -> str:
    return next(entry.student for entry in summary.lineage if entry.stage == student[1:])


def _score(score: ScoreSummary) -> str:
    interval = "–" if score.low is None or score.high is None else f"{percent(score.low)} to {percent(score.high)}"
    who = "start" if score.iteration == 0 else "this"
    cells = (who, score.benchmark, score.use, score.metric, percent(score.value), interval, f"{score.n:,}")
    return f"| {' | '.join(cells)} |"


def _lineage(summary: Summary, line: LineageSummary) -> str:
    """This student, and every one before it whose weights it went on from."""
    chain, seen = [line], {line.student}
    while chain[-1].parent not in seen:
        seen.add(chain[-1].parent)
        before = next((entry for entry in summary.lineage if entry.student == chain[-1].parent), None)
        if before is None:
            break
        chain.append(before)
    return "\n".join(
        f"- {entry.student}, from {entry.parent}; taught by {', '.join(entry.teachers) or 'the answers of the data'}; "
        f"licences: {', '.join(entry.licenses)}; prompts: {', '.join(entry.data) or '–'}"
        for entry in reversed(chain)
    )


def _models(summary: Summary) -> list[str]:
    rows = "\n".join(_model(model) for model in summary.models)
    return [
        "## Models and their licences",
        f"| model | did what | from | revision | licence |\n|---|---|---|---|---|\n{rows}",
        "A licence is as the resource states it. Some put terms on what is trained on a model's outputs: read those of "
        "every teacher and judge before you publish, and write your own `license` at the top of this card.",
    ]


def _model(model: ModelSummary) -> str:
    cells = (
        model.name,
        ", ".join(model.roles) or "–",
        model.origin,
        model.revision or "–",
        model.license or "not stated",
    )
    return f"| {' | '.join(cells)} |"


def _recipe(view: RunView) -> list[str]:
    text = yaml.safe_dump(public_resource(view.resource), sort_keys=False, allow_unicode=True)
    return ["## Recipe", f"```yaml\n{text}```"]


def _software(summary: Summary) -> list[str]:
    if not summary.versions:
        return []
    return ["## Software", "\n".join(f"- {name} {', '.join(of)}" for name, of in summary.versions.items())]


def _counts(found: Mapping[str, int]) -> str:
    return ", ".join(f"{reason}: {count:,}" for reason, count in found.items()) or "–"


def _hub_name(source: str | None) -> str | None:
    """`org/name` of an hf:// source."""
    return source.removeprefix(_HUB) if source is not None and source.startswith(_HUB) else None


def _size(rows: int) -> str:
    """The Hub's size category."""
    steps = (
        (1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"),
        (10_000_000, "1M<n<10M"),
    )  # fmt: skip
    return next((name for bound, name in steps if rows < bound), "10M<n<100M")
