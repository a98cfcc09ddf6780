import random
import ssl
from datetime import UTC, datetime

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moaa.asking.reasons import Reason
from moaa.client.outcome import HttpFailure, Permanent, Retry, Trouble, is_retryable, retry_after_s, server_message
from moaa.client.pool.limit import AdaptiveLimit
from moaa.client.pool.policy import Policy, Tries
from moaa.client.response import parse_completion
from moaa.conversation import fold_system

VLLM_TOO_LONG = (
    '{"error":{"message":"This model\'s maximum context length is 512 tokens. However, you requested 600 tokens"}}'
)


@pytest.mark.parametrize(
    ("status", "body", "trouble"),
    [
        (429, "slow down", Trouble.THROTTLED),
        (503, "", Trouble.THROTTLED),
        (529, "overloaded", Trouble.THROTTLED),
        (500, "oops", Trouble.FAILED),
        (502, "<html>", Trouble.FAILED),
        (504, "", Trouble.FAILED),
        (520, "", Trouble.FAILED),
        (408, "", Trouble.FAILED),
        (500, '{"error":{"message":"EngineCore encountered an issue."}}', Trouble.DISCONNECTED),
    ],
)
def test_statuses_that_may_pass_are_retried(status: int, body: str, trouble: Trouble) -> None:
    outcome = is_retryable(HttpFailure(status, body))
    assert isinstance(outcome, Retry)
    assert outcome.trouble is trouble
    assert str(status) in outcome.message


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (400, VLLM_TOO_LONG, Reason.CONTEXT_LENGTH),
        (400, '{"error":{"code":"context_length_exceeded"}}', Reason.CONTEXT_LENGTH),
        (413, "", Reason.CONTEXT_LENGTH),
        (400, '{"error":{"code":"content_filter","message":"no"}}', Reason.REFUSED),
        (400, "System role not supported", Reason.NO_SYSTEM_ROLE),
        (500, "jinja2: System role not supported", Reason.NO_SYSTEM_ROLE),
        (400, "Conversation roles must alternate user/assistant/user/assistant/...", Reason.NO_SYSTEM_ROLE),
        (400, "temperature must be at most 2", Reason.BAD_REQUEST),
        (422, "", Reason.BAD_REQUEST),
        (401, "", Reason.UNAUTHORISED),
        (403, "", Reason.UNAUTHORISED),
        (402, "pay", Reason.UNAUTHORISED),
        (429, '{"error":{"code":"insufficient_quota"}}', Reason.UNAUTHORISED),
        (404, "The model `x` does not exist.", Reason.NO_SUCH_MODEL),
        (307, "", Reason.NO_SUCH_MODEL),
    ],
)
def test_statuses_that_stay_are_permanent(status: int, body: str, reason: Reason) -> None:
    outcome = is_retryable(HttpFailure(status, body))
    assert isinstance(outcome, Permanent)
    assert outcome.reason is reason


@pytest.mark.parametrize(
    ("failure", "trouble"),
    [
        (TimeoutError(), Trouble.TIMED_OUT),
        (aiohttp.ServerTimeoutError(), Trouble.TIMED_OUT),
        (aiohttp.ConnectionTimeoutError(), Trouble.DISCONNECTED),
        (aiohttp.ServerDisconnectedError(), Trouble.DISCONNECTED),
        (aiohttp.ClientPayloadError("cut"), Trouble.DISCONNECTED),
        (aiohttp.ClientOSError(104, "reset"), Trouble.DISCONNECTED),
        (ConnectionResetError(), Trouble.DISCONNECTED),
        (ssl.SSLError("bad"), Trouble.DISCONNECTED),
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, Exception) else str(v),
)
def test_exceptions_are_sorted(failure: Exception, trouble: Trouble) -> None:
    outcome = is_retryable(failure)
    assert isinstance(outcome, Retry)
    assert outcome.trouble is trouble


