"""Letters by their log-probabilities: what is sent to whom, what is read, and what of it the ledger keeps."""

import json
from dataclasses import replace
from typing import Any

import pytest

from moaa.api.models import Model
from moaa.asking.caller import Choice, Letters
from moaa.asking.reasons import Reason
from moaa.asking.windows import CharacterCounter, Window
from moaa.client.ledgered import Calls
from moaa.client.letters import LetterRequest
from moaa.client.outcome import Permanent, Retry
from moaa.client.pool.clients import Clients
from moaa.client.pool.policy import Policy
from moaa.client.request import request_hash
from moaa.client.target import Target, target_of
from moaa.conversation import Message
from moaa.errors import CallError, ServerError
from tests.fakes.model_server import Behaviour, Ended, Exchange, ModelServer, completion, error, play
from tests.unit.calls_scripted import MemoryLedger

CHOICE = Choice(
    messages=(Message(role="system", content="Be fair."), Message(role="user", content="Which?")),
    said="A is right.",
    opening="\n\nVerdict: [[",
    question="Say the letter.",
    letters=("A", "B"),
)
QUICK = Policy(tries=2, backoff_s=0.005, backoff_max_s=0.01, reconnect_s=0.5)


def listed(*tokens: tuple[str, object]) -> Exchange:
    """A completion of one token that lists `tokens` with their log-probabilities."""
    top = [{"token": token, "logprob": p, "bytes": None} for token, p in tokens]
    content = [{"token": top[0]["token"] if top else "", "logprob": -0.1, "bytes": None, "top_logprobs": top}]
    return completion("A", finish="length", choice={"logprobs": {"content": content}})


def read(exchange: Exchange) -> Letters | Permanent | Retry:
    return LetterRequest(CHOICE).read(json.dumps(exchange.body).encode())


def sent(model: Model) -> dict[str, Any]:
    dialect = target_of(model).dialect
    return LetterRequest(CHOICE).body(served_name="m", messages=CHOICE.messages, dialect=dialect)


def test_a_server_of_ours_goes_on_with_the_reply() -> None:
    body = sent(Model.model_validate({"name": "m", "source": "hf://a/b"}))
    assert body == {
        "model": "m",
        "messages": [*CHOICE.messages, {"role": "assistant", "content": "A is right.\n\nVerdict: [["}],
        "temperature": 0.0,
        "top_p": 1.0,
        "max_tokens": 1,
        "seed": 0,
        "logprobs": True,
        "top_logprobs": 20,
        "continue_final_message": True,
        "add_generation_prompt": False,
    }


def test_an_endpoint_is_asked_in_a_further_turn_in_its_own_dialect() -> None:
    endpoint = {
        "url": "https://x.example/v1",
        "model": "gpt-4o",
        "omit": ["seed", "topP"],
        "names": {"maxTokens": "max_completion_tokens"},
    }
    body = sent(Model.model_validate({"name": "m", "endpoint": endpoint, "extraBody": {"top_logprobs": 5}}))
    assert body == {
        "model": "m",
        "messages": [
            *CHOICE.messages,
            {"role": "assistant", "content": "A is right."},
            {"role": "user", "content": "Say the letter."},
        ],
        "temperature": 0.0,
        "max_completion_tokens": 1,
        "logprobs": True,
        "top_logprobs": 5,
    }


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ([("A", -0.5108256), ("B", -1.6094379)], (0.6, 0.2)),
        ([("A", -0.5108256), (" A", -2.3025851), ("\u2581B", -1.6094379), ("The", -3.0)], (0.7, 0.2)),
        ([("[[A", -0.5108256), ("B]]", -1.6094379), ("**A", -2.3025851)], (0.7, 0.2)),
        ([("A", 0.0), ("Also", -0.1), ("AB", -0.1), ("a", -0.1), ("BA", -0.1)], (1.0, 0.0)),
        ([("A", 1e-6), ("B", -9999.0)], (1.0, 0.0)),
        ([("The", -0.1)], (0.0, 0.0)),
        ([("A", -0.5108256), ("B", None), ("B", "x"), ("B", float("nan")), ("B", True)], (0.6, 0.0)),
        ([("A", float("-inf")), ("B", -1.6094379)], (0.0, 0.2)),
    ],
)
def test_what_counts_as_a_letter(tokens: list[tuple[str, object]], expected: tuple[float, float]) -> None:
    found = read(listed(*tokens))
    assert isinstance(found, Letters)
    assert (found.probabilities["A"], found.probabilities["B"]) == pytest.approx(expected)
    assert found.mass == pytest.approx(sum(expected))
    assert (found.prompt_tokens, found.completion_tokens, found.is_counted) == (7, 3, True)


