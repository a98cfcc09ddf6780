"""Closed iterations, and what an edit repeats."""
