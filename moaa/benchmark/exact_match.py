"""The ExactMatch benchmark: an answer is right or wrong."""


def score(answer: str, gold: str) -> float:
    """1 when the answer equals the gold answer, both stripped of white space at the ends; else 0."""
    return float(answer.strip() == gold.strip())
