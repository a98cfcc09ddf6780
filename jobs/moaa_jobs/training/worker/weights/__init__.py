"""Which weights of a student are trained, and which are kept."""
