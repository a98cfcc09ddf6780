"""One module a kind of stage, found by the kind's name."""
