"""`moaa plan` counts the weights that travel: once from the Hub, then by server from the store."""

from typing import Any

import pytest

from moaa.api import MoAA
from moaa.plan.forecast.weights import weights_sentences
from moaa.plan.graph import build
from moaa.plan.result import StageResult
from moaa.plan.show import plan_text, plan_view
from tests.plan_helpers import resource, run_all, tree

BUCKET = {"uri": "s3://bucket/run"}


def owner(sources: dict[str, str] | None = None, **storage: str) -> MoAA:
    """Models a to agg of 8 and 70 billion parameters on the Hub, or from elsewhere, over a bucket."""
    models: list[dict[str, Any]] = tree()["spec"]["models"]
    for model in models:
        size = "70B" if model["name"] == "agg" else "8B"
        model["source"] = (sources or {}).get(model["name"], f"hf://o/{model['name']}-{size}")
    return resource(spec__models=models, spec__storage={**BUCKET, **storage})


def sized(of: MoAA, **gib: int) -> dict[str, StageResult]:
    """resolve alone is done, and has found these sizes."""
    done = run_all(of)[0]["i0-resolve"]
    return {"i0-resolve": done.with_(weights_gib=[gib.get(name, 0) for name in sorted(done.models)])}


def told(of: MoAA, results: dict[str, StageResult] | None = None, *stages: str) -> list[str]:
    """Of these stages alone, or of all."""
    chosen = [stage for stage in build(of).stages.values() if not stages or stage.id in stages]
    return list(weights_sentences(chosen, of, results or {}, {}))


def test_before_resolve_sizes_follow_from_names_and_are_called_so() -> None:
    once, brought, disk = told(owner(), {}, "i1-generate")
    assert once == "about 191 GiB come from the Hub into the store once: 27 min at 1 Gbit/s"
    # a and b of 15 GiB each, agg of 131.
    assert brought == (
        "servers and trainings bring about 161 GiB from buckets, at most; one of agg 131 GiB: 2 min at 10 Gbit/s"
    )
    assert disk == "each server or training machine needs disk for about agg 131 GiB, a 15 GiB, b 15 GiB"


def test_after_resolve_sizes_are_what_it_found_and_nothing_comes_from_the_hub() -> None:
    of = owner()
    results = sized(of, a=10, b=20, agg=400, base=7)
    assert told(of, results, "i1-generate") == [
        "servers and trainings bring 430 GiB from buckets, at most; one of agg 400 GiB: 6 min at 10 Gbit/s",
        "each server or training machine needs disk for agg 400 GiB, b 20 GiB, a 10 GiB",
    ]
    workers = of.spec.training.resources.workers
    assert told(of, results, "i1-sft")[0].startswith(f"servers and trainings bring {7 * workers} GiB from buckets")
    assert told(of, results, "i1-sample")[0].startswith("servers and trainings bring 7 GiB"), "a student"


def test_servers_count_by_their_number() -> None:
    of = owner()
    models = [m.with_(serving=m.serving.with_(replicas=3 if m.name == "agg" else 1)) for m in of.spec.models]
    many = of.with_(spec=of.spec.with_(models=models))
    assert "1230 GiB" in told(many, sized(many, a=10, b=20, agg=400), "i1-generate")[0].replace(",", "")


def test_reading_the_hub_each_time_is_told_beside_what_once_would_take() -> None:
    of = owner(weights="Hub")
    assert told(of, sized(of, a=10, b=20, agg=400, base=7), "i1-generate")[0] == (
        "servers and trainings bring 430 GiB, at most, and models of the Hub come from there each time; one of agg 400 "
        "GiB: 57 min at 1 Gbit/s. spec.storage.weights: Store brings 437 GiB from there, once"
    )


@pytest.mark.parametrize(
    ("storage", "place"), [({}, "this machine's cache"), ({"weights": "Store"}, "the store")], ids=["hub", "store"]
)
def test_on_one_machine_only_the_hub_is_far(storage: dict[str, str], place: str) -> None:
    of = owner(None, uri="file:///store", **storage)
    assert told(of) == [f"about 191 GiB come from the Hub into {place} once: 27 min at 1 Gbit/s"]
    assert told(of, sized(of, a=10)) == []


def test_what_lies_on_a_claim_in_a_folder_or_behind_an_endpoint_does_not_travel() -> None:
    still = {name: f"file:///models/{name}" for name in ("a", "b", "agg", "eva", "base")}
    assert told(owner(still, uri="file:///store")) == []
    claims = {name: f"pvc://models/{name}" for name in ("a", "b", "agg", "eva")}
    of = owner(claims)
    assert "needs disk for base 7 GiB" in told(of, sized(of, a=10, base=7))[-1]


def test_many_models_are_not_all_listed() -> None:
    of = owner()
    assert told(of, sized(of, a=10, b=20, agg=400, base=7, eva=3))[-1].endswith("base 7 GiB, eva 3 GiB")
    models = [*of.spec.models, *(of.spec.model("b").with_(name=f"m{i}") for i in range(3))]
    layer = {"proposers": [{"model": f"m{i}"} for i in range(3)] + [{"model": "a"}, {"model": "b"}]}
    spec = of.model_dump(mode="json", by_alias=True)
    spec["spec"]["models"] = [m.model_dump(mode="json", by_alias=True) for m in models]
    spec["spec"]["mixture"]["layers"] = [layer]
    assert told(MoAA.model_validate(spec), {}, "i1-generate")[-1].endswith("; 1 more need no more than the last")


def test_the_plan_says_it() -> None:
    assert "weights: about 191 GiB come from the Hub into the store once" in plan_text(
        plan_view(owner(), {}), width=300
    )
    assert "weights: " not in plan_text(plan_view(owner(), run_all(owner())[0]), width=300)
