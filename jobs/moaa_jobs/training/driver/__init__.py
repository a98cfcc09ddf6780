"""The Ray driver of a training; no torch."""
