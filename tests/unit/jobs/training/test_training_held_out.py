"""Which rows are held out, and how workers share a look at them."""

from decimal import Decimal
from typing import Any

import pytest

from moaa_jobs.training.rows.held_out import held_out, mean_over, passes, prompt_of

PROMPTS = [f"prompt {i}" for i in range(100)]


def test_the_draw_depends_on_texts_share_and_seed_and_not_on_order() -> None:
    drawn = held_out(PROMPTS, share=Decimal("0.1"), seed=3)
    assert len(drawn) == 10
    assert held_out([*reversed(PROMPTS), *PROMPTS[:50]], share=Decimal("0.1"), seed=3) == drawn
    assert held_out(PROMPTS, share=Decimal("0.1"), seed=4) != drawn
    assert held_out(PROMPTS, share=Decimal("0.2"), seed=3) > drawn, "a larger share holds out more, not others"


@pytest.mark.parametrize(("prompts", "share", "count"), [(2, "0.02", 1), (1, "0.5", 0), (3, "0.5", 1), (10, "0.5", 5)])
def test_both_sides_have_a_prompt_where_there_are_two(prompts: int, share: str, count: int) -> None:
    assert len(held_out(PROMPTS[:prompts], share=Decimal(share), seed=1)) == count


def test_rows_are_of_one_prompt_if_they_begin_alike() -> None:
    asked: list[Any] = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "say a"}]
    one = [*asked, {"role": "assistant", "content": "a"}, {"role": "user", "content": "again"}]
    assert prompt_of(asked) == prompt_of(one) == prompt_of([*asked, {"role": "assistant", "content": "b"}])
    assert prompt_of(asked[1:]) != prompt_of(asked)


@pytest.mark.parametrize("workers", [1, 2, 3, 4, 8])
def test_a_look_is_the_mean_over_rows_for_any_number_of_workers(workers: int) -> None:
    """A pass has a row a worker, or one for all of them; its value is the workers' mean."""
    losses = [1.0, 5.0, 2.0, 8.0, 3.0]
    looks = passes(range(5), workers=workers)
    assert [row for rows in looks for row in rows] == list(range(5))
    assert {len(rows) for rows in looks} <= {workers, 1}
    values = [sum(losses[rows[rank % len(rows)]] for rank in range(workers)) / workers for rows in looks]
    assert mean_over(values, looks) == pytest.approx(sum(losses) / 5)
