"""Arena-Hard's five labels: read from a judge's reply, and what they say of the model. Pure.

Two games a question: in the first A is the baseline, in the second A is the model. A strong verdict (`>>`) counts three
times. Source: Li et al. 2024 (arXiv 2406.11939); arena-hard-auto at efc012e (v0.1) and 196f6b8 (v2.0).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

STRONG = 3
"""Games that a strong verdict counts as."""
_LABEL = re.compile(r"\[\[([AB<>=]+)\]\]")
_SINGLE = re.compile(r"\[([AB<>=]+)\]")


class Label(StrEnum):
    """A judge's verdict on answers A and B."""

    A_MUCH = "A>>B"
    A_BETTER = "A>B"
    EQUAL = "A=B"
    B_BETTER = "B>A"
    B_MUCH = "B>>A"


_MIRRORED = {
    "A<<B": Label.B_MUCH,
    "A<B": Label.B_BETTER,
    "B=A": Label.EQUAL,
    "B<A": Label.A_BETTER,
    "B<<A": Label.A_MUCH,
}
"""How a judge may also write them; v2.0 knows them."""


class Version(StrEnum):
    """v0.1 takes a reply with two different labels for none, and a game without a label costs itself. In v2.0 the last
    label counts, in small letters or single brackets too, and a game without one costs its question."""

    V0_1 = "v0.1"
    V2_0 = "v2.0"


@dataclass(frozen=True)
class Game:
    question: str
    score: float
    """Of the model: 1 won, ½ drawn, 0 lost."""
    weight: int


def label_of(reply: str, version: Version) -> Label | None:
    """The verdict in double brackets, such as `[[A>B]]`; None where there is none that counts."""
    match version:
        case Version.V0_1:
            found = set(_LABEL.findall(reply))
            return _known(found.pop()) if len(found) == 1 else None
        case Version.V2_0:
            text = reply.upper()
            listed = _LABEL.findall(text) or _SINGLE.findall(text)
            return _known(listed[-1]) or _MIRRORED.get(listed[-1]) if listed else None
        case _:
            assert_never(version)


def is_labelled(reply: str) -> bool:
    """Whether v0.1 sees an end of the judgement in it. One without is asked to go on; one with two labels is not."""
    return _LABEL.search(reply) is not None


def _known(text: str) -> Label | None:
    return next((label for label in Label if label == text), None)


def game(question: str, label: Label, *, model_is_a: bool) -> Game:
    """What a verdict says of the model."""
    score, weight = _of_a(label)
    return Game(question, score if model_is_a else 1 - score, weight)


def _of_a(label: Label) -> tuple[float, int]:
    match label:
        case Label.A_MUCH:
            return 1.0, STRONG
        case Label.A_BETTER:
            return 1.0, 1
        case Label.EQUAL:
            return 0.5, 1
        case Label.B_BETTER:
            return 0.0, 1
        case Label.B_MUCH:
            return 0.0, STRONG
        case _:
            assert_never(label)


def games_of(verdicts: Mapping[str, tuple[Label | None, Label | None]], version: Version) -> tuple[list[Game], int]:
    """The games that count, and how many do not. `verdicts` are by question: the label of the game in which A is the
    baseline, then of the one in which A is the model; None where the judge gave none."""
    games, dropped = [], 0
    for question, labels in verdicts.items():
        counted = [
            game(question, label, model_is_a=place == 1) for place, label in enumerate(labels) if label is not None
        ]
        if version is Version.V2_0 and len(counted) < 2:
            counted = []
        games += counted
        dropped += 2 - len(counted)
    return games, dropped


def win_rate(games: Iterable[Game]) -> float:
    """Weighted mean of the games' scores. Raises ValueError: there is none."""
    listed = list(games)
    if not listed:
        raise ValueError("no game has a label, so there is no win rate")
    return sum(g.score * g.weight for g in listed) / sum(g.weight for g in listed)
