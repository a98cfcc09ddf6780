"""Every search that ships can be opened, and its limit leaves something to try."""

from pathlib import Path

import pytest

from moaa.search.space import open_space

FILES = sorted((Path(__file__).parents[3] / "examples" / "searches").glob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_example_has_mixtures_within_and_beyond_its_limit(file: Path) -> None:
    space = open_space(file)
    cost = space.cost(space.baseline())
    assert space.too_dear(cost) is None, (cost.usd, cost.gpu_hours)
    every = space.search.most_samples
    smallest = space.run(space.candidate((*[0] * (len(space.search.proposers) - 1), 1), space.aggregators[0]), 1)
    largest = space.run(space.candidate((every,) * len(space.search.proposers), space.aggregators[0]), 2)
    assert space.too_dear(space.cost(smallest)) is None
    assert space.too_dear(space.cost(largest)) is not None
