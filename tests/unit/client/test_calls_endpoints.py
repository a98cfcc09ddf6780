"""How a declared endpoint is asked: address, credentials, names of parameters, further fields."""

import base64
import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr

from moaa.api.models import Model
from moaa.client.pool.clients import Clients
from moaa.client.pool.transport import proxy_of
from moaa.client.request import ChatRequest, completions_url
from moaa.client.target import Target, bearer, dialect_of, target_of
from moaa.errors import CallError, ServerError
from moaa.plan.digests import answering, answering_digest
from tests.fakes.model_server import Answered, Behaviour, Ended, ModelServer, completion, error, play
from tests.unit.client.test_calls_pool import QUICK, ask

FINE = Behaviour("fine", (completion("fine"),), Answered("fine"))
USUAL = {"model": "gpt", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 16, "seed": 1}


def foreign(server: ModelServer | None = None, **fields: Any) -> Model:
    url = server.url if server else "https://api.example/v1"
    own = {name: fields.pop(name) for name in ("extraBody",) if name in fields}
    return Model.model_validate({"name": "m", "endpoint": {"url": url, "model": "gpt", **fields}, **own})


async def asked(target: Target, request: ChatRequest) -> None:
    async with Clients([target], policy=QUICK) as clients:
        await clients.complete("m", request, affinity="r")


@pytest.mark.parametrize(
    ("fields", "sampling", "expected"),
    [
        pytest.param({}, {"temperature": "0.7"}, USUAL | {"temperature": 0.7}, id="top-p 1 is the API's own default"),
        pytest.param({}, {"temperature": "1", "top_p": "0.9"}, USUAL | {"top_p": 0.9}, id="so is temperature 1"),
        pytest.param(
            {"names": {"temperature": "temperature", "topP": "top_p"}},
            {"temperature": "1"},
            USUAL | {"temperature": 1.0, "top_p": 1.0},
            id="what is named is always sent",
        ),
        pytest.param(
            {"omit": ["seed", "temperature"], "names": {"maxTokens": "max_completion_tokens"}},
            {"temperature": "0.7"},
            {key: USUAL[key] for key in ("model", "messages")} | {"max_completion_tokens": 16},
            id="a reasoning model of OpenAI's",
        ),
        pytest.param(
            {"names": {"seed": "random_seed"}, "extraBody": {"safe_prompt": False, "min_p": 0.05}},
            {"temperature": "0"},
            {key: USUAL[key] for key in ("model", "messages", "max_tokens")}
            | {"random_seed": 1, "temperature": 0.0, "safe_prompt": False, "min_p": 0.05},
            id="another name and further fields",
        ),
        pytest.param(
            {"extraBody": {"chat_template_kwargs": {"enable_thinking": False}}},
            {"temperature": "1"},
            USUAL | {"chat_template_kwargs": {"enable_thinking": False}},
            id="thinking turned off",
        ),
    ],
)
async def test_an_endpoint_is_asked_in_its_own_words(
    fields: dict[str, Any], sampling: dict[str, str], expected: dict[str, Any]
) -> None:
    changes: dict[str, Any] = {name: Decimal(value) for name, value in sampling.items()}
    request = replace(ask("hello"), **changes)
    async with play(FINE) as server:
        await asked(target_of(foreign(server, **fields)), request)
    assert server.requests == [expected]


async def test_a_server_of_ours_is_told_everything_and_what_the_model_adds() -> None:
    ours = Model.model_validate({"name": "m", "source": "hf://a/b", "extraBody": {"top_k": 20}})
    async with play(FINE) as server:
        await asked(target_of(ours, urls=[server.url], served_name="gpt"), ask("hello"))
    told = {"temperature": 0.7, "top_p": 1.0, "top_k": 20}
    assert server.requests == [USUAL | told]


def test_what_shapes_answers_makes_another_call_and_the_defaults_none() -> None:
    plain = foreign()
    assert answering(plain, "d") == {"digest": "d", "args": [], "maxModelLen": 8192}
    others = [
        foreign(extraBody={"top_k": 1}),
        foreign(extraBody={"chat_template_kwargs": {"enable_thinking": False}}),
        foreign(omit=["seed"]),
        foreign(names={"maxTokens": "max_completion_tokens"}),
    ]
    digests = {answering_digest(model, "d") for model in (plain, *others)}
    assert len(digests) == 5
    neutral = foreign(headers=[{"name": "X-Title", "value": "x"}], secret={"name": "a", "key": "b"})
    assert answering_digest(neutral, "d") == answering_digest(plain, "d")
    assert answering_digest(foreign(extraBody={"a": 1.0}), "d") == answering_digest(foreign(extraBody={"a": 1}), "d")
    assert answering_digest(foreign(omit=["seed", "topP"]), "d") == answering_digest(
        foreign(omit=["topP", "seed"]), "d"
    )


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("https://x/v1", "https://x/v1/chat/completions"),
        ("https://x/v1/", "https://x/v1/chat/completions"),
        ("https://x/d?api-version=1", "https://x/d/chat/completions?api-version=1"),
        ("https://x/d/?api-version=1&a=/b/", "https://x/d/chat/completions?api-version=1&a=/b/"),
        ("https://x", "https://x/chat/completions"),
    ],
)
def test_the_query_of_a_base_url_survives(base: str, url: str) -> None:
    assert completions_url(base) == url


