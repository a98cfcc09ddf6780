"""Scores of a reward model: what is sent to where, what is read, what the ledger keeps, and whom a canary asks."""

import json
from typing import Any

import pytest
from aiohttp import web

from moaa.api.models import Model
from moaa.asking.caller import Scalar
from moaa.asking.reasons import Reason
from moaa.asking.windows import CharacterCounter, Window
from moaa.client.ledgered import Calls
from moaa.client.outcome import Permanent, Retry
from moaa.client.pool.clients import Clients
from moaa.client.pool.policy import Policy
from moaa.client.request import completions_url, request_hash
from moaa.client.scores import ScoreRequest
from moaa.client.target import target_of
from moaa.conversation import Message
from moaa.errors import CallError, ServerError
from tests.unit.calls_scripted import MemoryLedger

ANSWERED = (Message(role="user", content="Q"), Message(role="assistant", content="A"))
QUICK = Policy(tries=2, backoff_s=0.005, backoff_max_s=0.01, reconnect_s=0.5)


def pooled(*numbers: object, **usage: object) -> dict[str, Any]:
    """As vLLM's PoolingResponse."""
    told = {"prompt_tokens": 9, "total_tokens": 9, "completion_tokens": 0} | usage
    data = [{"index": 0, "object": "pooling", "data": list(numbers)}]
    return {"id": "pool-1", "object": "list", "created": 1, "model": "m", "data": data, "usage": told}


def read(document: object) -> Scalar | Permanent | Retry:
    return ScoreRequest(ANSWERED).read(json.dumps(document).encode())


def reward_model(url: str, **fields: Any) -> Model:
    return Model.model_validate({"name": "m", "kind": "Reward", "endpoint": {"url": url, "model": "served"}, **fields})


def test_the_raw_score_of_a_whole_conversation_is_asked_for() -> None:
    model = reward_model("https://x.example/v1", extraBody={"truncate_prompt_tokens": 5})
    dialect = target_of(model).dialect
    body = ScoreRequest(ANSWERED).body(served_name="m", messages=ANSWERED, dialect=dialect)
    assert body == {"model": "m", "messages": list(ANSWERED), "use_activation": False, "truncate_prompt_tokens": 5}


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("http://h:8000/v1", "http://h:8000/pooling"),
        ("http://h:8000/v1/", "http://h:8000/pooling"),
        ("http://h/vllm/v1?key=a", "http://h/vllm/pooling?key=a"),
        ("http://h/other", "http://h/other/pooling"),
    ],
)
def test_pooling_stands_beside_v1(base: str, url: str) -> None:
    assert ScoreRequest(ANSWERED).address(base) == url
    assert completions_url("http://h/v1") == "http://h/v1/chat/completions"


@pytest.mark.parametrize(("number", "score"), [(-2.5, -2.5), (3, 3.0), (0.0, 0.0)])
def test_one_number_is_a_score(number: float, score: float) -> None:
    assert read(pooled(number)) == Scalar(score, 9)


def test_a_server_that_counts_no_completion_is_counted_all_the_same() -> None:
    document = pooled(1.0)
    del document["usage"]["completion_tokens"]
    assert read(document) == Scalar(1.0, 9)
    del document["usage"]
    assert read(document) == Scalar(1.0, 0, is_counted=False)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (pooled(0.1, 0.9), "not one number but 2"),
        (pooled(), "not one number but 0"),
        (pooled([0.1], [0.2]), "not one number but 2"),
        (pooled(float("nan")), "no finite number"),
        (pooled(float("inf")), "no finite number"),
        (pooled(True), "not one number"),
        (pooled("0.5"), "not one number"),
    ],
)
def test_what_is_no_score_never_becomes_one(document: object, words: str) -> None:
    found = read(document)
    assert isinstance(found, Permanent)
    assert found.reason is Reason.BAD_SCORE
    assert words in found.message


