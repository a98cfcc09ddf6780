"""lm-evaluation-harness in a child of its own: what its tasks ask, and what they say of an answer.

`child` is the job's side. `program` is what the child runs; only it, `tasks`, `documents` and `rules` import the
library, whose import takes seconds and whose tasks run code of others.
"""
