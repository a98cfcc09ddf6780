"""A limit of `spec.budget` on this machine: what is stopped, what is said, and that a raised limit goes on."""

from pathlib import Path

import pytest

from moaa.errors import BudgetExhausted
from moaa.run import records
from moaa.store.objects.open import open_store
from tests.integration.test_local_executor import carry_out
from tests.local_helpers import FakeMachine


@pytest.fixture
def fake(tmp_path: Path) -> FakeMachine:
    return FakeMachine(tmp_path)


async def test_at_the_limit_the_stage_is_stopped_and_a_raised_limit_goes_on(fake: FakeMachine) -> None:
    # By estimate 4 rows take less than this; the job says that it took more.
    fake.script({"i1-generate": ["spend1000000"]})
    with pytest.raises(BudgetExhausted) as ended:
        await carry_out(fake, fake.resource(budget={"tokens": 1_000_000}))
    assert (fake.control / "stopped").exists(), "it was asked to end"
    said = str(ended.value)
    assert "i1-generate: spec.budget.tokens allows 1,000,000 tokens, and 1,000,050 tokens are spent" in said
    assert "Spent: 1,000,050 tokens (i1-generate 1,000,050 tokens)." in said
    assert "Left to do: 3 stages" in said
    assert "Raise the limit" in said
    resource = fake.resource()
    attempts, _ = await records.read_attempts(open_store(resource.spec.storage), records.run_id(resource))
    assert [(a.outcome, a.prompt_spent) for a in attempts if a.stage == "i1-generate"] == [("Stopped", {"a": 10**6})]
    before = fake.stages()
    with pytest.raises(BudgetExhausted, match="1,000,050 tokens are spent"):
        await carry_out(fake, fake.resource(budget={"tokens": 1_000_000}))
    assert fake.stages() == before, "nothing is started"
    finished, _ = await carry_out(fake, fake.resource(budget={"tokens": 2_000_000}))
    assert fake.stages() == [*before, "i1-generate", "i1-sft", "i1-promote"]
    assert set(finished.made) == {"i1-generate", "i1-sft", "i1-promote"}


async def test_a_stage_whose_estimate_is_too_large_does_not_start(fake: FakeMachine) -> None:
    with pytest.raises(BudgetExhausted, match=r"i1-generate is estimated to take [0-9,]+ tokens"):
        await carry_out(fake, fake.resource(budget={"perIteration": {"tokens": 100}}))
    assert fake.stages() == ["i0-resolve", "i0-stage-data"]
