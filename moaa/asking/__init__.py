"""How one row asks models; knows no transport, no store and no executor."""
