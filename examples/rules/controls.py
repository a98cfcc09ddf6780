"""Write what other arms are given: answers of members to the same prompts, and prompts that the student half masters.

All of it is made of what the first arm left.
"""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from examples.rules.data import World, questions_in_every_form, row
from examples.rules.rules import BY_ID, keeps
from examples.rules.stored import Rules
from examples.rules.topics import taught
from moaa.rows import ConversationRow, ProposalRecord, SampleRow

HALF = 2
"""Rules of the arm half-kept: with three forms of every prompt, as many prompts as six rules have in one."""

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


def half_kept(rows: Sequence[SampleRow], rules: Mapping[str, Rules]) -> list[str]:
    """The HALF rules that the student's samples keep most nearly half the time; of equal ones, the first by name."""
    kept: dict[str, list[bool]] = defaultdict(list)
    for one in rows:
        ids, arguments = rules[one["id"]]
        kept[" + ".join(BY_ID[name].name for name in ids)] += [keeps(s, ids, arguments) for s in one["samples"]]
    return sorted(kept, key=lambda name: (abs(sum(kept[name]) / len(kept[name]) - 0.5), name))[:HALF]


def write_half_kept(
    rows: Sequence[SampleRow], rules: Mapping[str, Rules], folder: Path, world: World, *, seed: int
) -> str:
    """Write half-kept.jsonl: prompts of these rules about the topics of the pairs, in every form.

    Returns:
        Which rules they are, and how many prompts, as a sentence.
    """
    names = half_kept(rows, rules)
    made = list(questions_in_every_form(taught(seed)[world.sft : world.taught], names, seed=f"half-kept/{seed}"))
    lines = (json.dumps(row(question, f"half-kept-{number:04d}")) for number, question in enumerate(made))
    (folder / "half-kept.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return f"the student keeps {' and '.join(names)} most nearly half the time: {len(made)} prompts (half-kept)"


def _write(rows: Sequence[ConversationRow], file: Path, choose: Choose) -> int:
    """Rows written."""
    lines = []
    for one in sorted(rows, key=lambda found: found["id"]):
        chosen = choose([p for p in one["proposals"] if p["text"].strip()])
        if chosen is not None:
            answer = {"role": "assistant", "content": chosen["text"].strip()}
            lines.append(json.dumps({"id": one["id"], "messages": [*one["messages"][:-1], answer]}))
    file.write_text("".join(f"{line}\n" for line in lines))
    return len(lines)
