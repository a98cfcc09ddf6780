"""What an operator says: status, conditions, events, metrics, logs."""
