"""Which weights of a student are in memory, are trained, and are kept."""
