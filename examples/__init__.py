"""Worked examples; the tests import what they share with them."""
