"""The mixtures that a search chooses from, and the resource that each is measured with. Pure but for reading files.

A mixture here has one layer: some of the named models with so many samples each, in the order of the file, and one
aggregator. Trials differ in nothing else, so they share data, the student's and the members' answers, and each other's
proposals where places are the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import prod
from pathlib import Path

from pydantic import JsonValue

from moaa.api import MoAA
from moaa.api.mixture import Mixture, MixtureMethod, Proposer
from moaa.api.reading.load import load, load_document
from moaa.errors import Problem, ResourceError
from moaa.experiment.expand import Run, named
from moaa.experiment.patch import merged
from moaa.plan.forecast.estimate import Estimate, asking
from moaa.plan.graph import build
from moaa.plan.ids import stage_id
from moaa.plan.stage import Kind
from moaa.plan.students import mixture_method
from moaa.search.file import Search, read_search

PROMPTS = 1000
"""For which costs are forecast."""
BASE = "base"


@dataclass(frozen=True)
class Candidate:
    """One mixture."""

    samples: tuple[tuple[str, int], ...]
    """Models that propose, each with its number of samples, at least one."""
    aggregator: str

    def __str__(self) -> str:
        """`2 wizardlm + qwen2-72b > qwen15-110b`."""
        members = (f"{number} {model}" if number > 1 else model for model, number in self.samples)
        return f"{' + '.join(members)} > {self.aggregator}"

    @property
    def proposals(self) -> int:
        return sum(number for _, number in self.samples)


@dataclass(frozen=True)
class Space:
    search: Search
    resource: MoAA
    """The base with what all trials change."""
    folder: Path
    """Against which a trial's relative paths are read."""

    @property
    def mixture(self) -> Mixture:
        """The base's. `open_space` has checked that there is one."""
        mixture = self.resource.spec.mixture
        assert mixture is not None, "open_space refuses a base without one"
        return mixture

    @property
    def aggregators(self) -> tuple[str, ...]:
        assert self.mixture.aggregator is not None, "open_space refuses a base without one"
        return tuple(self.search.aggregators) or (self.mixture.aggregator.model,)

    @property
    def size(self) -> int:
        """Choices, those over a limit included."""
        return prod([self.search.most_samples + 1] * len(self.search.proposers), start=len(self.aggregators))

    def all(self) -> Iterator[Candidate]:
        """Every candidate that has as many proposals as it may."""
        counts = range(self.search.most_samples + 1)
        for aggregator in self.aggregators:
            for numbers in product(counts, repeat=len(self.search.proposers)):
                candidate = self.candidate(numbers, aggregator)
                if 1 <= candidate.proposals <= self.search.most_proposals:
                    yield candidate

    def candidate(self, numbers: tuple[int, ...], aggregator: str) -> Candidate:
        """`numbers` are the samples of each of the search's models, in order."""
        pairs = zip(self.search.proposers, numbers, strict=True)
        return Candidate(tuple((model, number) for model, number in pairs if number), aggregator)

    def baseline(self) -> Run:
        """The base's own mixture, which the others are compared with."""
        return Run(BASE, self.resource.spec.seed, named(self.resource, BASE, self.resource.spec.seed))

    def run(self, candidate: Candidate, number: int) -> Run:
        """The trial of a candidate, called after its number.

        Raises:
            ResourceError: the resource would be wrong with this mixture.
        """
        document = self.resource.model_dump(mode="json", by_alias=True, exclude_unset=True)
        mixture: dict[str, JsonValue] = {
            "layers": [{"proposers": [self._proposer(model, samples) for model, samples in candidate.samples]}],
            "aggregator": {"model": candidate.aggregator},
            "minProposals": min(self.mixture.min_proposals, candidate.proposals),
        }
        changed = merged(document, {"spec": {"mixture": mixture}})
        assert isinstance(changed, dict), "a merged mapping is one"
        checked = load_document(changed, name=str(candidate), folder=self.folder)
        return Run(str(candidate), checked.spec.seed, named(checked, f"trial-{number}", checked.spec.seed))

    def _proposer(self, model: str, samples: int) -> dict[str, JsonValue]:
        """As the base asks it, if it does."""
        known = next((p for p in self.mixture.proposers if p.model == model), Proposer(model=model))
        own: dict[str, JsonValue] = known.model_dump(mode="json", by_alias=True, exclude_unset=True)
        return {**own, "samples": samples}

    def cost(self, run: Run) -> Estimate:
        """What answering PROMPTS user turns takes."""
        stage = build(run.resource).stages[stage_id(1, Kind.GENERATE)]
        return asking(stage, run.resource, PROMPTS, list(mixture_method(run.resource, stage).loads(PROMPTS)))

    def too_dear(self, cost: Estimate) -> str | None:
        """Why a mixture of this cost is not tried; None: it is within the limit, or there is none."""
        limit = self.search.limit
        if limit.usd is not None and cost.usd is not None and cost.usd > limit.usd:
            return f"${cost.usd:.2f} for {PROMPTS:,} prompts, over {limit.usd}"
        if limit.gpu_hours is not None and cost.gpu_hours is not None and cost.gpu_hours > limit.gpu_hours:
            return f"{cost.gpu_hours:.2f} GPU-hours for {PROMPTS:,} prompts, over {limit.gpu_hours}"
        return None


def open_space(path: Path) -> Space:
    """Read a search and check it against its base.

    Raises:
        ResourceError: the file, the base or what they say together is wrong; every mistake is named.
    """
    search = read_search(path)
    base = load(path.parent / search.base)
    document = merged(base.model_dump(mode="json", by_alias=True, exclude_unset=True), {"spec": search.common.spec})
    assert isinstance(document, dict), "a merged mapping is one"
    resource = load_document(document, name=f"{path}: base with common", folder=path.resolve().parent)
    space = Space(search, resource, path.resolve().parent)
    if problems := list(_problems(search, resource)):
        raise ResourceError(str(path), problems)
    if search.limit.usd is not None and space.cost(space.baseline()).usd is None:
        raise ResourceError(
            str(path),
            [Problem("limit.usd", "", "needs prices: give the base spec.cost.gpuHourUsd, and endpoints their price")],
        )
    return space


def _problems(search: Search, resource: MoAA) -> Iterator[Problem]:
    spec = resource.spec
    declared = {model.name for model in spec.models}
    for field, names in (("proposers", search.proposers), ("aggregators", search.aggregators)):
        for i, name in enumerate(names):
            if name not in declared:
                yield Problem(f"{field}[{i}]", name, "is not declared in spec.models of the base; declare it there")
            if name in names[:i]:
                yield Problem(f"{field}[{i}]", name, "stands there twice; write it once")
    if spec.mixture is None or spec.mixture.method is not MixtureMethod.MIXTURE or len(spec.mixture.layers) != 1:
        yield Problem("base", "", "has no mixture of one layer and an aggregator; a search varies those; name another")
    if not spec.evaluation.selection:
        yield Problem("base", "", "has no benchmark in evaluation.selection, by which mixtures are compared; add one")
    if not spec.evaluation.members:
        yield Problem("base", "", "sets evaluation.members: false, so no mixture is measured; leave it out")
    if spec.training.sft is None:
        yield Problem("base", "", "has no training.sft, for which a mixture would answer; add it")
