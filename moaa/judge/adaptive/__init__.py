"""Fewer comparisons for the same pair: what is asked next, and when to stop."""
