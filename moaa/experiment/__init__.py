"""Several arms of one resource: what they share, what each adds, and how they compare."""
