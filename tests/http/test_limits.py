"""What an HTTP answer says of the limit behind it, and what of that cannot be true."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from holdgate import http
from holdgate.core import Told

DATE = "Wed, 21 Oct 2026 07:28:00 GMT"
SENT = 1792567680  # the same in seconds since 1970
MONTH = 31 * 86400.0


def response(status: int, headers: dict[str, str]) -> Any:
    return SimpleNamespace(status_code=status, headers=headers)


class StatusError(Exception):
    """What httpx raises for a status."""

    def __init__(self, status_code: int, headers: dict[str, str]) -> None:
        super().__init__(status_code)
        self.response = response(status_code, headers)


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({"Retry-After": "7"}, Told(7.0)),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:30 GMT", "Date": DATE}, Told(30.0)),
        ({"retry-after-ms": "250", "Retry-After": "7"}, Told(0.25)),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "12"}, Told(12.0, 0, 12.0)),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(SENT + 60), "Date": DATE}, Told(60.0, 0, 60.0)),  # GitHub
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str((SENT + 60) * 1000), "Date": DATE}, Told(60.0, 0, 60.0)),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1m30s"}, Told(90.0, 0, 90.0)),  # OpenAI
        ({"RateLimit": '"default";r=0;t=30', "RateLimit-Policy": '"default";q=100;w=60'}, Told(30.0, 0, 30.0)),
        ({"RateLimit": "limit=9, remaining=0, reset=30"}, Told(30.0, 0, 30.0)),
        ({"RateLimit-Remaining": "0", "RateLimit-Reset": "30"}, Told(30.0, 0, 30.0)),
        (
            {"anthropic-ratelimit-requests-remaining": "0", "anthropic-ratelimit-requests-reset": "2026-10-21T07:28:09Z", "Date": DATE},
            Told(9.0, 0, 9.0),
        ),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset-After": "1.5"}, Told(1.5, 0, 1.5)),  # Discord
    ],
)
def test_a_refusal_says_when_and_how_many(headers: dict[str, str], told: Told) -> None:
    """On the exception as on the response."""
    assert http.told(StatusError(429, headers)) == told
    assert http.told(response(429, headers)) == told


def test_a_good_answer_says_what_is_left() -> None:
    """So a limit can be kept without a refusal, and nobody has to wait."""
    assert http.told(response(200, {"X-RateLimit-Remaining": "59", "X-RateLimit-Reset": "12"})) == Told(None, 59, 12.0)
    assert http.told(response(200, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "12"})) == Told(12.0, 0, 12.0)
    assert http.told(response(200, {"Content-Type": "text/plain"})) is None
    assert http.told(response(200, {})) is None


def test_the_narrowest_of_several_limits_counts() -> None:
    """A second's burst is wider than a day's quota that is nearly used up; one that is used up is narrower than any."""
    several = {"RateLimit": '"burst";r=9;t=1, "daily";r=100;t=40000', "X-RateLimit-Remaining": "50", "X-RateLimit-Reset": "60"}
    assert http.told(response(200, several)) == Told(None, 100, 40000.0)
    assert http.told(response(200, {"RateLimit": '"burst";r=0;t=1, "daily";r=0;t=40000'})) == Told(40000.0, 0, 40000.0)


def test_limits_of_other_things_say_nothing_of_calls() -> None:
    """Tokens and bytes are not calls; what a refusal says of waiting for them counts all the same."""
    tokens = {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6s"}
    assert http.told(response(429, tokens)) == Told(retry_after=6.0)
    content = {"RateLimit": '"size";r=5;t=30', "RateLimit-Policy": '"size";q=100;w=60;qu="content-bytes"'}
    assert http.told(response(200, content)) is None


@pytest.mark.parametrize(
    "headers",
    [
        {"X-RateLimit-Remaining": "-1", "X-RateLimit-Reset": "30"},
        {"X-RateLimit-Remaining": "5", "X-RateLimit-Reset": str(SENT - 60), "Date": DATE},
        {"X-RateLimit-Remaining": "5", "X-RateLimit-Reset": str(SENT + 60)},  # an instant without a clock to compare it with
        {"X-RateLimit-Remaining": "5", "X-RateLimit-Reset": "999999999"},
        {"X-RateLimit-Remaining": "5", "X-RateLimit-Reset": "nan"},
        {"X-RateLimit-Remaining": "many", "X-RateLimit-Reset": "30"},
        {"RateLimit": '"default";r=-5;t=30'},
        {"RateLimit": "nonsense"},
        {"RateLimit": '"default";r=5;t=99999999999999'},
        {"Retry-After": "-5"},
        {"Retry-After": "1e9"},
        {"Retry-After": "1000000000"},
        {"Retry-After": "soon"},
        {"Retry-After": "0"},
        {"retry-after-ms": "NaN"},
        {"retry-after-ms": "99999999999999"},
        {"X-RateLimit-Remaining": "9" * 400, "X-RateLimit-Reset": "9" * 400},
    ],
)
def test_headers_that_lie_are_not_believed(headers: dict[str, str]) -> None:
    """Less than nothing left, a reset in the past, thirty years, no number: a good answer with these says nothing at all."""
    assert http.told(response(200, headers)) is None


def test_a_wait_of_more_than_a_month_is_a_mistake_of_units() -> None:
    """Then the refusal says nothing, and the waits grow by themselves."""
    assert http.told(response(429, {"Retry-After": str(int(MONTH))})) == Told(MONTH)
    assert http.told(response(429, {"Retry-After": str(int(MONTH) + 1)})) is None


@pytest.mark.parametrize(
    ("status", "headers", "is_throttled", "asks"),
    [
        (429, {}, True, True),
        (503, {}, False, False),
        (503, {"Retry-After": "7"}, False, True),
        (503, {"Retry-After": "soon"}, False, False),
        (403, {"Retry-After": "60"}, True, True),
        (403, {"X-RateLimit-Remaining": "0"}, True, True),
        (403, {}, False, False),
        (529, {"Retry-After": "7"}, False, False),
        (200, {"Retry-After": "7"}, False, False),
    ],
)
def test_what_is_throttled_and_what_asks_to_wait(status: int, headers: dict[str, str], is_throttled: bool, asks: bool) -> None:
    """A 503 with a time is throttled by choice."""
    for answer in (response(status, headers), StatusError(status, headers)):
        assert (http.throttled(answer), http.asks_to_wait(answer)) == (is_throttled, asks)


def test_an_error_in_a_stream_may_be_a_limit() -> None:
    """The answer began with 200."""
    error = Exception()
    error.body = {"type": "error", "error": {"type": "rate_limit_error"}}  # type: ignore[attr-defined]
    assert http.throttled(error)
    error.body = {"type": "error", "error": {"type": "overloaded_error"}}  # type: ignore[attr-defined]
    assert not http.throttled(error)
    assert not http.throttled(SimpleNamespace(body=error.body))  # type: ignore[attr-defined]


def test_the_status_may_be_in_a_text_alone() -> None:
    """libcurl's, and urllib3's for what it was told to try again."""
    curl = type("error", (Exception,), {"__module__": "pycurl"})
    assert http.throttled(curl(22, "The requested URL returned error: 429"))
    assert not http.throttled(curl(22, "The requested URL returned error: 503"))
    assert not http.throttled(curl(7, "429"))
    reason = type("ResponseError", (Exception,), {"__module__": "urllib3.exceptions"})("too many 429 error responses")
    exhausted = type("MaxRetryError", (Exception,), {"__module__": "urllib3.exceptions"})()
    exhausted.reason = reason  # type: ignore[attr-defined]
    assert http.throttled(exhausted)
