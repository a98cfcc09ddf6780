"""Limits a minute against a real server that counts: `moaa run` keeps to what the resource states."""

import time
from pathlib import Path

import pytest

from tests.fakes.model_server import Behaviour, Body, completion, error, play
from tests.integration.whole_run import WholeRun, plays

pytestmark = pytest.mark.timeout(600)

ROWS = 150
PER_MINUTE = 1200
HOLDS = 30.0
"""Of the server's bucket: a client that sends as fast as it can, 32 at a time at first, empties it in two rounds."""


async def test_a_stated_limit_is_kept_against_a_server_that_enforces_it(tmp_path: Path) -> None:
    level, at, refused = HOLDS, time.monotonic(), 0

    def world(body: Body) -> Behaviour:
        nonlocal level, at, refused
        if body["model"] == "agg":
            now = time.monotonic()
            level, at = min(HOLDS, level + (now - at) * PER_MINUTE / 60), now
            if level < 1:
                refused += 1
                return plays(error(429, "Rate limit reached", headers={"Retry-After": "1"}))
            level -= 1
        return plays(completion("fine"))

    async with play(world) as server:
        limits = {"agg": {"requestsPerMinute": PER_MINUTE}}
        run = WholeRun(tmp_path, server.url, ["only", "agg"], endpoints=limits)
        questions = [f"question {number}" for number in range(ROWS)]
        run.changes = {
            "data": {"sft": [{"source": run.rows("sft.jsonl", questions)}], "decontaminationNgram": 0},
            "training": {"sft": {"precision": "FP32"}},
            "mixture": {"layers": [{"proposers": [{"model": "only"}]}], "aggregator": {"model": "agg"}},
        }
        ended = await run.run("--until", "i1-generate")
    assert ended.code == 0, ended.said
    assert run.manifest("i1-generate").rows_in == ROWS
    assert refused == 0
