"""Where a model's weights lie, and bringing them to this machine."""
