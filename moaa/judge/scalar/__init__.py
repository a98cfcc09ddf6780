"""Answers ranked by numbers of a reward model, alone or before judges compare."""
