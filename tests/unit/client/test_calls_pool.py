import asyncio
import socket
from collections import Counter
from dataclasses import replace
from decimal import Decimal

import pytest
from aiohttp import web
from pydantic import SecretStr

from moaa.api.models import Model
from moaa.client.pool import policy as policies
from moaa.client.pool import replicas, room
from moaa.client.pool.clients import Clients
from moaa.client.pool.limit import AdaptiveLimit
from moaa.client.pool.policy import Policy
from moaa.client.pool.replicas import Address, Replica, choose
from moaa.client.request import ChatRequest, Dialect
from moaa.client.target import Target, bearer, target_of
from moaa.errors import CallError, ModelAbsent, ServerError
from tests.unit.calls_endpoint import Body, Endpoint, completion, cut_off, echo, error, script, serve, slow

QUICK = Policy(try_s=5.0, deadline_s=10.0, reconnect_s=0.3, connect_s=1.0, tries=3, backoff_s=0.001, backoff_max_s=0.02)


def ask(text: str = "hello", *, system: str | None = None, seed: int = 1) -> ChatRequest:
    messages = [{"role": "user", "content": text}]
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    return ChatRequest(
        messages=messages,  # type: ignore[arg-type]
        temperature=Decimal("0.7"),
        top_p=Decimal(1),
        max_tokens=16,
        seed=seed,
    )


def target(*endpoints: Endpoint, concurrency: int = 8, key: str | None = None) -> Target:
    urls = tuple(e.url for e in endpoints)
    return Target(
        "m", urls, "served", concurrency, headers={} if key is None else {"Authorization": bearer(SecretStr(key))}
    )


async def test_a_request_arrives_as_it_was_meant() -> None:
    async with serve() as endpoint, Clients([target(endpoint, key="sesame")], policy=QUICK) as clients:
        reply = await clients.complete("m", ask("hello", seed=99), affinity="r")
    assert reply.text == "echo hello"
    assert (reply.finish_reason, reply.prompt_tokens, reply.completion_tokens) == ("stop", 7, 3)
    assert endpoint.requests == [
        {
            "model": "served",
            "messages": [{"role": "user", "content": "hello"}],
            "temperature": 0.7,
            "top_p": 1.0,
            "max_tokens": 16,
            "seed": 99,
        }
    ]
    assert endpoint.headers[0]["Authorization"] == "Bearer sesame"
    assert "sesame" not in repr(target(endpoint, key="sesame"))


async def test_a_model_that_nobody_serves_is_absent() -> None:
    async with Clients([Target("m", (), "m", 1)]) as clients:
        for name in ("m", "other"):
            with pytest.raises(ModelAbsent):
                await clients.complete(name, ask(), affinity="r")


@pytest.mark.parametrize(
    "first",
    [
        error(500, "oops"),
        error(429, "busy"),
        error(503, "busy"),
        cut_off,
        web.Response(text="<html>"),
        completion("x", finish="abort"),
    ],
    ids=["500", "429", "503", "cut off", "html", "abort"],
)
async def test_a_failure_that_passes_is_retried(first: web.Response | Body) -> None:
    async with (
        serve(script(first, completion("fine"))) as endpoint,
        Clients([target(endpoint)], policy=QUICK) as clients,
    ):
        reply = await clients.complete("m", ask(), affinity="r")
    assert reply.text == "fine"
    assert len(endpoint.requests) == 2


