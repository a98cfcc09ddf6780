"""What a search's file may say, and reading it.

apiVersion: moaa.dev/v1alpha1
kind: Search
metadata: {name: mixture}
base: ../paper-llama-8b.yaml
proposers: [wizardlm, qwen2-72b, gemma2-27b, llama31-70b]
mostSamples: 3
mostProposals: 6
limit: {usd: "4"}
trials: 30
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from moaa.api.base import ModelName, Positive, Spec
from moaa.api.reading.yaml_text import Path as Place
from moaa.experiment.file import ExperimentMetadata, Patch, Seed, parsed, read_mapping


class Limit(Spec):
    """Most that answering a thousand prompts may take, by forecast. A mixture beyond it is not tried."""

    usd: Positive | None = None
    """Needs the prices that the plan needs: spec.cost, and endpoints their own."""
    gpu_hours: Positive | None = None


class Search(Spec):
    """Mixtures of one base resource to choose from, measured on its selection benchmarks (paper App. B, Table 9)."""

    api_version: Literal["moaa.dev/v1alpha1"]
    kind: Literal["Search"]
    metadata: ExperimentMetadata
    base: Annotated[str, StringConstraints(min_length=1)]
    """Path of a MoAA file, from the search's own folder. Trials use its storage, and it is the first of them."""
    common: Patch = Patch()
    """What every trial changes in the base, as an experiment's."""
    proposers: Annotated[list[ModelName], Field(min_length=1, max_length=16)]
    """Models that may propose, as declared. A base's own proposer keeps its sampling."""
    most_samples: Annotated[int, Field(ge=1, le=16)] = 3
    """Of one model."""
    most_proposals: Annotated[int, Field(ge=1, le=64)] = 6
    """Of all together: six in the paper."""
    aggregators: Annotated[list[ModelName], Field(max_length=16)] = []
    """Models that may aggregate; empty: the base's."""
    limit: Limit = Limit()
    trials: Annotated[int, Field(ge=1, le=1000)]
    """Mixtures to measure beside the base's own."""
    seed: Seed = 0
    """Of the optimiser."""


def read_search(path: Path) -> Search:
    """Raises ResourceError: the file cannot be read, or holds mistakes; all of them are named."""
    parts: dict[Place, type[Spec]] = {("metadata",): ExperimentMetadata, ("common",): Patch, ("limit",): Limit}
    return parsed(path, read_mapping(path, "Search"), Search, parts)
