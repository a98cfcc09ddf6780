"""The field's benchmarks as formulas: rows of verdicts in, published figures out. Pure; numpy only."""
