"""All that is particular to a kind of stage: one file a kind, registered in `table`."""
