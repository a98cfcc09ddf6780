"""What happened, for people (HTML) and machines (summary.json)."""