def test_a_mistake_of_ours_is_not_a_failed_request() -> None:
    with pytest.raises(KeyError):
        is_retryable(KeyError("x"))


NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("7", 7.0),
        ("0.25", 0.25),
        ("Mon, 23 Nov 2026 12:00:30 GMT", 30.0),
        ("Mon, 23 Nov 2026 11:00:00 GMT", 0.0),
        ("soon", None),
        ("-3", None),
    ],
)
def test_retry_after_holds_seconds_or_a_date(header: str | None, expected: float | None) -> None:
    assert retry_after_s(header, NOW) == expected


def test_server_messages_are_read_and_cut() -> None:
    assert server_message('{"error": {"message": "no"}}') == "no"
    assert server_message('{"error": "no"}') == "no"
    assert server_message('{"detail": "no"}') == "no"
    assert server_message("") == "(empty body)"
    assert server_message("[1]") == "[1]"
    assert len(server_message("x" * 1000)) == 303


@settings(deadline=None)
@given(st.integers(1, 50), st.integers(0, 2**32), st.one_of(st.none(), st.floats(0, 1e6)))
def test_delays_keep_to_jitter_and_retry_after(nth: int, seed: int, after_s: float | None) -> None:
    policy = Policy(backoff_s=0.5, backoff_max_s=30, retry_after_max_s=300)
    delay = policy.delay_s(Retry(Trouble.THROTTLED, "", after_s), nth, random.Random(seed))
    floor = min(after_s or 0.0, 300)
    assert floor <= delay <= floor + min(30.0, 0.5 * 2 ** (nth - 1))


def test_a_throttled_call_uses_up_no_try() -> None:
    tries = Tries(Policy(tries=2), started=0.0)
    for _ in range(50):
        tries.record(Retry(Trouble.THROTTLED, ""), now=1.0, asked=1.0, last_response=1.0)
    assert not tries.exhausted()
    tries.record(Retry(Trouble.FAILED, ""), now=1.0, asked=1.0, last_response=1.0)
    tries.record(Retry(Trouble.FAILED, ""), now=1.0, asked=1.0, last_response=1.0)
    assert tries.exhausted()


def test_a_broken_connection_counts_against_the_call_only_while_others_are_answered() -> None:
    tries = Tries(Policy(tries=1, reconnect_s=10), started=0.0)
    tries.record(Retry(Trouble.DISCONNECTED, ""), now=5.0, asked=4.0, last_response=3.0)
    assert not tries.exhausted()
    assert not tries.gone(now=14.9, last_response=3.0)
    assert tries.gone(now=15.0, last_response=3.0)
    assert not tries.gone(now=15.0, last_response=6.0)
    tries.record(Retry(Trouble.DISCONNECTED, ""), now=7.0, asked=5.5, last_response=6.0)
    assert tries.exhausted()


def test_the_limit_halves_once_for_requests_in_flight_together_and_grows_by_one_a_window() -> None:
    limit = AdaptiveLimit(16)
    epoch = limit.epoch
    for _ in range(16):
        limit.overloaded(sent_in=epoch)
    assert limit.limit == 8
    limit.overloaded(sent_in=limit.epoch)
    assert limit.limit == 4
    for _ in range(5):
        limit.succeeded(now=0.0, in_flight=limit.limit)
    assert limit.limit == 5
    for _ in range(1000):
        limit.succeeded(now=0.0, in_flight=limit.limit)
    assert limit.limit == 16
    for _ in range(20):
        limit.overloaded(sent_in=limit.epoch)
    assert limit.limit == 1


