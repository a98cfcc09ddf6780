"""What an executor and a job tell each other."""
