"""What a run made, taken out of its store: a student as a folder, its training data as datasets, cards for both."""
