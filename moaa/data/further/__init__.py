"""What a benchmark's files say of a question beside asking it."""