@pytest.mark.parametrize("document", [[], {}, {"data": []}, {"data": [{}]}, {"choices": []}, "x"])
def test_another_document_is_worth_another_try(document: object) -> None:
    assert isinstance(read(document), Retry)
    assert isinstance(ScoreRequest(ANSWERED).read(b"<html>"), Retry)


def test_an_error_inside_is_what_it_is_in_any_answer() -> None:
    assert isinstance(read({"error": {"message": "slow down", "code": 429}}), Retry)


class Rewards:
    """A server of a reward model; it knows nothing of chats."""

    def __init__(self, answer: object = None, status: int = 200) -> None:
        self.asked: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self._answer, self._status = answer or pooled(1.25), status

    async def handle(self, request: web.Request) -> web.Response:
        self.paths.append(request.path)
        body = await request.json()
        self.asked.append(body)
        if not request.path.endswith("/pooling"):
            return web.json_response({"detail": "Not Found"}, status=404)
        is_canary = body["messages"][0]["content"] == "Hi"
        ok = is_canary and self._status == 500
        return web.json_response(pooled(0.5) if ok else self._answer, status=200 if ok else self._status)

    async def __aenter__(self) -> str:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.handle)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()


async def scored(server: Rewards, ledger: MemoryLedger, times: int = 1) -> list[Scalar]:
    async with server as url, Clients([target_of(reward_model(url))], policy=QUICK) as clients:
        calls = Calls(clients=clients, ledger=ledger, digests={"m": "d"}, run_seed=3, windows={})
        return [await calls.of("row").score("score0", "m", ANSWERED) for _ in range(times)]


async def test_the_ledger_gives_the_same_score_without_a_request() -> None:
    server, ledger = Rewards(), MemoryLedger()
    first, again = await scored(server, ledger, times=2)
    assert first == again == Scalar(1.25, 9)
    assert server.paths == ["/pooling"]
    [entry] = ledger.entries.values()
    assert type(entry).model_validate_json(entry.model_dump_json(exclude_defaults=True)) == entry


async def test_a_score_of_zero_is_kept_as_one() -> None:
    ledger = MemoryLedger()
    await scored(Rewards(pooled(0.0)), ledger)
    [entry] = ledger.entries.values()
    assert type(entry).model_validate_json(entry.model_dump_json(exclude_defaults=True)).score == 0.0


async def test_a_canary_of_a_reward_model_asks_for_a_score() -> None:
    """One conversation that its server cannot digest costs that one; a chat would be refused and end the job."""
    server = Rewards({"error": {"message": "boom"}}, status=500)
    with pytest.raises(CallError) as caught:
        await scored(server, MemoryLedger())
    assert caught.value.reason is Reason.SERVER_ERROR
    assert set(server.paths) == {"/pooling"}


async def test_a_server_that_refuses_every_score_ends_the_job() -> None:
    server = Rewards({"error": {"message": "The model does not support Pooling API", "code": 400}}, status=400)
    with pytest.raises(ServerError, match="refuses every request for a score"):
        await scored(server, MemoryLedger())


async def test_an_answer_that_does_not_fit_is_never_sent_cut() -> None:
    calls = Calls(
        clients=Clients([]),
        ledger=MemoryLedger(),
        digests={"m": "d"},
        run_seed=3,
        windows={"m": Window(80, CharacterCounter())},
    )
    long = (ANSWERED[0], Message(role="assistant", content="word " * 400))
    with pytest.raises(CallError) as caught:
        await calls.of("row").score("score0", "m", long)
    assert caught.value.reason is Reason.CONTEXT_LENGTH
    assert calls.usage.by_model()["m"].failures == {"context-length": 1}


def test_what_is_scored_and_by_what_makes_the_identity() -> None:
    def identity(text: str, digest: str = "d") -> str:
        request = ScoreRequest((ANSWERED[0], Message(role="assistant", content=text)))
        return request_hash(request, model_digest=digest, run_seed=3, key="")

    assert len({identity("A"), identity("B"), identity("A", "e")}) == 3
