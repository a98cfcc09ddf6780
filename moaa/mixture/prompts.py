"""How proposals are shown to the aggregator and to later layers. Pure; inputs are never changed.

As in the original MoA code, the prompt goes into the system message, behind one that is there. The conversation follows
unchanged.
"""

from collections.abc import Mapping, Sequence

from moaa.api.prompts import render
from moaa.conversation import Conversation, Message


def aggregate_messages(history: Conversation, proposals: Sequence[str], prompts: Mapping[str, str]) -> list[Message]:
    """The conversation, with the proposals for its last user turn put before it.

    `prompts` are the effective templates (`moaa.api.prompts.effective`); `aggregate` and `proposal` are read.
    """
    entries = [
        render(prompts["proposal"], {"number": str(number), "text": text}, prompts)
        for number, text in enumerate(proposals, start=1)
    ]
    instruction = render(prompts["aggregate"], {"proposals": "".join(entries)}, prompts).rstrip()
    first, rest = (history[0], history[1:]) if history[0]["role"] == "system" else (None, history)
    content = instruction if first is None else f"{first['content']}\n\n{instruction}"
    return [Message(role="system", content=content), *(Message(role=m["role"], content=m["content"]) for m in rest)]
