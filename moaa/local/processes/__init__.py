"""Children of this process: start, guard, stop."""