@pytest.mark.parametrize(
    "exchange",
    [
        completion("A"),
        completion("A", choice={"logprobs": None}),
        completion("A", choice={"logprobs": {"content": None}}),
        completion("A", choice={"logprobs": {"content": []}}),
        completion("A", choice={"logprobs": {"content": [{"token": "A", "logprob": -0.1}]}}),
        completion("A", choice={"logprobs": {"tokens": ["A"], "token_logprobs": [-0.1]}}),
        listed(),
    ],
)
def test_a_server_without_log_probabilities_is_told_from_a_judge_without_a_verdict(exchange: Exchange) -> None:
    found = read(exchange)
    assert isinstance(found, Permanent)
    assert found.reason is Reason.BAD_REQUEST
    assert "verdict: Text" in found.message


def test_a_filter_and_an_error_inside_are_what_they_are_in_any_answer() -> None:
    refused = read(completion("", finish="content_filter"))
    assert isinstance(refused, Permanent)
    assert refused.reason is Reason.REFUSED
    busy = read(Exchange({"error": {"message": "slow down", "code": 429}}))
    assert isinstance(busy, Retry)


def caller(server: ModelServer, ledger: MemoryLedger, clients: Clients, **windows: Window) -> Calls:
    return Calls(clients=clients, ledger=ledger, digests={"m": "d"}, run_seed=3, windows=windows)


def target(server: ModelServer) -> Target:
    return Target("m", (server.url,), "m", 8)


async def test_the_ledger_gives_the_same_letters_without_a_request() -> None:
    ledger = MemoryLedger()
    behaviour = Behaviour("letters", (listed(("A", -0.5108256), ("B", -1.6094379)),), Ended(""))
    async with play(behaviour) as server, Clients([target(server)], policy=QUICK) as clients:
        first = await caller(server, ledger, clients).of("row").choose("c0-1/ab/meta/letter", "m", CHOICE)
        later = caller(server, ledger, clients)
        again = await later.of("row").choose("c0-1/ab/meta/letter", "m", CHOICE)
    assert first == again
    assert len(server.requests) == 1
    [entry] = ledger.entries.values()
    assert entry.letters == pytest.approx({"A": 0.6, "B": 0.2})
    assert type(entry).model_validate_json(entry.model_dump_json(exclude_defaults=True)) == entry
    used = later.usage.by_model()["m"]
    assert (used.calls, used.prompt_tokens, used.completion_tokens, used.cut) == (1, 7, 3, {})


async def test_what_would_change_the_letters_makes_another_call() -> None:
    def identity(**changes: Any) -> str:
        request = LetterRequest(replace(CHOICE, **changes))
        return request_hash(request, model_digest="d", run_seed=3, key="")

    others: list[dict[str, Any]] = [
        {"said": "B is."},
        {"opening": "[["},
        {"question": "?"},
        {"letters": ("B", "A")},
        {"messages": ()},
    ]
    assert len({identity(), *(identity(**change) for change in others)}) == 6


@pytest.mark.parametrize(
    ("replies", "words"),
    [
        (completion("A"), "sent no log-probabilities"),
        (error(400, "logprobs is not supported for this model"), "logprobs is not supported for this model"),
        (error(422, "top_logprobs must be at most 5"), "top_logprobs must be at most 5"),
    ],
)
async def test_a_server_that_offers_none_ends_the_job_though_it_answers_in_words(replies: Exchange, words: str) -> None:
    ledger = MemoryLedger()
    behaviour = Behaviour("none", (replies,), Ended(words), refuses_all=True)
    async with play(behaviour) as server, Clients([target(server)], policy=QUICK) as clients:
        clients._pools["m"]._understood.add("at temperature 0 and top-p 1")
        with pytest.raises(ServerError, match=words) as caught:
            await caller(server, ledger, clients).of("row").choose("p", "m", CHOICE)
    assert "most probable tokens" in str(caught.value)
    assert not ledger.entries


async def test_a_template_without_system_role_is_folded_for_letters_too() -> None:
    replies = (error(400, "System role not supported"), listed(("A", -0.1), ("B", -2.4)))
    behaviour = Behaviour("folds", replies, Ended(""))

    def by_role(body: dict[str, Any]) -> Behaviour:
        system = body["messages"][0]["role"] == "system"
        return Behaviour("folds", (behaviour.replies[0 if system else 1],), Ended(""))

    async with play(by_role) as server, Clients([target(server)], policy=QUICK) as clients:
        found = await caller(server, MemoryLedger(), clients).of("row").choose("p", "m", CHOICE)
    assert found.mass == pytest.approx(0.905 + 0.0907, abs=0.01)


async def test_a_prompt_that_leaves_no_room_is_not_sent() -> None:
    behaviour = Behaviour("never", (completion("A"),), Ended(""))
    async with play(behaviour) as server, Clients([target(server)], policy=QUICK) as clients:
        calls = caller(server, MemoryLedger(), clients, m=Window(8, CharacterCounter()))
        with pytest.raises(CallError) as caught:
            await calls.of("row").choose("p", "m", CHOICE)
    assert caught.value.reason is Reason.CONTEXT_LENGTH
    assert not server.requests
    assert calls.usage.by_model()["m"].failures == {"context-length": 1}
