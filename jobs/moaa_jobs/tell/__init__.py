"""What a job says while it works and when it ends."""
