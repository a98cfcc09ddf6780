"""What a run has spent, and whether more may be."""
