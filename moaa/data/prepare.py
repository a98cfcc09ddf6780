"""All sources of a run to the tables of stage-data: read, deduplicated, decontaminated, permuted. One pass, on disk.

Evaluation tables come first, since what is kept of them decides what training rows may hold. Deduplication is within
`sft` and within `preference`, over their sources in order, never between them: the paper takes its preference prompts
from its SFT set. Ids are unique within such a group: a row whose id an earlier source has used for something else is
called `<id>@<k>`, k being its source. Within one source the second row of an id is a failed row, like any row that
cannot be read: it is counted, and the caller decides whether there are too many.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

from moaa.api.data import Columns
from moaa.conversation import user_turns
from moaa.data.account import Account
from moaa.data.decontaminate import Contamination
from moaa.data.dedup import Deduplicator
from moaa.data.further.completion import NOTHING_MORE, Completion, Unasked
from moaa.data.hashing import canonical
from moaa.data.reading.bad_rows import BadRow, RowError, Why
from moaa.data.reading.shapes import NO_COLUMNS, Use
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
    columns: Columns = NO_COLUMNS
    completion: Completion = NOTHING_MORE

    @property
    def group(self) -> str:
        return self.name.partition("-")[0]


@dataclass
class PreparedTable:
    name: str
    spool: Spool
    limit: int | None
    account: Account = field(default_factory=Account)

    def rows(self) -> Iterator[PromptRow]:
        """In the run's order. Valid until `prepare` is left."""
        return self.spool.permuted(self.limit)


@contextmanager
def prepare(
    sources: Sequence[TableSource], *, seed: int, ngram: int, folder: Path, on_rows: Callable[[int], None]
) -> Iterator[list[PreparedTable]]:
    """The tables, in the order of `sources`; spooled in `folder` while the context is open.

    `on_rows` is called now and then with the number of rows read.

    Raises:
        DataError: a file of a source is wrong; nothing of it is used.
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
            for found in read_rows(source.files, source.use, source.columns, source.completion):
                total += 1
                if total % 256 == 0:
                    on_rows(total)
                _take(found, table, group, None if is_eval else contamination)
            account = table.account
            account.kept = len(spool) if source.limit is None else min(len(spool), source.limit)
            account.over_limit = len(spool) - account.kept
            account.turns = sum(user_turns(row["messages"]) for row in table.rows())
            if is_eval:
                for kept in table.rows():
                    contamination.add(kept["messages"], table=source.name, row=kept["id"])
        on_rows(total)
        yield [tables[source.name] for source in sources]


def _take(
    found: SourcedRow | BadRow | Unasked, table: PreparedTable, group: "_Group", questions: Contamination | None
) -> None:
    """One row into its table, or into the account of what was left out."""
    account = table.account
    account.read += 1
    if isinstance(found, BadRow):
        account.fail(found)
        return
    if isinstance(found, Unasked):
        account.unasked_by[found.category] += 1
        return
    account.ignore(found.ignored)
    admitted = group.admit(found, table.name)
    if isinstance(admitted, BadRow):
        account.fail(admitted)
    elif isinstance(admitted, _Duplicate):
        account.duplicates_of[admitted.of] += 1
    elif questions is not None and (question := questions.find(admitted["messages"])):
        account.contaminate(found.where, question)
    else:
        table.spool.append(admitted)


@dataclass(frozen=True)
class _Duplicate:
    of: str
    """The table that holds the first."""


class _Group:
    """What has been seen of the sources that are deduplicated together."""

    def __init__(self, *, is_training: bool) -> None:
        self._ids: dict[str, tuple[str, bytes]] = {}
        self._deduplicator = Deduplicator() if is_training else None

    def admit(self, sourced: SourcedRow, table: str) -> PromptRow | BadRow | _Duplicate:
        """The row under an id that is unique in the group."""
        row = sourced.row
        content = blake2b(canonical([row["messages"], row["answer"]]), digest_size=16).digest()
        row_id = row["id"]
        if known := self._ids.get(row_id):
            if known[1] == content:
                return _Duplicate(known[0])
            if known[0] == table:
                remedy = (
                    "an earlier row with other content has it; ids must be unique, or left unread by columns.ignore"
                )
                return _taken(sourced, remedy)
            row_id = f"{row_id}@{table.rpartition('-')[2]}"
            if row_id in self._ids:
                return _taken(sourced, f"{row_id}, its name beside an earlier source, is taken too")
        if self._deduplicator and (first := self._deduplicator.first(row["messages"], table)):
            return _Duplicate(first)
        self._ids[row_id] = (table, content)
        return {**row, "id": row_id}


def _taken(sourced: SourcedRow, remedy: str) -> BadRow:
    error = RowError(Why.DUPLICATE_ID, "id", sourced.row["id"], remedy)
    return BadRow(sourced.where, error.why, str(error))
