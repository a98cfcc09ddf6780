"""From the bytes of a file to the rows that they mean."""
