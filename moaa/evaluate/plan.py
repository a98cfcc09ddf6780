"""Whom an evaluate stage measures, for those who read its rows: `moaa.plan.subjects` under its name in this layer."""

from moaa.plan.subjects import AGGREGATOR, BASE, MIXTURE, How, Subject, label_of, subjects

__all__ = ["AGGREGATOR", "BASE", "MIXTURE", "How", "Subject", "label_of", "subjects"]
