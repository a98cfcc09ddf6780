"""A judge is measured on pairs whose better answer is known: which pairs, and which judges. Pure."""
