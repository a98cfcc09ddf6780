"""One conversation answered by a method of a mixture, turn by turn (paper Eq. 3).

A row needs nothing but a writer and an `Asker`. Equal replies give an equal result, whatever the timing. Calls are
named by the method below `turn<t>`, counted from 0.
"""

from dataclasses import dataclass

from moaa.asking.asker import Asker
from moaa.asking.cut import ended
from moaa.conversation import Conversation, Message
from moaa.judge.method import Ranked
from moaa.mixture.method import Notes, Turn, Writer
from moaa.mixture.turns import EVERY_TURN, Turns, answer_turns
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


async def answer_conversation(
    messages: Conversation,
    writer: Writer,
    asker: Asker,
    turns: Turns = EVERY_TURN,
    *,
    then: frozenset[str] | None = None,
) -> Answered:
    """Answer every user turn of `messages`, or those of `turns`, with `writer`. `then` are the models that the row asks
    afterwards, so that the last turn can give others up; None: it may ask any.

    Raises:
        CallError: the row fails: there is no user turn, or the writer has no answer to one.
        ModelAbsent: raised after every call that can be made now was made.
    """
    notes, wrote = Notes(), list[str]()
    last = 0 if turns.only_last else sum(message["role"] == "user" for message in messages) - 1

    async def answer(number: int, history: Conversation) -> str:
        after = then if number == last else None
        written = await writer.write(Turn(number, history, asker.at(f"turn{number}"), notes, after))
        wrote.append(written.model)
        return ended(written.text, turns.until)

    return Answered(await answer_turns(messages, answer, turns), notes, wrote)
