"""Benchmarks, intervals and the gate."""
