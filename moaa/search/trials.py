"""The trials of a search: which mixture is measured next, what each scored, and which is best.

The optimiser is optuna's TPE (Bergstra et al. 2011, NeurIPS 24). It is a function of the seed and of the scores so
far, so a search that was killed suggests the same again, finds in the store what it had measured, and goes on. A space
with no more candidates than trials is measured whole.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from moaa.errors import MoaaError, ResourceError, UsageError
from moaa.evaluate.statistics import Estimate as Interval
from moaa.evaluate.statistics import mean_of_means
from moaa.experiment.expand import Run
from moaa.plan.forecast.estimate import Estimate
from moaa.plan.subjects import MIXTURE
from moaa.run.students import start_scores
from moaa.run.view import RunView
from moaa.search.space import Candidate, Space

if TYPE_CHECKING:
    from optuna import Study

Scores = Mapping[str, Mapping[str, float]]
"""By selection benchmark and question."""
Measure = Callable[[Run], Awaitable[Scores]]
"""Carries a trial out. Raises MoaaError: it could not be measured."""
SUGGESTED = 10
"""Suggestions for each trial, repeated and refused ones included, before a search gives up."""
FIRST_AT_RANDOM = 8
"""Trials before scores count for what is suggested next."""


@dataclass(frozen=True)
class Tried:
    """One mixture that was measured, or could not be."""

    run: Run
    candidate: Candidate | None
    """None: the base's own mixture."""
    cost: Estimate
    """Of a thousand prompts, by forecast."""
    scores: Scores
    """Empty where it could not be measured."""
    problem: str = ""
    """Why it could not."""

    @property
    def value(self) -> float:
        """Mean over the benchmarks of their means, 0 to 1. Raises ValueError: there are no scores."""
        return mean_of(self.scores)


@dataclass(frozen=True)
class Searched:
    tried: list[Tried]
    """The base first, then in the order in which they were measured."""
    refused: Mapping[str, str]
    """Candidates that were suggested and not tried, with the reason; those with too many proposals are not listed."""


async def search(space: Space, measure: Measure, tell: Callable[[Tried], None]) -> Searched:
    """Measure the base and then `trials` candidates; each is told as soon as it is measured.

    A candidate that fails is kept with its problem and counts as a trial.

    Raises:
        MoaaError: the base cannot be measured.
        UsageError: no mixture of the space is within its limits.
    """
    refused: dict[str, str] = {}
    study = None if _is_small(space) else _study(space)  # before anything is paid: optuna may not be there
    baseline = space.baseline()
    tried = [Tried(baseline, None, space.cost(baseline), await measure(baseline))]
    tell(tried[0])
    suggestions = _whole(space, refused) if study is None else _optimised(study, space, tried, refused)
    for number, (candidate, run, cost) in enumerate(suggestions, start=1):
        one = Tried(run, candidate, cost, {})
        try:
            one = replace(one, scores=await measure(run))
        except MoaaError as error:
            one = replace(one, problem=str(error))
        tried.append(one)
        tell(one)
        if number == space.search.trials:
            break
    if len(tried) == 1:
        first = next((f"; {name}: {why}" for name, why in refused.items()), "")
        raise UsageError(f"none of {space.size:,} mixtures is within mostProposals and limit; raise one{first}")
    return Searched(tried, refused)


Suggestion = tuple[Candidate, Run, Estimate]


def _is_small(space: Space) -> bool:
    """Whether every candidate that is allowed can be tried."""
    return sum(1 for _, _ in zip(space.all(), range(space.search.trials + 1), strict=False)) <= space.search.trials


def _whole(space: Space, refused: dict[str, str]) -> Iterator[Suggestion]:
    number = 0
    for candidate in space.all():
        allowed = _allowed(space, candidate, number + 1, refused)
        if allowed is not None:
            number += 1
            yield (candidate, *allowed)


def _study(space: Space) -> "Study":
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=space.search.seed, n_startup_trials=FIRST_AT_RANDOM)
    return optuna.create_study(direction="maximize", sampler=sampler)


def _optimised(study: "Study", space: Space, tried: Sequence[Tried], refused: dict[str, str]) -> Iterator[Suggestion]:
    """What the optimiser suggests; `tried` grows by each before the next is asked for."""
    import optuna

    pruned, failed = optuna.trial.TrialState.PRUNED, optuna.trial.TrialState.FAIL
    known: dict[Candidate, Tried | None] = {}
    for _ in range(SUGGESTED * space.search.trials):
        if len(known) == space.size:
            return
        trial = study.ask()
        numbers = tuple(trial.suggest_int(model, 0, space.search.most_samples) for model in space.search.proposers)
        candidate = space.candidate(numbers, trial.suggest_categorical("aggregator", space.aggregators))
        if candidate not in known:
            allowed = _allowed(space, candidate, len(tried), refused)
            known[candidate] = None
            if allowed is not None:
                yield (candidate, *allowed)
                known[candidate] = tried[-1]
        found = known[candidate]
        if found is None:
            study.tell(trial, state=pruned)  # over a limit: told as bad, at no cost
        elif found.problem:
            study.tell(trial, state=failed)
        else:
            study.tell(trial, found.value)


def _allowed(space: Space, candidate: Candidate, number: int, refused: dict[str, str]) -> tuple[Run, Estimate] | None:
    """The trial and its cost; None where it is over a limit, or no resource could ask for it. Why joins `refused`."""
    if not 1 <= candidate.proposals <= space.search.most_proposals:
        return None
    try:
        run = space.run(candidate, number)
    except ResourceError as error:
        refused[str(candidate)] = str(error.problems[0])
        return None
    cost = space.cost(run)
    if why := space.too_dear(cost):
        refused[str(candidate)] = why
        return None
    return run, cost


def scores_of(view: RunView) -> Scores:
    """Of a trial's mixture, by selection benchmark and question."""
    found: dict[str, dict[str, float]] = {benchmark.name: {} for benchmark in view.resource.spec.evaluation.selection}
    for row in start_scores(view, MIXTURE, iteration=1):
        if row["benchmark"] in found:
            found[row["benchmark"]][row["id"]] = row["score"]
    return found


def mean_of(scores: Scores) -> float:
    """Mean over benchmarks of their means. Raises ValueError: one has no score."""
    if not scores or not all(scores.values()):
        raise ValueError("a mean needs at least one score in every benchmark")
    return sum(sum(one.values()) / len(one) for one in scores.values()) / len(scores)


def best(tried: Iterable[Tried]) -> Tried:
    """The highest score; of equals the cheaper, then the earlier."""
    measured = [one for one in tried if one.scores]
    return max(measured, key=lambda one: (one.value, -float(one.cost.usd or 0), -(one.cost.gpu_hours or 0.0)))


def gain(one: Tried, base: Tried, *, resamples: int, confidence: float, compared: int) -> Interval:
    """`one` minus `base`, question by question, with an interval for `compared` mixtures at once (Bonferroni).

    Even so the best of many is a little lucky: measure it on questions that the search has not seen.

    Raises:
        ValueError: a benchmark has no question that both have answered.
    """
    differences = [
        [score - base.scores[name][id] for id, score in scores.items() if id in base.scores[name]]
        for name, scores in one.scores.items()
    ]
    return mean_of_means(differences, resamples=resamples, confidence=1 - (1 - confidence) / max(compared, 1))
