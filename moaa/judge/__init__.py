"""The mixture as a reward model: criteria, verdicts, ranking, pairs (paper §3.2)."""
