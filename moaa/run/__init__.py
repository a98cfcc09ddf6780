"""Read what a run left in its store, as values."""
