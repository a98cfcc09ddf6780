"""Golden values: what must not move when code does, as canonical JSON beside this file, one file a topic.

`python -m tests.golden.write` writes them anew; `tests/unit/test_golden.py` compares. A difference is either a mistake
or a decision: then write them anew, read the difference in git, and say in CHANGELOG.md what changed for users.
"""

import difflib
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
WIDTH = 120
SHOWN = 20
"""Differences named in a message; the rest is counted."""


def canonical(value: object) -> str:
    """Sorted JSON, the same bytes for the same value; what fits on a line stands on one."""
    return _laid_out(rounded(value), 0) + "\n"


def _laid_out(value: Any, indent: int) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)
    if len(text) + indent <= WIDTH or not value or not isinstance(value, dict | list):
        return text
    if isinstance(value, dict):
        items = [f"{json.dumps(k, ensure_ascii=False)}: {_laid_out(value[k], indent + 1)}" for k in sorted(value)]
    else:
        items = [_laid_out(item, indent + 1) for item in value]
    start, end = "{}" if isinstance(value, dict) else "[]"
    lines = ",\n".join(" " * (indent + 1) + item for item in items)
    return f"{start}\n{lines}\n{' ' * indent}{end}"


def rounded(value: Any) -> Any:
    """With fractions to nine digits: the last ones are the processor's."""
    if isinstance(value, float):
        return float(f"{value:.9g}")
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, list | tuple) else value


def file_of(topic: str) -> Path:
    return FOLDER / f"{topic}.json"


def digest(text: str | bytes) -> str:
    """Stands for a text that is too long to keep."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text).hexdigest()


def differences(golden: object, now: object) -> list[str]:
    """Every place where two values differ, with what each has there."""
    return list(_differences(golden, now, ""))


def report(golden: object, now: object) -> str:
    """What a failed test says: the first differences; empty for equal values."""
    found = differences(golden, now)
    more = [f"and {len(found) - SHOWN} more differences"] if len(found) > SHOWN else []
    return "\n".join([*found[:SHOWN], *more])


def _differences(golden: object, now: object, path: str) -> Iterator[str]:
    if type(golden) is not type(now):
        yield f"{path or 'the value'}: golden {_short(golden)}, now {_short(now)}"
    elif isinstance(golden, dict) and isinstance(now, dict):
        yield from _of_mappings(golden, now, path)
    elif isinstance(golden, list) and isinstance(now, list):
        yield from _of_lists(golden, now, path)
    elif golden != now:
        yield from _of_leaves(golden, now, path)


def _of_mappings(golden: dict[str, Any], now: dict[str, Any], path: str) -> Iterator[str]:
    for key in sorted(golden.keys() | now.keys()):
        place = f"{path}.{key}" if path else key
        if key not in now:
            yield f"{place}: golden {_short(golden[key])}, now absent"
        elif key not in golden:
            yield f"{place}: new, {_short(now[key])}"
        else:
            yield from _differences(golden[key], now[key], place)


def _of_lists(golden: list[Any], now: list[Any], path: str) -> Iterator[str]:
    """Item by item where the lengths agree; else what went and what came, so that one insertion is one difference."""
    if len(golden) == len(now):
        for i, (before, after) in enumerate(zip(golden, now, strict=True)):
            yield from _differences(before, after, f"{path}[{i}]")
        return
    yield f"{path}: golden has {len(golden)} items, now {len(now)}"
    before, after = ([canonical(item) for item in items] for items in (golden, now))
    for tag, i, end, j, last in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if tag != "equal":
            yield from (f"{path}[{n}]: gone, {_short(golden[n])}" for n in range(i, end))
            yield from (f"{path}[{n}]: new, {_short(now[n])}" for n in range(j, last))


def _of_leaves(golden: object, now: object, path: str) -> Iterator[str]:
    if isinstance(golden, str) and isinstance(now, str) and "\n" in golden + now:
        lines = difflib.unified_diff(golden.splitlines(), now.splitlines(), "golden", "now", lineterm="", n=1)
        yield f"{path}:\n" + "\n".join(f"    {line}" for line in lines)
    else:
        yield f"{path}: golden {_short(golden)}, now {_short(now)}"


def _short(value: object) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return text if len(text) <= 300 else f"{text[:200]} … {text[-80:]}"
