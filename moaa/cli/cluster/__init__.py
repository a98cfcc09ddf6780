"""`moaa submit`, `status`, `logs` and `cancel`: commands for a cluster."""
