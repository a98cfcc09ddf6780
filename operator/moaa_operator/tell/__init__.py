"""What the operator says: status, conditions, Events, metrics, logs."""
