"""What a run found out, for people (`report.html`) and for programs (`summary.json`)."""

from moaa.report.write import write_report

__all__ = ["write_report"]
