"""All sources of a run to the tables of stage-data: read, deduplicated, decontaminated, permuted. One pass, on disk.

Evaluation tables come first, since what is kept of them decides what training rows may hold. Deduplication is within
`sft` and within `preference`, over their sources in order, never between them: the paper takes its preference prompts
from its SFT set. Ids are unique within such a group: a row whose id an earlier source has used for something else is
called `<id>@<k>`, k being its source. Within one source an id that names two different rows is the user's mistake.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

from moaa.data.decontaminate import Contamination
from moaa.data.dedup import Deduplicator
from moaa.data.files import bad
from moaa.data.hashing import canonical
from moaa.data.shapes import Use
from moaa.data.sources import SourcedRow, read_rows
from moaa.data.spool import Spool
from moaa.rows import PromptRow


@dataclass(frozen=True)
class TableSource:
    """One table to be, and the local files its rows come from."""

    name: str
    """`sft-<k>`, `preference-<k>` or `eval-<benchmark>`."""
    use: Use
    files: tuple[tuple[Path, str], ...]
    """Local path and the name that errors use."""
    limit: int | None = None
    """Evaluation tables: most rows that are kept, the first of the permutation. None for training tables."""

    @property
    def group(self) -> str:
        return self.name.partition("-")[0]


@dataclass
class Counts:
    """read = duplicates + contaminated + over_limit + kept."""

    read: int = 0
    duplicates: int = 0
    contaminated: int = 0
    over_limit: int = 0
    kept: int = 0


@dataclass
class PreparedTable:
    name: str
    spool: Spool
    limit: int | None
    counts: Counts = field(default_factory=Counts)

    def rows(self) -> Iterator[PromptRow]:
        """In the run's order. Valid until `prepare` is left."""
        return self.spool.permuted(self.limit)


@contextmanager
def prepare(
    sources: Sequence[TableSource], *, seed: int, ngram: int, folder: Path, on_rows: Callable[[int], None]
) -> Iterator[list[PreparedTable]]:
    """The tables, in the order of `sources`; spooled in `folder` while the context is open.

    `on_rows` is told now and then how many rows have been read.

    Raises:
        DataError: a source is wrong; nothing of it is used.
    """
    contamination = Contamination(ngram)
    groups: dict[str, _Group] = {}
    total = 0
    with ExitStack() as stack:
        tables: dict[str, PreparedTable] = {}
        for source in sorted(sources, key=lambda s: s.group != "eval"):  # stable: evaluation first, else as given
            is_eval = source.group == "eval"
            # A benchmark is a group of its own: what it measures may overlap with another's.
            group = groups.setdefault(source.name if is_eval else source.group, _Group(is_training=not is_eval))
            spool = stack.enter_context(Spool(folder / f"{source.name}.spool", seed))
            table = tables[source.name] = PreparedTable(source.name, spool, source.limit)
            for sourced in read_rows(source.files, source.use):
                total += 1
                table.counts.read += 1
                if total % 256 == 0:
                    on_rows(total)
                row = group.admit(sourced, source.name)
                if row is None:
                    table.counts.duplicates += 1
                elif not is_eval and contamination.contains(row["messages"]):
                    table.counts.contaminated += 1
                else:
                    spool.append(row)
            table.counts.kept = len(spool) if source.limit is None else min(len(spool), source.limit)
            table.counts.over_limit = len(spool) - table.counts.kept
            if is_eval:
                for kept in table.rows():
                    contamination.add(kept["messages"])
        on_rows(total)
        yield [tables[source.name] for source in sources]


class _Group:
    """What has been seen of the sources that are deduplicated together."""

    def __init__(self, *, is_training: bool) -> None:
        self._ids: dict[str, tuple[str, bytes]] = {}
        self._deduplicator = Deduplicator() if is_training else None

    def admit(self, sourced: SourcedRow, table: str) -> PromptRow | None:
        """The row, under an id that is unique in the group; None for a duplicate."""
        row = sourced.row
        content = blake2b(canonical([row["messages"], row["answer"]]), digest_size=16).digest()
        row_id = row["id"]
        if known := self._ids.get(row_id):
            if known[1] == content:
                return None
            if known[0] == table:
                raise bad(sourced.where, "id", row_id, "an earlier row with other content has it; ids must be unique")
            row_id = f"{row_id}@{table.rpartition('-')[2]}"
            if row_id in self._ids:
                raise bad(sourced.where, "id", row["id"], f"{row_id}, its name beside an earlier source, is taken too")
        if self._deduplicator and not self._deduplicator.is_new(row["messages"]):
            return None
        self._ids[row_id] = (table, content)
        return PromptRow(id=row_id, messages=row["messages"], answer=row["answer"])
