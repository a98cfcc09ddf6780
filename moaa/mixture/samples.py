"""Several answers of a mixture to one prompt, for preferences."""

from moaa.asking.asker import Asker
from moaa.asking.gather import gather_calls
from moaa.conversation import Conversation
from moaa.errors import CallError
from moaa.mixture.method import Method, Notes, Turn, Writer
from moaa.mixture.turns import prompt_of


def mixture_samples(method: Method, samples: int) -> int:
    """How many answers there are where `samples` are asked for: a method with several to each prompt gives these."""
    return samples if len(method.names) == 1 else len(method.names)


async def sample_mixture(messages: Conversation, method: Method, row: str, samples: int, asker: Asker) -> list[str]:
    """Up to `samples` independent answers of a mixture to the last user turn of the row with that id.

    Earlier assistant turns are the data's own, so that all answers are to one and the same prompt. A method that gives
    several answers to each prompt (Combined) gives these instead. Calls are named by the method below `s<j>`. Answers
    that failed permanently are left out as long as two remain, the fewest that can be compared.

    Raises:
        CallError: fewer than two answers are left (with the reason of the first failure), or a failure may pass.
        ModelAbsent: raised after every call that can be made now was made.
    """
    prompt = prompt_of(messages)

    async def draw(writer: Writer, here: Asker) -> str:
        return (await writer.write(Turn(0, prompt, here, Notes()))).text

    if len(method.names) == 1:
        drawn = [(method.writer(f"{row}/s{j}", ""), asker.at(f"s{j}")) for j in range(samples)]
    else:
        drawn = [(method.writer(row, name), asker.at("s0")) for name in method.names]
    results = await gather_calls(draw(writer, here) for writer, here in drawn)
    texts = [result for result in results if not isinstance(result, CallError)]
    if len(texts) < 2:
        raise next(result for result in results if isinstance(result, CallError))
    return texts
