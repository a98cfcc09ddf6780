"""The API server, whatever it holds."""
