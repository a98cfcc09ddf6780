"""The API server: objects and kinds, requests, copies, queue, lease."""
