"""The pairs on which judges are measured: labelled ones, and some that are made of them by rule.

Rules know no language. A right answer is better than a degenerate one, and than its own first half. Said twice it is no
better than said once: what a judge adds for that is its liking for length. And against itself it shows a liking for a
place. The two ends of a pair are `right` and `wrong`; of a padded pair `wrong` is the longer text.

Sources: a colon, or thoughts without an answer, fool judges that ask for reasons (Zhao et al. 2025, arXiv 2507.08794),
a constant text wins benchmarks (Zheng et al. 2024, arXiv 2410.07137), and an answer that repeats itself passes for a
thorough one (Zheng et al. 2023, arXiv 2306.05685, §3.3).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from moaa.rows import LabelledRow

MADE = 24
"""Labelled questions of which pairs are made: enough to tell a half from four fifths, and a large set is not asked six
times over."""
LEAST_WORDS = 8
"""Of an answer that is cut in half: half of a shorter one may still be right."""


class PairKind(StrEnum):
    LABELLED = "labelled"
    DEGENERATE = "degenerate"
    """Against a colon, empty thoughts or the question again, in turn."""
    TRUNCATED = "truncated"
    """Against its own first half."""
    PADDED = "padded"
    """Against itself, said twice."""
    SAME = "same"
    """Against itself. A blank at its end keeps a method from calling the pair a tie without asking."""


@dataclass(frozen=True)
class AnchorPair:
    id: str
    """`<labelled row>` or `<labelled row>/<kind>`."""
    kind: PairKind
    row: LabelledRow
    """The labelled row that it is or was made of."""
    wrong: str

    @property
    def right(self) -> str:
        return self.row["right"]


def anchor_pairs(labelled: Sequence[LabelledRow]) -> list[AnchorPair]:
    """Every labelled pair, then those that are made of the first questions."""
    found = [AnchorPair(row["id"], PairKind.LABELLED, row, row["wrong"]) for row in labelled]
    first: dict[str, LabelledRow] = {}
    for row in labelled:
        first.setdefault(row["question_id"], row)
    for number, row in enumerate(list(first.values())[:MADE]):
        found += [AnchorPair(f"{row['id']}/{kind}", kind, row, text) for kind, text in _made(number, row)]
    return found


def most_pairs(labelled: int) -> int:
    """Pairs at most of so many labelled ones, for a forecast."""
    return labelled + (len(PairKind) - 1) * min(labelled, MADE)


def _made(number: int, row: LabelledRow) -> Iterator[tuple[PairKind, str]]:
    right, words = row["right"], row["right"].split()
    degenerate = (":", "<think>\n\n</think>", row["question"])[number % 3]
    if degenerate != right:
        yield PairKind.DEGENERATE, degenerate
    if len(words) >= LEAST_WORDS:
        yield PairKind.TRUNCATED, " ".join(words[: len(words) // 2])
    yield PairKind.PADDED, f"{right}\n\n{right}"
    yield PairKind.SAME, f"{right} "
