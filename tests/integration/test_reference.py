"""What the field reference says that an edit repeats is what the planner does."""

import json
from pathlib import Path

from scripts.reach import told

REPEATED = Path(__file__).parents[2] / "moaa" / "api" / "crd" / "repeated.json"


def test_the_reference_says_what_an_edit_repeats() -> None:
    """Otherwise: `make crd`."""
    assert json.loads(REPEATED.read_text()) == told()
