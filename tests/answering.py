"""A declared mixture answers one conversation, as generate has it do."""

from moaa.api.mixture import Judge, Mixture
from moaa.asking.asker import Asker
from moaa.conversation import Conversation
from moaa.mixture import row
from moaa.mixture.methods import method_of


async def answer_conversation(
    messages: Conversation,
    mixture: Mixture,
    asker: Asker,
    *,
    judge: Judge | None = None,
    seed: int = 0,
    name: str = "",
    id: str = "r",
) -> row.Answered:
    """The answer of one name to the row with that id."""
    writer = method_of(mixture, judge=judge, seed=seed).writer(id, name)
    return await row.answer_conversation(messages, writer, asker)
