"""From the API server's objects to what is observed."""
