"""Many calls at once over the replicas of every model."""
