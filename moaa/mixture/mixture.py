"""Method Mixture: layers of proposers, then the aggregator writes one answer from their proposals (paper §3.1).

Calls of a turn are named `layer<l>/p<i>/s<j>` and `aggregate`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from moaa.api.mixture import Aggregator, Layer, Mixture
from moaa.api.prompts import marker_line
from moaa.asking.cut import ENDED_MARK, unless_cut
from moaa.asking.load import MARKER_TOKENS, PROMPT_TOKENS, Load, written
from moaa.asking.reasons import Reason
from moaa.asking.windows import CUT_MARK
from moaa.conversation import Conversation
from moaa.errors import CallError
from moaa.mixture.method import Turn, Writer, Written
from moaa.mixture.prompts import aggregate_messages
from moaa.mixture.proposals import layer_proposals

AGGREGATE_INSTRUCTION_TOKENS = 280
"""Our aggregate prompt (about 1,150 characters) without its proposals."""


def method(mixture: Mixture) -> "Aggregated":
    assert mixture.aggregator is not None, "the resource's validation asks for one"
    return Aggregated(mixture, mixture.aggregator)


@dataclass(frozen=True)
class Aggregated:
    """A method (`moaa.mixture.method.Method`) whose aggregator writes the answer."""

    mixture: Mixture
    aggregator: Aggregator

    prompts = ("aggregate", "proposal")
    names = ("",)
    without_effect: frozenset[str] = frozenset()

    @property
    def models(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*(p.model for p in self.mixture.proposers), self.aggregator.model]))

    @property
    def authors(self) -> tuple[str, ...]:
        return (self.aggregator.model,)

    @property
    def answer_tokens(self) -> int:
        return self.aggregator.max_tokens

    def loads(self, prompts: int) -> Iterator[Load]:
        asked = PROMPT_TOKENS
        for layer in self.mixture.layers:
            for proposer in layer.proposers:
                yield Load(proposer.model, prompts * proposer.samples, asked, written(proposer.max_tokens))
            asked = _with_proposals(layer)
        yield Load(self.aggregator.model, prompts, asked, written(self.aggregator.max_tokens))

    def writer(self, row: str, name: str) -> Writer:  # noqa: ARG002 - every row is answered alike
        return self

    async def write(self, turn: Turn) -> Written:
        """The aggregator's answer.

        Raises:
            CallError: too few proposals in a layer, a failure that may pass, the aggregator's call, or its answer when
                that is cut and `whenCut` says Fail, or copies the lines around a draft.
            ModelAbsent: raised after every call that can be made now was made.
        """
        proposals: list[str] = []
        for number, layer in enumerate(self.mixture.layers):
            here = turn.asker.at(f"layer{number}")
            proposals = await layer_proposals(
                layer,
                turn.history,
                proposals,
                here,
                least=self.mixture.min_proposals,
                notes=turn.notes,
                then=self._after(number, turn),
            )
        prompts, model = turn.asker.prompts, self.aggregator.model
        read = await turn.asker.at("aggregate").ask_fitted(
            model, proposals, lambda texts: aggregate_messages(turn.history, texts, prompts), self.aggregator
        )
        turn.notes.shortened += read.shortened
        text = unless_cut(read.reply, self.aggregator, model=model).text
        _check_own_words(text, turn.history, prompts, model=model)
        return Written(text, model)

    def _after(self, layer: int, turn: Turn) -> frozenset[str] | None:
        """Models that the row asks after a layer; None: any."""
        if turn.then is None:
            return None
        proposers = [proposer.model for later in self.mixture.layers[layer + 1 :] for proposer in later.proposers]
        return turn.then.union(proposers, [self.aggregator.model])


def _with_proposals(layer: Layer) -> int:
    """Tokens of a prompt that shows what the layer before proposed."""
    shown = sum(p.samples * (written(p.max_tokens) + MARKER_TOKENS) for p in layer.proposers)
    return PROMPT_TOKENS + AGGREGATE_INSTRUCTION_TOKENS + shown


def _check_own_words(text: str, history: Conversation, prompts: Mapping[str, str], *, model: str) -> None:
    """An aggregator that copies a draft may copy the lines around it, too, and a student would learn to write them. A
    line that the conversation itself holds is no copy of ours.

    Raises:
        CallError: `copied-mark`.
    """
    mark = next((m.strip() for m in (ENDED_MARK, CUT_MARK) if m.strip() in text), None) or marker_line(text, prompts)
    if mark is not None and not any(mark in message["content"] for message in history):
        raise CallError(
            Reason.COPIED_MARK,
            f"model {model!r}: the answer holds the line {mark!r}, which stood at a draft; name an aggregator that "
            "writes an answer of its own, or change prompts.proposal",
        )