async def test_retry_after_is_waited_for() -> None:
    times: list[float] = []

    async def note(endpoint: Endpoint, request: web.Request, body: Body) -> web.StreamResponse:
        times.append(asyncio.get_running_loop().time())
        if len(times) == 1:
            return error(429, "busy", **{"Retry-After": "0.15"})
        return await echo(endpoint, request, body)

    async with serve(note) as endpoint, Clients([target(endpoint)], policy=QUICK) as clients:
        await clients.complete("m", ask(), affinity="r")
    assert times[1] - times[0] >= 0.15


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (error(400, "maximum context length is 5"), "context-length"),
        (error(400, "what?"), "bad-request"),
        (completion(""), "empty-answer"),
        (completion("x", finish="content_filter"), "refused"),
    ],
)
async def test_a_permanent_failure_is_sent_once(answer: web.Response | Body, reason: str) -> None:
    async with (
        serve(script(answer, completion("Hello"))) as endpoint,
        Clients([target(endpoint)], policy=QUICK) as clients,
    ):
        with pytest.raises(CallError) as caught:
            await clients.complete("m", ask(), affinity="r")
    assert caught.value.reason == reason
    canaries = [r for r in endpoint.requests[1:] if r["messages"] == [{"role": "user", "content": "Hi"}]]
    assert len(endpoint.requests) == 1 + len(canaries) == (2 if reason == "bad-request" else 1)


@pytest.mark.parametrize(("status", "words"), [(401, "secret"), (404, "does not serve 'served'")])
async def test_what_befalls_every_call_ends_the_job(status: int, words: str) -> None:
    bad = error(status, "key sesame is wrong")
    async with serve(script(bad)) as endpoint, Clients([target(endpoint, key="sesame")], policy=QUICK) as clients:
        with pytest.raises(ServerError, match=words) as caught:
            await clients.complete("m", ask(), affinity="r")
    assert "sesame" not in str(caught.value)


async def test_a_request_the_server_cannot_digest_costs_one_call_and_not_the_job() -> None:
    async def picky(endpoint: Endpoint, request: web.Request, body: Body) -> web.StreamResponse:
        if body["messages"][-1]["content"] == "poison":
            return error(500, "ouch")
        return await echo(endpoint, request, body)

    async with serve(picky) as endpoint, Clients([target(endpoint)], policy=QUICK) as clients:
        with pytest.raises(CallError) as caught:
            await clients.complete("m", ask("poison"), affinity="r")
        assert caught.value.reason == "server-error"
        assert len(endpoint.requests) == QUICK.tries + 1  # and the canary
        assert (await clients.complete("m", ask("fine"), affinity="r")).text == "echo fine"


async def test_a_server_that_answers_nothing_but_errors_ends_the_job() -> None:
    async with serve(script(error(500, "dead"))) as endpoint, Clients([target(endpoint)], policy=QUICK) as clients:
        with pytest.raises(ServerError, match="nothing but errors"):
            await clients.complete("m", ask(), affinity="r")


async def test_a_slow_answer_is_given_up_within_the_deadline() -> None:
    policy = Policy(try_s=0.05, deadline_s=5.0, tries=5, time_outs=2, backoff_s=0.001)

    async def stuck(endpoint: Endpoint, request: web.Request, body: Body) -> web.StreamResponse:
        if body["messages"][-1]["content"] == "long":
            return await slow(1.0)(endpoint, request, body)
        return await echo(endpoint, request, body)

    async with serve(stuck) as endpoint, Clients([target(endpoint)], policy=policy) as clients:
        with pytest.raises(CallError) as caught:
            await clients.complete("m", ask("long"), affinity="r")
    assert caught.value.reason == "timeout"
    assert len(endpoint.requests) == 3  # two tries and the canary


async def test_a_server_that_stays_busy_is_given_up_at_the_deadline() -> None:
    policy = Policy(deadline_s=0.2, backoff_s=0.01, backoff_max_s=0.05)
    async with serve(script(error(429, "busy"))) as endpoint, Clients([target(endpoint)], policy=policy) as clients:
        loop = asyncio.get_running_loop()
        started = loop.time()
        with pytest.raises(CallError, match="no answer within") as caught:
            await clients.complete("m", ask(), affinity="r")
    assert caught.value.reason == "timeout"
    assert loop.time() - started < 1.0


