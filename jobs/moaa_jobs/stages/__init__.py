"""One module a kind of stage, found by the kind's name; `looking` and `lengths` serve the first two kinds."""
