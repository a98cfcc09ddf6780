"""What a mixture takes: templates, models, calls. For the plan; pure."""

from collections.abc import Iterator

from moaa.api.mixture import Mixture
from moaa.asking.load import ANSWER_TOKENS, MARKER_TOKENS, PROMPT_TOKENS, Load

MIXTURE_PROMPTS = ("aggregate", "proposal")
"""Names of the templates that a mixture fills."""
AGGREGATE_INSTRUCTION_TOKENS = 280
"""Our aggregate prompt (about 1,150 characters) without its proposals."""


def mixture_models(mixture: Mixture) -> list[str]:
    """Models of a mixture, each once, in the order in which a row needs them."""
    names = [p.model for layer in mixture.layers for p in layer.proposers]
    return list(dict.fromkeys([*names, mixture.aggregator.model]))


def mixture_loads(mixture: Mixture, prompts: int) -> Iterator[Load]:
    """Calls that answer `prompts` user turns."""
    read = 0
    for layer in mixture.layers:
        for proposer in layer.proposers:
            yield Load(proposer.model, prompts * proposer.samples, _with_proposals(read), ANSWER_TOKENS)
        read = sum(proposer.samples for proposer in layer.proposers)
    yield Load(mixture.aggregator.model, prompts, _with_proposals(read), ANSWER_TOKENS)


def _with_proposals(count: int) -> int:
    """Tokens of a prompt that shows `count` proposals of the layer before."""
    shown = AGGREGATE_INSTRUCTION_TOKENS + count * (ANSWER_TOKENS + MARKER_TOKENS)
    return PROMPT_TOKENS + (shown if count else 0)
