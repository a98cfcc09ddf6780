"""Looks for a good mixture: trials of one resource that an optimiser suggests, within a limit of cost."""
