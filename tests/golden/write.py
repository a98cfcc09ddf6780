"""`python -m tests.golden.write [TOPIC ...]`: write golden values anew, all or some, and say which files changed."""

import sys
from collections.abc import Sequence

from tests.golden.book import canonical, file_of
from tests.golden.topics import TOPICS


def main(names: Sequence[str]) -> int:
    unknown = [name for name in names if name not in TOPICS]
    if unknown:
        print(f"{unknown[0]}: there is no such topic; it is one of {', '.join(TOPICS)}", file=sys.stderr)
        return 2
    for name in names or TOPICS:
        file, text = file_of(name), canonical(TOPICS[name]())
        if not file.exists() or file.read_text() != text:
            file.write_text(text)
            print(f"changed: {file.name} ({len(text):,} characters)")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
