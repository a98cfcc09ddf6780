"""`python -m benchmarks.generation`: every cell, then the result (see the package's text)."""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.commit import commit
from benchmarks.generation import report
from benchmarks.generation.cell import Cell, Client, Measured, Near, measure, simulate
from benchmarks.generation.endurance import Killed, Memory, kill, memory
from benchmarks.generation.engine import Speed
from benchmarks.generation.ideal import ideal
from benchmarks.generation.job import Prepared
from benchmarks.generation.rows import Rows, prompts

OURS = (Client.SERVED, Client.ENDPOINT, Client.TUNED)
PARTS = ("virtual", "real", "fast", "kill", "memory")
USUAL = Speed()
FAST = Speed(factor=10.0)


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    rows: int
    """For each replica of a model."""
    virtual: tuple[int, ...]
    """Replicas."""
    together: tuple[int, ...]
    """Replicas of real cells that run side by side, since they hardly compute."""
    alone: tuple[int, ...]
    fast: int
    """Replicas of the fleet that is ten times as fast."""
    memory: tuple[int, ...]
    """Rows."""


SMALL = Size(200, (1, 4), (1, 2), (), 1, (2_000, 10_000))
FULL = Size(400, (1, 4, 16), (1, 4), (16,), 4, (10_000, 100_000))
WHOLE = Size(400, (1, 4, 16), (1, 4), (16,), 4, (10_000, 100_000, 1_000_000))


class Bench:
    """Cells in a folder; prompts are staged once for each number of rows."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._prepared: dict[int, Prepared] = {}
        self._ideals: dict[tuple[int, int, Speed], list[float]] = {}

    def rows(self, count: int) -> Rows:
        return Rows(Prepared(self._folder, count).resource(self._folder, {}), prompts(count))

    def prepared(self, rows: int) -> Prepared:
        if rows not in self._prepared:
            self._prepared[rows] = Prepared(self._folder / f"prepared-{rows}", rows)
            self._prepared[rows].write()
        return self._prepared[rows]

    def ideal(self, cell: Cell) -> list[float]:
        known = (cell.replicas, cell.rows, cell.speed)
        if known not in self._ideals:
            self._ideals[known] = ideal(self.rows(cell.rows), replicas=cell.replicas, speed=cell.speed)
        return self._ideals[known]

    def simulate(self, cell: Cell) -> Near:
        found = simulate(cell, self.rows(cell.rows), self.ideal(cell))
        say(f"{cell.name}: {found.whole:.3f} whole, {found.middle:.3f} middle, in virtual time")
        return found

    def measure(self, cells: Sequence[Cell]) -> list[Measured]:
        """Side by side."""
        ready = [(cell, self.prepared(cell.rows), self.ideal(cell)) for cell in cells]
        with ThreadPoolExecutor(len(ready)) as pool:
            found = list(pool.map(lambda one: measure(one[0], one[1], one[2], self._folder / one[0].name), ready))
        for one in found:
            say(f"{one.cell.name}: {one.near.whole:.3f} whole, {one.near.middle:.3f} middle")
        return found

    def kill(self, rows: int, *, replicas: int) -> Killed:
        return kill(self.prepared(rows), self._folder / "kill", replicas=replicas, speed=USUAL)

    def memory(self, rows: int) -> Memory:
        found = memory(self._folder / f"memory-{rows}", rows=rows)
        say(f"{rows:,} rows: {found.generate_mib:.0f} MiB")
        return found


def say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def run(bench: Bench, size: Size, parts: Sequence[str]) -> report.Result:
    """The parts asked for, one after the other."""
    result = report.Result()

    def cells(clients: Sequence[Client], replicas: Sequence[int], speed: Speed = USUAL) -> list[Cell]:
        rows = size.rows * (2 if speed is FAST else 1)
        return [Cell(client, number, rows * number, speed) for number in replicas for client in clients]

    if "virtual" in parts:
        for cell in cells(OURS, size.virtual):
            result.simulated[cell] = bench.simulate(cell)
    if "real" in parts:
        result.measured += bench.measure(cells([*OURS, Client.BARE], size.together))
        for cell in cells([*OURS, Client.BARE], size.alone):
            result.measured += bench.measure([cell])
    if "fast" in parts:
        for cell in cells([Client.SERVED, Client.SHARDS, Client.BARE], [size.fast], FAST):
            result.measured += bench.measure([cell])
    if "kill" in parts:
        replicas = size.together[-1]
        result.killed = bench.kill(size.rows * replicas, replicas=replicas)
    if "memory" in parts:
        result.memory = [bench.memory(rows) for rows in size.memory]
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--small", action="store_true", help="fewer rows and replicas, in a few minutes")
    size.add_argument("--whole", action="store_true", help="memory at a million rows, too")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--write", action="store_true", help="write generation_<year><month>.md; needs a clean commit")
    asked = parser.parse_args()
    named = commit() if asked.write else ""
    with tempfile.TemporaryDirectory(prefix="moaa-generation-") as folder:
        chosen = SMALL if asked.small else WHOLE if asked.whole else FULL
        result = run(Bench(Path(folder)), chosen, asked.only)
    print(report.table(result))
    if asked.write:
        file = Path(__file__).parents[1] / f"generation_{datetime.now(UTC):%Y%m}.md"
        file.write_text(report.page(result, " ".join(sys.argv[1:]), named))
    print(report.line(result))


if __name__ == "__main__":
    main()
