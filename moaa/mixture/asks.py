"""What a mixture takes: templates, models, calls. For the plan; pure."""

from collections.abc import Iterator

from moaa.api.mixture import Layer, Mixture
from moaa.asking.load import MARKER_TOKENS, PROMPT_TOKENS, Load, written

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
    asked = PROMPT_TOKENS
    for layer in mixture.layers:
        for proposer in layer.proposers:
            yield Load(proposer.model, prompts * proposer.samples, asked, written(proposer.max_tokens))
        asked = _with_proposals(layer)
    yield Load(mixture.aggregator.model, prompts, asked, written(mixture.aggregator.max_tokens))


def _with_proposals(layer: Layer) -> int:
    """Tokens of a prompt that shows what the layer before proposed."""
    shown = sum(p.samples * (written(p.max_tokens) + MARKER_TOKENS) for p in layer.proposers)
    return PROMPT_TOKENS + AGGREGATE_INSTRUCTION_TOKENS + shown