async def test_a_server_that_restarts_is_waited_for() -> None:
    policy = Policy(reconnect_s=5.0, backoff_s=0.02, backoff_max_s=0.05)
    async with serve() as endpoint:
        port = endpoint.port
    async with Clients([target(endpoint)], policy=policy) as clients:
        call = asyncio.create_task(clients.complete("m", ask(), affinity="r"))
        await asyncio.sleep(0.1)
        assert not call.done()
        async with serve(port=port):
            assert (await call).text == "echo hello"


async def test_a_server_that_is_gone_is_told_once_and_ends_the_job(caplog: pytest.LogCaptureFixture) -> None:
    async with serve() as endpoint:
        pass
    async with Clients([target(endpoint)], policy=QUICK) as clients:
        calls = [clients.complete("m", ask(), affinity=f"r{i}") for i in range(3)]
        ends = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(end, ServerError) and "no server answered" in str(end) for end in ends)
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert line.startswith(f"model_unreachable model=m at={endpoint.url} waiting_s=0 reason=")


async def test_a_storm_of_429_lowers_what_is_in_flight_and_loses_nothing() -> None:
    capacity = 3

    async def small(endpoint: Endpoint, request: web.Request, body: Body) -> web.StreamResponse:
        if endpoint.active > capacity:
            return error(429, "busy", **{"Retry-After": "0"})
        await asyncio.sleep(0.002)
        return await echo(endpoint, request, body)

    async with serve(small) as endpoint, Clients([target(endpoint, concurrency=64)], policy=QUICK) as clients:
        calls = [clients.complete("m", ask(str(i)), affinity=str(i)) for i in range(150)]
        replies = await asyncio.gather(*calls)
    assert [r.text for r in replies] == [f"echo {i}" for i in range(150)]
    # Without a limit that adapts, 64 at a time against room for 3 are turned away many times over.
    assert len(endpoint.requests) < 150 * 4


async def test_no_more_are_in_flight_than_allowed_and_cancelled_waiters_lose_no_turn() -> None:
    async with serve(slow(0.005)) as endpoint, Clients([target(endpoint, concurrency=2)], policy=QUICK) as clients:
        tasks = [asyncio.create_task(clients.complete("m", ask(str(i)), affinity="r")) for i in range(30)]
        await asyncio.sleep(0.01)
        for task in tasks[5:15]:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert clients.in_flight == {"m": 0}
    assert endpoint.most_active == 2
    assert sum(isinstance(r, asyncio.CancelledError) for r in results) == 10
    assert sum(not isinstance(r, BaseException) for r in results) == 20


async def test_waiting_for_room_is_bounded() -> None:
    policy = Policy(deadline_s=0.05)
    async with serve(slow(0.3)) as endpoint, Clients([target(endpoint, concurrency=1)], policy=policy) as clients:
        first = asyncio.create_task(clients.complete("m", ask(), affinity="r"))
        await asyncio.sleep(0.01)
        with pytest.raises(CallError, match="room") as caught:
            await clients.complete("m", ask(), affinity="r")
        assert caught.value.reason == "timeout"
        await first


async def test_a_row_stays_at_its_replica_and_rows_spread_over_all() -> None:
    async with (
        serve() as one,
        serve() as two,
        serve() as three,
        Clients([target(one, two, three)], policy=QUICK) as clients,
    ):
        for row in range(30):
            for _ in range(3):
                await clients.complete("m", ask(f"row {row}"), affinity=f"row {row}")
    homes: dict[str, set[int]] = {}
    for number, endpoint in enumerate((one, two, three)):
        for request in endpoint.requests:
            homes.setdefault(request["messages"][0]["content"], set()).add(number)
    assert all(len(places) == 1 for places in homes.values())
    assert len(set.union(*homes.values())) == 3


