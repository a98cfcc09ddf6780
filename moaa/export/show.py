"""What a push will change, as a table for the terminal, and how to load what was pushed."""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from moaa.export.folder import CARD, card_metadata
from moaa.export.push import Change, Push, RepoKind
from moaa.report.wording import plural
from moaa.tables import Fitted


def planned_table(planned: Push, *, is_edited: bool) -> RenderableType:
    """A head line, a line a file, and what to know before it is pushed. `is_edited`: the card, by hand.

    Raises UsageError: the card's metadata cannot be read.
    """
    send = planned.of(Change.NEW, Change.CHANGED)
    table = Table(box=None, padding=(0, 1), show_header=False)
    table.add_column("change", no_wrap=True)
    table.add_column("file", overflow="fold")
    table.add_column("size", justify="right", no_wrap=True)
    for file in planned.files:
        table.add_row(file.change.value, file.name, decimal(file.size_bytes))
    head = f"{planned.repo}: {planned.kind}, {_where(planned)}: {plural(len(send), 'file')} to push, "
    return Group(
        Text(f"{head}{decimal(planned.size_bytes)}", style="bold"),
        Fitted(table, ("size",)),
        *map(Text, _notes(planned, is_edited=is_edited)),
    )


def loaded_with(planned: Push) -> str:
    """A line of Python."""
    branch = f", revision={planned.branch!r}" if planned.branch else ""
    if planned.kind is RepoKind.MODEL:
        return f"load it with AutoModelForCausalLM.from_pretrained({planned.repo!r}{branch})"
    return f"read it with datasets.load_dataset({planned.repo!r}{branch})"


def _where(planned: Push) -> str:
    branch = "" if planned.branch is None else f", branch {planned.branch}"
    if planned.exists:
        made = "" if planned.has_branch else " (new)"
        return f"{'private' if planned.is_private else 'public'}{branch}{made}"
    return f"new, {'private' if planned.is_private else 'as visible as its owner has set for new ones'}{branch}"


def _notes(planned: Push, *, is_edited: bool) -> Iterator[str]:
    if is_edited:
        yield f"{planned.folder / CARD} was edited by hand and is pushed as it stands"
    if not card_metadata(planned.folder).get("license"):
        yield f"its card names no licence; to name one, write `license: ...` at the top of {planned.folder / CARD}"
    replaced = len(planned.of(Change.CHANGED, Change.REMOVED))
    if replaced:
        yield f"{plural(replaced, 'file')} of before stay in the repository's history only"
