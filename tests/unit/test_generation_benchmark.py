"""The engines of `benchmarks.generation` keep the time that they say, and its ideal cannot be beaten by limits."""

from pathlib import Path

import pytest

from benchmarks.generation.cell import Cell, Client, simulate
from benchmarks.generation.engine import Answer, Engine, Speed, answer_to
from benchmarks.generation.ideal import ideal
from benchmarks.generation.job import Prepared
from benchmarks.generation.rows import Rows, prompts

SPEED = Speed(step_s=1.0, sequence_s=0.5, prompt_token_s=0.01, chunk_tokens=100, slots=2)


def ends(engine: Engine[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    while (at := engine.next_event()) is not None:
        found |= {key: end for key, _, end in engine.advance(at)}
    return found


def said(tokens: int, prompt_tokens: int = 50) -> Answer:
    return Answer("x" * 4 * prompt_tokens, "", tokens)


def test_one_sequence_reads_its_prompt_and_writes_a_token_a_step() -> None:
    engine: Engine[str] = Engine(SPEED)
    engine.add("a", said(3), now=10.0)
    assert ends(engine) == {"a": pytest.approx(10.0 + (1.0 + 0.5) + 2 * 1.5)}


def test_a_long_prompt_is_read_in_pieces() -> None:
    engine: Engine[str] = Engine(SPEED)
    engine.add("a", said(1, prompt_tokens=250), now=0.0)
    assert ends(engine) == {"a": pytest.approx(2 * (1.0 + 1.0) + 1.0 + 0.5)}


def test_a_batch_slows_every_member_and_a_third_waits_for_a_slot() -> None:
    engine: Engine[str] = Engine(SPEED)
    for key in "abc":
        engine.add(key, said(2, prompt_tokens=1), now=0.0)
    first = 1.0 + 0.02
    second = first + 1.0 + 2 * 0.5
    third = second + 1.0 + 0.01 + 1.0 + 0.5
    assert ends(engine) == {"a": pytest.approx(second), "b": pytest.approx(second), "c": pytest.approx(third)}


def test_what_arrives_in_a_step_joins_the_next() -> None:
    engine: Engine[str] = Engine(SPEED)
    engine.add("a", said(4, prompt_tokens=1), now=0.0)
    assert engine.advance(2.0) == []
    engine.add("b", said(1, prompt_tokens=1), now=2.0)
    # a is read until 1.01 and has a step until 2.51; b is read beside its next.
    assert ends(engine)["b"] == pytest.approx(2.51 + 1.0 + 0.5 + 0.01)


def test_a_prompt_that_begins_like_an_earlier_one_is_read_from_where_they_part() -> None:
    engine: Engine[str] = Engine(Speed(slots=1))
    for prompt in ("x" * 1024 + "one", "x" * 1024 + "two"):
        engine.add(prompt, Answer(prompt, "", 1), now=0.0)
    ends(engine)
    assert (engine.prompt_tokens, engine.cached_tokens) == (512, 255)  # the last token is always read


def test_equal_requests_get_equal_answers_and_others_do_not() -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "Why?"}], "max_tokens": 2048, "seed": 1}
    assert answer_to(body) == answer_to(dict(body))
    assert answer_to(body).tokens != answer_to({**body, "seed": 2}).tokens


def test_our_pool_comes_near_the_ideal_and_engines_of_one_slot_do_not(tmp_path: Path) -> None:
    rows = Rows(Prepared(tmp_path, 24).resource(tmp_path, {}), prompts(24))
    speed = Speed(slots=8)
    best = ideal(rows, replicas=1, speed=speed)
    near = simulate(Cell(Client.SERVED, 1, 24, speed), rows, best)
    slow = ideal(rows, replicas=1, speed=Speed(slots=1))
    assert len(best) == 24
    assert near.whole > 0.95
    assert slow[-1] > 3 * best[-1]
