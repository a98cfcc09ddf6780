"""How stages and the students they make are named."""

from moaa.plan.stage import Kind

RESOLVE = "i0-resolve"
STAGE_DATA = "i0-stage-data"
BASE_EVALUATE = "i0-evaluate"
ANCHORS = "i0-anchors"


def stage_id(iteration: int, kind: Kind, suffix: str = "") -> str:
    return f"i{iteration}-{kind}{'-' + suffix if suffix else ''}"


def made_by(student: str) -> str | None:
    """The stage that made a student (`@i1-sft` gives `i1-sft`), or None for a declared model."""
    return student[1:] if student.startswith("@") else None
