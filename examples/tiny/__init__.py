"""A world of real but tiny language models, in which every claim can be measured on two CPU cores."""
