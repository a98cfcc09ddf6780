"""Where a model's weights lie, and how they are brought."""