@pytest.mark.parametrize(("holds", "reached"), [(20, 32), (200, 256), (10_000, 512)])
def test_the_limit_doubles_while_that_brings_more_answers_a_second(holds: int, reached: int) -> None:
    """A server that answers `holds` requests at once, each after a second, and lets the others wait."""
    limit, now = AdaptiveLimit(512, 32), 0.0
    for _ in range(20_000):
        now += 1.0 / min(limit.limit, holds)
        limit.succeeded(now=now, in_flight=limit.limit)
    assert limit.limit in (reached, 2 * reached)
    settled = limit.limit
    limit.overloaded(sent_in=limit.epoch)
    for _ in range(1_000_000 // 512):
        limit.succeeded(now=now, in_flight=limit.limit)
    assert settled // 2 < limit.limit <= settled


def test_one_slow_window_does_not_end_the_doubling() -> None:
    limit, now = AdaptiveLimit(512, 32), 0.0
    for number in range(10_000):
        slow = 20.0 if 130 < number < 180 else 1.0  # while 64 are under way
        now += slow / limit.limit
        limit.succeeded(now=now, in_flight=limit.limit)
    assert limit.limit == 512


def test_the_limit_doubles_once_a_window() -> None:
    """Answers of a server with room come in step with the requests, so 512 is reached after 32 + 64 + 128 + 256."""
    limit, now = AdaptiveLimit(512, 32), 0.0
    for _ in range(1 + 32 + 64 + 128 + 256):
        now += 1.0 / limit.limit
        limit.succeeded(now=now, in_flight=limit.limit)
    assert limit.limit == 512


def test_a_limit_that_is_not_used_does_not_grow() -> None:
    limit = AdaptiveLimit(512, 32)
    for second in range(1000):
        limit.succeeded(now=float(second), in_flight=31)
    assert limit.limit == 32


def test_a_limit_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        AdaptiveLimit(0)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"choices":[{"message":{"content":""},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":0}}', "empty-answer"),  # noqa: E501
        (b'{"choices":[{"message":{"content":null},"finish_reason":"length"}],"usage":{"prompt_tokens":1,"completion_tokens":0}}', "empty-answer"),  # noqa: E501
        (b'{"choices":[{"message":{"content":"x"},"finish_reason":"content_filter"}],"usage":{"prompt_tokens":1,"completion_tokens":0}}', "refused"),  # noqa: E501
        (b'{"choices":[{"message":{"content":null,"refusal":"no"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":0}}', "refused"),  # noqa: E501
    ],
    ids=["blank", "null", "filtered", "refusal"],
)  # fmt: skip
def test_answers_without_text_are_permanent(body: bytes, reason: str) -> None:
    outcome = parse_completion(body, max_tokens=16)
    assert isinstance(outcome, Permanent)
    assert outcome.reason == reason


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b'{"choices": []}',
        b'{"choices":[{"message":{"content":"x"},"finish_reason":"abort"}],"usage":{"prompt_tokens":1,"completion_tokens":0}}',
        b'{"choices":[{"message":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":0}}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_completion_is_worth_another_try(body: bytes) -> None:
    assert isinstance(parse_completion(body, max_tokens=16), Retry)


def test_folding_puts_the_system_message_before_the_next_user_turn() -> None:
    messages = (
        {"role": "system", "content": "S"},
        {"role": "user", "content": "U1"},
        {"role": "assistant", "content": "A"},
        {"role": "user", "content": "U2"},
    )
    assert fold_system(messages) == [  # type: ignore[arg-type]
        {"role": "user", "content": "S\n\nU1"},
        {"role": "assistant", "content": "A"},
        {"role": "user", "content": "U2"},
    ]
    assert messages[1]["content"] == "U1"


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), st.text(max_size=5)), max_size=6))
def test_folding_loses_no_text_and_no_turn_of_others(turns: list[tuple[str, str]]) -> None:
    messages = [{"role": role, "content": content} for role, content in turns]
    folded = fold_system(messages)  # type: ignore[arg-type]
    assert all(m["role"] != "system" for m in folded)
    assert [m for m in folded if m["role"] == "assistant"] == [m for m in messages if m["role"] == "assistant"]
    text = "".join(m["content"] for m in folded)
    assert all(content in text for _, content in turns)
