"""`spec.budget` as a user meets it: a run that ends at its limit and goes on, and a job that is told to end."""

from pathlib import Path

import pytest

from tests.fakes.model_server import Behaviour, Body, completion, play
from tests.integration.whole_run import ONE_AT_A_TIME, WholeRun, plays, repeated

pytestmark = pytest.mark.timeout(600)

ROWS = 600
MODELS = ["only", "agg"]
DEAR = {"prompt_tokens": 20_000, "completion_tokens": 20_000}
"""Of each of the first answers: far more than the estimate knows of."""
LIMIT = 2_000_000


async def test_a_run_ends_at_its_limit_and_goes_on_without_asking_again(tmp_path: Path) -> None:
    given = 0

    def world(_body: Body) -> Behaviour:
        nonlocal given
        given += 1
        return plays(completion("fine", usage=DEAR if given <= 60 else "told"))

    async with play(world) as server:
        run = WholeRun(tmp_path, server.url, MODELS, endpoints=dict.fromkeys(MODELS, ONE_AT_A_TIME))
        questions = [f"question {number}" for number in range(ROWS)]
        run.changes = {
            "data": {"sft": [{"source": run.rows("sft.jsonl", questions)}], "decontaminationNgram": 0},
            "training": {"sft": {"precision": "FP32"}},
            "mixture": {"layers": [{"proposers": [{"model": "only"}]}], "aggregator": {"model": "agg"}},
            "budget": {"tokens": LIMIT},
        }
        server.pause_s = 0.02
        ended = await run.run("--until", "i1-generate")
        server.pause_s = 0.0
        assert ended.code == 3, ended.said
        assert "i1-generate: spec.budget.tokens allows 2,000,000 tokens, and 2,4" in ended.said
        assert "Left to do: 1 stage" in ended.said
        first = len(server.requests)
        assert 60 < first < 2 * ROWS, "it was stopped on its way"
        spent = 60 * 40_000 + 10 * (first - 60)
        summary, page = await run.report()
        (told,) = summary["budget"]
        assert (told["scope"], told["unit"], told["limit"], told["spent"]) == (
            "run",
            "tokens",
            LIMIT,
            pytest.approx(spent),
        )
        assert "Budget: what this run has spent of each limit" in page
        planned = await run.moaa("plan")
        assert "spec.budget.tokens 2,000,000 tokens: " in planned.said
        again = await run.run("--until", "i1-generate")
        assert again.code == 3
        assert len(server.requests) == first, "nothing is asked while the limit holds"
        run.changes["budget"] = {"tokens": 2 * LIMIT}
        ended = await run.run("--until", "i1-generate")
        assert ended.code == 0, ended.said
        assert [repeated(server, name) for name in MODELS] == [0, 0], "what was out when it ended was recorded"
    assert run.manifest("i1-generate").rows_in == ROWS
