"""What became of the rows of every source, from the metrics that stage-data leaves (`moaa_jobs.stages.stage_data`)."""

from moaa.plan.ids import STAGE_DATA
from moaa.plan.slices import tables
from moaa.report.schema import DataSummary
from moaa.run.view import RunView

_IGNORED = ".ignored."


def data(view: RunView) -> list[DataSummary]:
    """One entry a source, in the order of the resource; none until stage-data is done."""
    stage = view.of(STAGE_DATA)
    if stage is None or stage.manifest is None:
        return []
    metrics = stage.manifest.metrics
    return [
        DataSummary(
            table=table,
            read=int(metrics[f"{table}.read"]),
            failed=int(metrics.get(f"{table}.failed", 0)),  # one bad row ended the stage in releases without it
            duplicates=int(metrics[f"{table}.duplicates"]),
            contaminated=int(metrics[f"{table}.contaminated"]),
            over_limit=int(metrics[f"{table}.overLimit"]),
            rows=int(metrics[f"{table}.rows"]),
            ignored={
                name.removeprefix(f"{table}{_IGNORED}"): int(count)
                for name, count in metrics.items()
                if name.startswith(f"{table}{_IGNORED}")
            },
        )
        for table, _ in tables(stage.resource or view.resource)
        if f"{table}.read" in metrics
    ]
