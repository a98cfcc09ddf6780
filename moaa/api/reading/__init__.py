"""From YAML to a checked resource."""
