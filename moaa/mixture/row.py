"""One conversation answered by a method of a mixture, turn by turn (paper Eq. 3).

A row needs nothing but a writer and an `Asker`. Equal replies give an equal result, whatever the timing. Calls are
named by the method below `turn<t>`, counted from 0.
"""

from dataclasses import dataclass

from moaa.asking.asker import Asker
from moaa.conversation import Conversation, Message
from moaa.judge.method import Ranked
from moaa.mixture.method import Notes, Turn, Writer
from moaa.mixture.turns import answer_turns
from moaa.rows import ConversationRow


@dataclass(frozen=True)
class Answered:
    """A conversation that a mixture has answered."""

    messages: list[Message]
    """Ends with an assistant turn."""
    notes: Notes
    wrote: list[str]
    """Who wrote each assistant turn."""

    @property
    def ranked(self) -> dict[int, Ranked]:
        """By turn, where a judge chose among answers."""
        return self.notes.ranked

    def row(self, id: str) -> ConversationRow:
        return ConversationRow(
            id=id,
            messages=self.messages,
            proposals=self.notes.proposals,
            missing=len(self.notes.absent),
            absent=self.notes.absent,
            shortened=self.notes.shortened,
            wrote=self.wrote,
        )


async def answer_conversation(messages: Conversation, writer: Writer, asker: Asker) -> Answered:
    """Answer every user turn of `messages` with `writer`.

    Raises:
        CallError: the row fails: there is no user turn, or the writer has no answer to one.
        ModelAbsent: raised after every call that can be made now was made.
    """
    notes, wrote = Notes(), list[str]()

    async def answer(number: int, history: Conversation) -> str:
        written = await writer.write(Turn(number, history, asker.at(f"turn{number}"), notes))
        wrote.append(written.model)
        return written.text

    return Answered(await answer_turns(messages, answer), notes, wrote)
