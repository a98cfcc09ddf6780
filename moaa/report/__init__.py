"""What a run found out, for people (`report.html`) and for programs (`summary.json`)."""
