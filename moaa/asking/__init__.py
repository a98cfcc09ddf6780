"""How one row asks models. Nothing here knows transport, store or executor."""