async def test_a_dead_replica_gets_nothing_while_others_answer() -> None:
    async with serve() as dead:
        pass
    async with serve() as alive, Clients([target(dead, alive)], policy=QUICK) as clients:
        replies = await asyncio.gather(*(clients.complete("m", ask(), affinity=str(i)) for i in range(20)))
    assert len(replies) == 20
    assert len(alive.requests) == 20


async def test_a_host_name_stands_for_every_address(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serve(host="127.0.0.1") as one, serve(host="127.0.0.2", port=one.port) as two:
        loop = asyncio.get_running_loop()
        record = (socket.AF_INET, socket.SOCK_STREAM, 6, "")

        async def getaddrinfo(host: str, port: int, **_: object) -> list[object]:
            assert host == "models.default.svc"
            return [(*record, ("127.0.0.2", port)), (*record, ("127.0.0.1", port))]

        monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
        headless = Target("m", (f"http://models.default.svc:{one.port}/v1",), "served", 4)
        async with Clients([headless], policy=QUICK) as clients:
            await asyncio.gather(*(clients.complete("m", ask(), affinity=str(i)) for i in range(20)))
        assert len(one.requests) + len(two.requests) == 20
        assert one.requests
        assert two.requests
        assert one.headers[0]["Host"] == f"models.default.svc:{one.port}"


async def test_a_name_without_addresses_is_waited_for_and_then_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up = 0

    async def getaddrinfo(*_: object, **__: object) -> list[object]:
        nonlocal looked_up
        looked_up += 1
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    async with Clients([Target("m", ("http://nowhere.svc:1/v1",), "m", 4)], policy=QUICK) as clients:
        with pytest.raises(ServerError, match="no address"):
            await clients.complete("m", ask(), affinity="r")
    assert looked_up == 1  # once a second at most


async def test_a_server_that_comes_back_under_another_address_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "REST_S", 0.01)
    async with serve(host="127.0.0.1") as old:
        port = old.port
    addresses = iter(["127.0.0.1"])

    async def getaddrinfo(*_: object, **__: object) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(addresses, "127.0.0.2"), port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    policy = Policy(backoff_s=0.02, backoff_max_s=0.05, reconnect_s=5.0)
    async with (
        serve(host="127.0.0.2", port=port),
        Clients([Target("m", (f"http://m.svc:{port}/v1",), "m", 4)], policy=policy) as clients,
    ):
        assert (await clients.complete("m", ask(), affinity="r")).text == "echo hello"


async def test_secure_urls_keep_their_name() -> None:
    url = "https://api.example.com/v1"
    assert await replicas.resolve([url + "/", url]) == [Address(url)]


async def test_a_model_without_system_role_gets_it_folded_and_is_remembered() -> None:
    async def gemma(endpoint: Endpoint, request: web.Request, body: Body) -> web.StreamResponse:
        if any(m["role"] == "system" for m in body["messages"]):
            return error(400, "System role not supported")
        return await echo(endpoint, request, body)

    async with serve(gemma) as endpoint, Clients([target(endpoint)], policy=QUICK) as clients:
        for _ in range(2):
            reply = await clients.complete("m", ask("hi", system="be kind"), affinity="r")
            assert reply.text == "echo be kind\n\nhi"
        assert len(endpoint.requests) == 3
        assert (await clients.complete("m", ask("hi"), affinity="r")).text == "echo hi"


async def test_roles_that_folding_does_not_mend_are_a_bad_request() -> None:
    async def picky(endpoint: Endpoint, request: web.Request, body: Body) -> web.StreamResponse:
        if body["messages"][-1]["content"] == "Hi":
            return await echo(endpoint, request, body)
        return error(400, "Conversation roles must alternate user/assistant")

    async with serve(picky) as endpoint, Clients([target(endpoint)], policy=QUICK) as clients:
        for request in (ask("hi", system="x"), ask("hi")):
            with pytest.raises(CallError) as caught:
                await clients.complete("m", request, affinity="r")
            assert caught.value.reason == "bad-request"
    assert len(endpoint.requests) == 4  # as it is, folded, the canary, as it is


