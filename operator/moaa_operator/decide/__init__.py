"""The decision: what to create, to change and to delete next. Pure."""
