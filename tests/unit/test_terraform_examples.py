"""terraform/examples: a node group that belongs to one MoAA holds all of that MoAA's model servers at once."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from moaa.api import MoAA
from moaa.api.reading.load import load
from moaa.plan.forecast.estimate import estimate

ROOT = Path(__file__).parents[2]
MOAAS: Mapping[str, MoAA] = {moaa.metadata.name: moaa for moaa in map(load, sorted((ROOT / "examples").glob("*.yaml")))}


def field(group: str, name: str) -> str:
    found = re.search(rf'\b{name}\s*=\s*"?([\w./-]+)', group)
    assert found is not None, f"{name} in {group}"
    return found[1]


def dedicated() -> list[tuple[str, str]]:
    """Example and text of every Inference group with `moaa`."""
    return [
        (file.parent.name, group)
        for file in sorted((ROOT / "terraform" / "examples").glob("*/main.tf"))
        for group in re.findall(r"\{[^{}]*\}", re.sub(r"#.*", "", file.read_text()))
        if 'role = "Inference"' in group and re.search(r"\bmoaa\s*=", group)
    ]


def test_an_example_shows_one() -> None:
    assert [example for example, _ in dedicated()] == ["production"]


@pytest.mark.parametrize(("example", "group"), dedicated())
def test_it_holds_the_run_that_it_is_for(example: str, group: str) -> None:
    moaa = MOAAS[field(group, "moaa").partition("/")[2]]
    gpus, machines = int(field(group, "gpus")), int(field(group, "max_nodes"))
    assert gpus * machines >= max(part.gpus or 0 for part in estimate(moaa))
    # The scheduler may spread pods: small servers on every machine would leave no room for one that needs a whole one.
    servers = [model.serving for model in moaa.spec.models if model.endpoint is None]
    assert max(server.gpus for server in servers) <= gpus
    assert sum(server.replicas for server in servers) <= machines


def test_its_budget_is_by_the_same_name() -> None:
    text = (ROOT / "terraform" / "examples" / "production" / "main.tf").read_text()
    budgets = re.findall(r'monthly_usd_by_moaa = \{ "([\w/-]+)" =', text)
    assert budgets == [field(group, "moaa") for _, group in dedicated()]