def replica(name: str, *, in_flight: int = 0, limit: int = 100, resting_until: float = 0.0) -> Replica:
    made = Replica(Address(name), AdaptiveLimit(limit), resting_until=resting_until)
    made.in_flight = in_flight
    return made


def test_the_home_replica_is_left_when_much_busier() -> None:
    both = [replica("one"), replica("two")]
    home = choose(both, affinity="row", now=0.0)
    assert home is not None
    home.in_flight = 4
    assert choose(both, affinity="row", now=0.0) is home
    home.in_flight = 5
    assert choose(both, affinity="row", now=0.0) is not home


def test_full_and_resting_replicas_are_passed_over() -> None:
    full, resting, free = replica("a", in_flight=2, limit=2), replica("b", resting_until=9.0), replica("c", in_flight=1)
    assert choose([full, resting, free], affinity="row", now=0.0) is free
    assert choose([full], affinity="row", now=0.0) is None
    assert choose([resting], affinity="row", now=0.0) is resting


def test_rows_spread_evenly_and_only_a_lost_replicas_rows_move() -> None:
    names = ["one", "two", "three", "four"]
    rows = [f"row-{i}" for i in range(2000)]

    def homes(of: list[str]) -> dict[str, str]:
        idle = [replica(name) for name in of]
        return {row: chosen.address.url for row in rows if (chosen := choose(idle, affinity=row, now=0.0))}

    before, after = homes(names), homes(names[:3])
    assert all(400 < count < 600 for count in Counter(before.values()).values())
    assert all(after[row] == home for row, home in before.items() if home != "four")


def test_targets_come_from_declared_models() -> None:
    foreign = Model.model_validate(
        {"name": "gpt", "endpoint": {"url": "https://x.example/v1", "model": "gpt-4o", "maxConcurrency": 5}}
    )
    made = target_of(foreign, headers={"Authorization": bearer(SecretStr("k"))})
    assert (made.urls, made.served_name, made.max_concurrency, made.proxied) == (
        ("https://x.example/v1",),
        "gpt-4o",
        5,
        True,
    )
    ours = Model.model_validate({"name": "m", "source": "hf://a/b"})
    served = target_of(ours, urls=["http://h:1/v1"], served_name="s")
    assert served == Target("m", ("http://h:1/v1",), "s", 256, startup_s=1800.0, dialect=Dialect(goes_on=True))


def test_a_server_of_ours_is_waited_for_as_long_as_it_may_take_to_start() -> None:
    assert Policy().for_server(None) == Policy()
    slow_server = Policy().for_server(3600.0)
    assert slow_server.reconnect_s == 3720.0
    # A call that is cut off in the last minute of its time still outlives the restart.
    assert slow_server.deadline_s == Policy().deadline_s + 3720.0 - 300.0
    assert Policy().for_server(60.0) == Policy(reconnect_s=180.0)


async def test_a_target_of_ours_outlasts_the_bound_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policies, "RESTART_GRACE_S", 0.0)
    async with serve() as endpoint:
        port = endpoint.port
    ours = replace(target(endpoint), startup_s=20.0)
    async with Clients([ours], policy=QUICK) as clients:
        call = asyncio.create_task(clients.complete("m", ask(), affinity="r"))
        await asyncio.sleep(2 * QUICK.reconnect_s)
        async with serve(port=port):
            assert (await call).text == "echo hello"


async def test_a_dying_servers_last_words_cost_no_row() -> None:
    policy = Policy(reconnect_s=5.0, tries=2, backoff_s=0.005, backoff_max_s=0.01)
    dying = error(500, "EngineCore encountered an issue. See stack trace (above) for the root cause.")
    answers = script(*[dying] * 6, completion("restarted"))
    async with serve(answers) as endpoint, Clients([target(endpoint)], policy=policy) as clients:
        assert (await clients.complete("m", ask(), affinity="r")).text == "restarted"
