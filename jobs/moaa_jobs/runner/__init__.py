"""What the stages of a job share."""
