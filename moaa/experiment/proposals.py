"""Proposals that a run need not ask for, because an earlier one asks for the same over the same rows.

Stages over the same rows share one ledger, whatever else they differ in. A proposal of the first layer is the same call
where place, model, sampling and seed are the same, whatever the mixture's method. So an arm with another aggregator, or
with one proposer more at the end, pays only for what is new. Later layers and turns read what others wrote, and are not
counted on.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from moaa.api import MoAA
from moaa.api.data import Answers
from moaa.api.mixture import MixtureMethod
from moaa.plan.canonical import digest_of
from moaa.plan.forecast.estimate import Estimate, asking
from moaa.plan.forecast.replicas import loads
from moaa.plan.kinds.kind import Counts
from moaa.plan.kinds.sliced import taken
from moaa.plan.result import Identity, ledger_path
from moaa.plan.slices import slice_rows
from moaa.plan.stage import Kind


@dataclass
class Ledgers:
    """Samples that runs ask for, by ledger, place and model; filled in the order of the runs."""

    _samples: dict[str, int] = field(default_factory=dict)

    def note(self, done: Iterable[Identity]) -> None:
        """Take up the proposals of stages that are done, and not those of a draw, which asks one proposer a row."""
        for identity in done:
            if _method(identity) is MixtureMethod.RANDOM:
                continue
            for place, samples in _proposals(identity):
                self._samples[place] = max(samples, self._samples.get(place, 0))

    def without(self, identity: Identity, resource: MoAA, part: Estimate, counts: Counts) -> Estimate:
        """What a stage takes without the proposals that are there by then. It is noted itself."""
        listed = list(_proposals(identity))
        if not listed or part.rows is None:
            return part
        rows, asked = _rows(identity, resource, counts), list(loads(identity.stage, resource, counts))
        for i, (place, samples) in enumerate(listed):  # a mixture's loads begin with the first layer's proposers
            found = min(samples, self._samples.get(place, 0))
            asked[i] = replace(asked[i], calls=max(asked[i].calls - rows * found, 0))
        self.note([identity])
        return asking(identity.stage, resource, part.rows, asked)


def _proposals(identity: Identity) -> Iterator[tuple[str, int]]:
    """Place and samples of every proposer of the first layer, in order; of generate stages alone."""
    document = identity.document
    mixture, models = document.get("mixture"), document.get("models")
    if identity.stage.kind is not Kind.GENERATE or not isinstance(mixture, Mapping) or not isinstance(models, Mapping):
        return
    ledger = ledger_path(identity.stage.kind, identity.inputs)
    if _method(identity) is MixtureMethod.SINGLE:
        return
    for i, proposer in enumerate(mixture["layers"][0]["proposers"]):
        asked = {name: value for name, value in proposer.items() if name != "samples"}
        yield digest_of([ledger, i, asked, models[proposer["model"]], document["seed"]]), proposer["samples"]


def _method(identity: Identity) -> MixtureMethod:
    """Of the mixture; documents leave out the default."""
    mixture = identity.document.get("mixture")
    named = mixture.get("method") if isinstance(mixture, Mapping) else None
    return MixtureMethod.MIXTURE if named is None else MixtureMethod(named)


def _rows(identity: Identity, resource: MoAA, counts: Counts) -> int:
    """Rows that the mixture answers; each has one first turn."""
    parts = slice_rows(resource, Kind.GENERATE, identity.stage.iteration)
    sources = zip(resource.spec.data.sft, parts, strict=True)
    return sum(taken(part, counts) or 0 for source, part in sources if source.answers is Answers.MIXTURE)
