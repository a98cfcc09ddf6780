"""Everything that talks to a model: replicas, retries, token budgets, usage."""