async def test_a_deployment_of_azure() -> None:
    async with play(FINE) as server:
        url = server.url.replace("/v1", "/openai/deployments/d/?api-version=2024-10-21")
        model = foreign(headers=[{"name": "api-key", "secret": {"name": "azure", "key": "key"}}], omit=["seed"])
        target = target_of(model, headers={"api-key": SecretStr("sesame")})
        await asked(Target("m", (url,), "gpt", 4, headers=target.headers, dialect=target.dialect, proxied=True), ask())
    assert server.paths == ["/openai/deployments/d/chat/completions?api-version=2024-10-21"]
    assert server.headers[0]["api-key"] == "sesame"
    assert "Authorization" not in server.headers[0]
    assert "seed" not in server.requests[0]


@pytest.mark.parametrize("key", [None, "sesame"])
async def test_a_login_in_netrc_is_never_sent_and_never_in_the_way(
    key: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password opensesame\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    async with play(FINE) as server:
        headers = {} if key is None else {"Authorization": bearer(SecretStr(key))}
        await asked(target_of(foreign(server), headers=headers), ask())
    assert server.headers[0].get("Authorization") == (None if key is None else "Bearer sesame")


@pytest.mark.parametrize(
    ("environment", "proxy"),
    [
        ({}, None),
        ({"https_proxy": "http://proxy:3128"}, "http://proxy:3128"),
        ({"HTTPS_PROXY": "proxy:3128"}, "http://proxy:3128"),
        ({"http_proxy": "http://proxy:3128"}, None),
        ({"https_proxy": "http://proxy:3128", "no_proxy": ".example"}, None),
        ({"https_proxy": "http://proxy:3128", "no_proxy": "other.test"}, "http://proxy:3128"),
    ],
)
def test_the_proxy_of_the_environment(
    environment: dict[str, str], proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert proxy_of("https://api.example/v1") == proxy


async def test_an_endpoint_is_asked_through_the_proxy_and_a_server_of_ours_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[tuple[str, str | None, str | None]] = []

    async def forward(request: web.Request) -> web.Response:
        headers = request.headers
        seen.append((str(request.url), headers.get("Proxy-Authorization"), headers.get("Authorization")))
        return completion("through").response()

    runner = web.AppRunner(web.Application(), access_log=None)
    runner.app.router.add_route("*", "/{any:.*}", forward)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        monkeypatch.setenv("http_proxy", f"http://me:pw@127.0.0.1:{runner.addresses[0][1]}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        model = Model.model_validate({"name": "m", "endpoint": {"url": "http://127.0.0.9:9/v1", "model": "gpt"}})
        await asked(target_of(model, headers={"Authorization": bearer(SecretStr("sesame"))}), ask())
        async with play(FINE) as server:
            await asked(Target("m", (server.url,), "gpt", 4), ask())
    finally:
        await runner.cleanup()
    login = "Basic " + base64.b64encode(b"me:pw").decode()
    assert seen == [("http://127.0.0.9:9/v1/chat/completions", login, "Bearer sesame")]
    assert len(server.requests) == 1


async def test_what_a_server_echoes_of_a_secret_is_not_told() -> None:
    headers = {"api-key": SecretStr("sesame-open"), "Authorization": bearer(SecretStr("other-key"))}
    words = f"bad key sesame-open, or other-key, or Bearer other-key, or sk-{'x' * 20}, for X 1"
    for status, kind in ((401, ServerError), (400, CallError)):
        async with play(Behaviour("echo", (error(status, words),), Ended(""))) as server:
            target = target_of(foreign(server), headers={**headers, "X": SecretStr("1")})
            with pytest.raises(kind) as caught:
                await asked(target, ask())
        said = str(caught.value)
        assert not any(secret in said for secret in ("sesame", "other-key", "xxxx")), said
        assert "X 1" in said
        assert "sesame" not in repr(target)


def test_a_dialect_is_plain_data() -> None:
    dialect = dialect_of(foreign(omit=["topP"], extraBody={"a": [1]}))
    body = ask().body(served_name="gpt", messages=ask().messages, dialect=dialect)
    assert json.loads(json.dumps(body)) == {**USUAL, "temperature": 0.7, "a": [1]}
