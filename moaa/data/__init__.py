"""Prompts and conversations: sources, shapes, deduplication, decontamination, slices."""
