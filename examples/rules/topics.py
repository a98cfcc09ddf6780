"""What the prompts are about: self-written, none twice. Only TAUGHT have sentences, which lessons are made of; nobody
is taught anything about the others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

SENTENCES = Path(__file__).resolve().parent / "data" / "sentences.txt"


def read_sentences() -> Mapping[str, list[str]]:
    """Three plain sentences about each topic."""
    lines = [line.split(": ", 1) for line in SENTENCES.read_text().splitlines()]
    return {topic: said.split(" | ") for topic, said in lines}


TAUGHT = tuple(read_sentences())
SELECTION = (
    "fishing", "wool", "pianos", "autumn", "elephants", "airports", "puzzles", "butter", "thunder", "tailors",
    "frogs", "paper", "parks", "running", "onions", "planets", "sheep", "postcards", "lemons", "ice",
)  # fmt: skip
REPORT = (
    "magnets", "violins", "hats", "beaches", "spring", "tomatoes", "ladders", "parrots", "caves", "tents",
    "knitting", "radios", "dolphins", "chocolate", "bells", "roads", "firefighters", "tulips", "laughter", "sand",
)  # fmt: skip


def taught(seed: int) -> tuple[str, ...]:
    """TAUGHT, begun twenty topics later with every seed: small worlds of the first four seeds have none in common."""
    start = 20 * seed % len(TAUGHT)
    return TAUGHT[start:] + TAUGHT[:start]
