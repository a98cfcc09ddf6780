"""One iteration with a real instruct model, small enough for two CPU cores."""
