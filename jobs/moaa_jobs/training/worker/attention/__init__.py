"""By which code a model's attention is computed."""
