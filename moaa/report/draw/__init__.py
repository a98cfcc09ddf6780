"""Pictures from numbers."""
