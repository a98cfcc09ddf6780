"""Limits of `spec.budget`: what holds which stage, and what is said."""

from decimal import Decimal

from moaa.api import MoAA
from moaa.plan.budget.limits import Funds
from moaa.plan.budget.spent import EARLIER, Spent, Tokens, bill
from moaa.plan.budget.told import forecast_sentences, out_of_budget
from moaa.plan.graph import build
from moaa.plan.ready import World, decide
from moaa.plan.result import Identity
from tests.plan_helpers import resource, run_all

DONE = ("i0-resolve", "i0-stage-data")
OTHER = "f" * 64


def world(owner: MoAA, *done: str, running: tuple[str, ...] = (), **spent: Spent) -> tuple[World, dict[str, Identity]]:
    """`spent` by stage, with _ for -, under its present fingerprint."""
    results, identities = run_all(owner)
    account = {(n, identities[n].fingerprint): s for name, s in spent.items() if (n := name.replace("_", "-"))}
    runs = {name: identities[name].fingerprint for name in running}
    return World({name: results[name] for name in (*DONE, *done)}, running=runs, account=account), identities


def read(tokens: int) -> Spent:
    return Spent(tokens={"a": Tokens(tokens, 0)})


def test_a_stage_starts_where_its_estimate_fits_and_waits_where_it_does_not() -> None:
    # By estimate i0-evaluate takes 118,200 tokens and i1-generate 24,560 over the seven rows that were counted.
    owner = resource(spec__budget={"tokens": 130_000})
    seen, _ = world(owner)
    decision = decide(build(owner), owner, seen)
    assert [identity.stage.id for identity in decision.start] == ["i0-evaluate"]
    assert list(decision.over_budget) == ["i1-generate"]
    assert "stages at work take about" in decision.waiting["i1-generate"]
    assert not decision.is_out_of_budget, "a stage starts"


def test_what_a_stage_has_spent_is_no_longer_to_come() -> None:
    owner = resource(spec__budget={"tokens": 30_000}, spec__evaluation=None)
    begun, _ = world(owner, i1_generate=read(12_000))
    assert [identity.stage.id for identity in decide(build(owner), owner, begun).start] == ["i1-generate"]
    elsewhere, identities = world(owner)
    spent_before_an_edit = {("i1-generate", OTHER): read(12_000)}
    edited = World(elsewhere.results, account=spent_before_an_edit)
    decision = decide(build(owner), owner, edited)
    assert decision.start == ()
    assert decision.is_out_of_budget
    assert identities["i1-generate"].fingerprint != OTHER


def test_at_the_limit_what_takes_of_it_stops_and_training_goes_on() -> None:
    owner = resource(spec__budget={"tokens": 1000}, spec__evaluation=None)
    at_work, _ = world(owner, running=("i1-generate",), i1_generate=read(1000))
    decision = decide(build(owner), owner, at_work)
    assert decision.stop == ("i1-generate",)
    assert "allows 1,000 tokens, and 1,000 tokens are spent" in decision.over_budget["i1-generate"]
    trains, _ = world(owner, "i1-generate", running=("i1-sft",), i1_generate=read(5000))
    assert decide(build(owner), owner, trains).stop == ()
    hours = resource(spec__budget={"gpuHours": "1"}, spec__evaluation=None)
    trains, _ = world(hours, "i1-generate", running=("i1-sft",), i1_sft=Spent(gpu_seconds=3600.0))
    assert decide(build(hours), hours, trains).stop == ("i1-sft",)


def test_a_limit_of_an_iteration_counts_that_iteration_only() -> None:
    owner = resource(spec__budget={"perIteration": {"tokens": 200_000}}, spec__evaluation=None)
    seen, _ = world(owner, i0_resolve=read(10**9))
    assert [identity.stage.id for identity in decide(build(owner), owner, seen).start] == ["i1-generate"]
    full, _ = world(owner, i1_judge=read(10**9))
    assert decide(build(owner), owner, full).is_out_of_budget


def test_dollars_are_gpus_and_endpoints_at_their_prices_and_what_has_none_is_named() -> None:
    endpoint = {"url": "https://x/v1", "model": "m", "price": {"inputUsdPerMillion": "2", "outputUsdPerMillion": "10"}}
    owner = resource(spec__models__0={"name": "a", "endpoint": endpoint}, spec__cost={"gpuHourUsd": "3"})
    used = {"a": Tokens(1_000_000, 100_000), "b": Tokens(5, 5), "@i1-sft": Tokens(7, 7), "gone": Tokens(1, 1)}
    paid = bill(Spent(gpu_seconds=1800.0, tokens=used), owner.spec)
    assert paid.dollars == Decimal("1.5") + 2 + 1
    assert (paid.gpu_hours, paid.tokens, paid.unpriced) == (0.5, 1_100_026, ("gone",))
    assert bill(Spent(gpu_seconds=1.0), resource().spec).unpriced == ("spec.cost.gpuHourUsd",)


def test_the_end_says_where_it_went_and_what_is_left() -> None:
    owner = resource(spec__budget={"tokens": 5000}, spec__evaluation=None)
    seen, identities = world(owner, i1_generate=read(4000))
    account = {**seen.account, (EARLIER, ""): read(2000), ("i0-evaluate", OTHER): read(10)}
    decision = decide(build(owner), owner, World(seen.results, account=account))
    told = out_of_budget(Funds(owner, account), build(owner), seen.results, decision.over_budget)
    assert told.startswith("i1-generate: spec.budget.tokens allows 5,000 tokens, and 6,010 tokens are spent.")
    assert "Spent: 6,010 tokens (i1-generate 4,000 tokens; i0-evaluate 10 tokens)." in told
    assert "Left to do: 6 stages, by estimate " in told
    assert told.endswith("Raise the limit and go on: what is done is kept, and no recorded call is sent twice.")
    assert identities


def test_the_plan_says_how_far_a_limit_lasts() -> None:
    owner = resource(
        spec__budget={"tokens": 1_000_000, "perIteration": {"gpuHours": "9"}},
        spec__iterations=3,
        spec__data__sft__0__limit=10,
    )
    tokens, hours = forecast_sentences(Funds(owner, {("i0-evaluate", OTHER): read(10)}), build(owner), ())
    assert tokens.startswith(
        "spec.budget.tokens 1,000,000 tokens: 10 tokens are spent, lasts to the end of iteration 1"
    )
    assert (
        hours == "spec.budget.perIteration.gpuHours 9.00 GPU-hours: every iteration that is left fits by its estimate"
    )
    ample = owner.with_(spec=owner.spec.with_(budget=owner.spec.budget.with_(tokens=10**9)))
    assert "lasts to the end by the estimate" in next(forecast_sentences(Funds(ample, {}), build(ample), ()))
    unknown = resource(spec__budget={"tokens": 10**9}, spec__data__sft__0__limit=None)
    assert next(forecast_sentences(Funds(unknown, {}), build(unknown), ())).endswith(
        "what iteration 1 takes is not known yet"
    )
