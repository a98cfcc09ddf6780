"""How an answer is measured."""
