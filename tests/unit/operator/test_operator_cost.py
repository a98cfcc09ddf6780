"""What a run has spent, where people look: in the status by stage, in columns, and never a guess."""

from typing import Any

import pytest

from moaa.api.status import MoAAStatus, RunCost
from moaa_operator.tell.cost import steady
from tests.operator_helpers import SHORT, Cluster, Object, until

PRICED: dict[str, Any] = {"spec__cost": {"gpuHourUsd": "2.5"}, **SHORT}
HELD = 6
"""GPUs of the servers that i1-generate asks."""


def after(seconds: float, **changes: Any) -> Cluster:
    """`i1-generate` has worked so long."""
    cluster = Cluster(**changes)
    until(cluster, "i1-generate")
    cluster.settle()
    cluster.wait(seconds)
    cluster.settle()
    return cluster


def cost_of(cluster: Cluster) -> Object:
    return dict(cluster.status.get("cost") or {})


def test_the_status_says_gpu_hours_and_dollars_by_stage_and_of_all() -> None:
    cost = cost_of(after(3600, **PRICED))
    assert (cost["gpuHours"], cost["dollars"]) == ("6.00", "15.00")
    assert cost["stages"] == [{"stage": "i1-generate", "gpuHours": "6.00", "dollars": "15.00"}]


def test_without_a_price_there_are_no_dollars_and_the_field_to_add_is_named() -> None:
    cost = cost_of(after(3600, **SHORT))
    assert cost["gpuHours"] == "6.00"
    assert "dollars" not in cost
    assert cost["unpriced"] == ["spec.cost.gpuHourUsd"]
    assert [set(stage) for stage in cost["stages"]] == [{"stage", "gpuHours"}]


def test_a_run_that_has_spent_nothing_has_no_figures() -> None:
    cluster = Cluster(**PRICED)
    cluster.settle()
    assert "cost" not in cluster.document["status"]


def test_what_is_left_of_each_limit_of_the_run() -> None:
    cluster = after(3600, spec__budget={"dollars": "20", "gpuHours": "7"}, **PRICED)
    assert cost_of(cluster)["left"] == {"dollars": "5.00", "gpuHours": "1.00"}


def test_an_overdrawn_limit_shows_by_how_much() -> None:
    cluster = after(3600, spec__budget={"gpuHours": "5.5"}, **PRICED)
    assert cost_of(cluster)["left"] == {"gpuHours": "-0.50"}


def test_what_is_done_stays_in_the_account() -> None:
    cluster = after(3600, **PRICED)
    cluster.run()
    by_stage = {one["stage"]: one for one in cost_of(cluster)["stages"]}
    assert by_stage["i1-generate"]["gpuHours"] == "6.00"
    assert sum(float(one["gpuHours"]) for one in by_stage.values()) == pytest.approx(
        float(cost_of(cluster)["gpuHours"])
    )


def test_a_price_that_is_mended_later_counts_for_what_is_spent() -> None:
    cluster = after(3600, **SHORT)
    cluster.edit(spec__cost={"gpuHourUsd": "1"}, **SHORT)
    cluster.settle()
    assert cost_of(cluster)["dollars"] == "6.00"
    assert "unpriced" not in cluster.document["status"]["cost"]


def test_money_that_trickles_alone_is_not_written_at_every_look() -> None:
    cluster = after(3600, **PRICED)
    cluster.wait(30)
    cluster.settle()
    assert cost_of(cluster)["gpuHours"] == "6.00", "nothing else is new, and this is less than a tenth"
    cluster.wait(600)
    cluster.settle()
    assert cost_of(cluster)["gpuHours"] == "7.05"


def test_any_other_news_brings_the_newest_figures_along() -> None:
    before = MoAAStatus(stage="i1-generate", cost=RunCost(gpu_hours="6.00"))
    now = before.with_(cost=RunCost(gpu_hours="6.05"))
    assert steady(now, before) == before
    assert steady(now.with_(stage="i1-sft"), before) == now.with_(stage="i1-sft")


@pytest.mark.parametrize(
    "other",
    [
        RunCost(gpu_hours="6.00", dollars="15.00"),
        RunCost(gpu_hours="6.00", unpriced=["a"]),
        RunCost(gpu_hours="5.00"),
        RunCost(gpu_hours="6.00", tokens=7),
        None,
    ],
    ids=["a price came", "a price went", "less", "tokens", "nothing is known"],
)
def test_figures_that_mean_something_else_are_news(other: RunCost | None) -> None:
    before = MoAAStatus(cost=RunCost(gpu_hours="6.00"))
    assert steady(before.with_(cost=other), before).cost == other
