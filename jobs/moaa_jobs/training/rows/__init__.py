"""Rows become tokens and steps; no torch."""
