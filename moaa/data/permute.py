"""The order of rows in a run: a permutation that depends on the run's seed and the rows' ids, and on nothing else.

Sorting by a hash needs no state and is stable under edits: adding or removing a row leaves the order of the others as
it was, so that an iteration's slice changes as little as it can.
"""

import hashlib


def sort_key(seed: int, row_id: str) -> bytes:
    """Rows are in ascending order of this key. Ids are unique in a table, so that keys are too."""
    return hashlib.sha256(f"{seed}\0{row_id}".encode()).digest()
