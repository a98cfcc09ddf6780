"""A Mixture of Agents: one row through layers and turns (paper §3.1)."""
