"""What a run left in its store, read as values."""
