"""Write the answers that the control arms are taught, from what the mixture's members proposed to the same prompts."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from examples.rules.rules import keeps
from examples.rules.stored import Rules
from moaa.rows import ConversationRow, ProposalRecord

Choose = Callable[[Sequence[ProposalRecord]], ProposalRecord | None]


def best_member(rows: Sequence[ConversationRow], rules: Mapping[str, Rules]) -> str:
    """The member whose proposals keep most rules; of equal ones, the first by name."""
    kept = Counter(p["model"] for row in rows for p in row["proposals"] if keeps(p["text"], *rules[row["id"]]))
    return min(kept, key=lambda model: (-kept[model], model))


def write(rows: Sequence[ConversationRow], rules: Mapping[str, Rules], folder: Path, *, seed: int) -> str:
    """Write one-member.jsonl and random-member.jsonl; rows without a fitting proposal are left out and counted.

    Returns:
        Who the one member is, and how many rows each file has, as a sentence.
    """
    best, rng = best_member(rows, rules), random.Random(seed)
    one = _write(rows, folder / "one-member.jsonl", lambda made: next((p for p in made if p["model"] == best), None))
    some = _write(rows, folder / "random-member.jsonl", lambda made: rng.choice(made) if made else None)
    return f"of {len(rows)} prompts, {one} have an answer of {best} (one-member) and {some} of any (random-member)"


def _write(rows: Sequence[ConversationRow], file: Path, choose: Choose) -> int:
    """Rows written."""
    lines = []
    for row in sorted(rows, key=lambda one: one["id"]):
        chosen = choose([p for p in row["proposals"] if p["text"].strip()])
        if chosen is not None:
            answer = {"role": "assistant", "content": chosen["text"].strip()}
            lines.append(json.dumps({"id": row["id"], "messages": [*row["messages"][:-1], answer]}))
    file.write_text("".join(f"{line}\n" for line in lines))
    return len(lines)
