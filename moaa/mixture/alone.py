"""One model without a mixture: it answers whole conversations for evaluation, or one prompt several times for
preferences."""

from moaa.api.mixture import Sampling
from moaa.api.training import Dpo, sampling_of
from moaa.asking.asker import Asker
from moaa.asking.caller import Reply
from moaa.asking.cut import ended, unless_cut
from moaa.asking.gather import gather_calls
from moaa.conversation import Conversation, Message
from moaa.errors import CallError
from moaa.mixture.turns import EVERY_TURN, Turns, answer_turns, prompt_of


async def answer_alone(
    messages: Conversation, model: str, sampling: Sampling, asker: Asker, turns: Turns = EVERY_TURN
) -> list[Message]:
    """Answer every user turn of `messages`, or those of `turns`, with `model`, in the context of its own earlier
    answers. An answer that ends at one of `turns.until` is not cut.

    Calls are named `turn<t>`.

    Raises:
        CallError, ModelAbsent: as `Caller.call`; CallError also when there is no user turn, or an answer is cut and
            `sampling` says that it fails.
    """

    async def answer(turn: int, history: Conversation) -> str:
        reply = await asker.at(f"turn{turn}").ask(model, history, sampling)
        text = ended(reply.text, turns.until)
        return text if text != reply.text else unless_cut(reply, sampling, model=model).text

    return await answer_turns(messages, answer, turns)


async def sample_answers(messages: Conversation, model: str, dpo: Dpo, asker: Asker) -> list[str]:
    """Up to `dpo.samples` independent answers of the student to the last user turn, in sample order.

    Earlier assistant turns are the data's own, so that all samples answer one and the same prompt. Calls are named
    `s<j>`. Samples that failed permanently (an empty answer, or a cut one unless `dpo.when_cut` is Use) are left out as
    long as two remain, the fewest that can be compared.

    Raises:
        CallError: fewer than two samples are left (with the reason of the first failure), or a failure may pass.
        ModelAbsent: raised after every call that can be made now was made.
    """
    sampling = sampling_of(dpo)
    prompt = prompt_of(messages)

    async def draw(name: str) -> Reply:
        return unless_cut(await asker.at(name).ask(model, prompt, sampling), sampling, model=model)

    results = await gather_calls(draw(f"s{j}") for j in range(dpo.samples))
    texts = [result.text for result in results if not isinstance(result, CallError)]
    if len(texts) < 2:
        raise next(result for result in results if isinstance(result, CallError))
    return texts
