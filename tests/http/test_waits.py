"""When a server wants to be asked again, by each of the headers that say so."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from holdgate import http


class StatusError(Exception):
    """What httpx raises for a status: the answer hangs on it."""

    def __init__(self, status_code: int, headers: object = None) -> None:
        super().__init__(status_code)
        self.response = SimpleNamespace(status_code=status_code, headers=headers)


class AiohttpError(Exception):
    """What aiohttp raises for a status: it carries the status and the headers itself."""

    def __init__(self, status: object, headers: object = None) -> None:
        super().__init__(status)
        self.status = status
        self.headers = headers


@pytest.mark.parametrize("headers", [{"Retry-After": "7"}, {"retry-after": " 7 "}, {b"RETRY-AFTER": b"7"}])
def test_seconds_are_read_in_any_case(headers: object) -> None:
    """The header's name has no case, and clients give text or bytes."""
    assert http.retry_after(StatusError(503, headers)) == 7.0


def test_headers_of_the_exception_itself_are_read() -> None:
    """The exception of aiohttp carries the headers."""
    assert http.retry_after(AiohttpError(503, {"Retry-After": "1.5"})) == 1.5


def test_the_first_of_several_values_counts() -> None:
    """A header that comes twice is read once."""
    headers = SimpleNamespace(items=lambda: [("Retry-After", "3"), ("retry-after", "9")])
    assert http.retry_after(StatusError(503, headers)) == 3.0


DATE = "Wed, 21 Oct 2015 07:28:00 GMT"
THIRTY_SECONDS_LATER = "Wed, 21 Oct 2015 07:28:30 GMT"


def test_a_date_is_compared_with_the_servers_own() -> None:
    """The wait is the distance of two dates of the same clock."""
    assert http.retry_after(StatusError(503, {"Retry-After": THIRTY_SECONDS_LATER, "Date": DATE})) == 30.0


def test_a_date_that_has_passed_is_no_wait() -> None:
    """A date before the answer's own is zero, never negative."""
    assert http.retry_after(StatusError(503, {"Retry-After": DATE, "Date": THIRTY_SECONDS_LATER})) == 0.0


@pytest.mark.parametrize(
    "headers",
    [
        None,
        {},
        "no mapping",
        {"Retry-After": THIRTY_SECONDS_LATER},
        {"Retry-After": THIRTY_SECONDS_LATER, "Date": "yesterday"},
        {"Retry-After": "soon", "Date": DATE},
        {"Retry-After": "-5"},
        {"Retry-After": "nan"},
        {"Retry-After": "inf"},
        {"Retry-After": "9" * 400},
    ],
)
def test_nonsense_is_no_wait(headers: object) -> None:
    """A missing or senseless header, or a date without the server's clock, says nothing."""
    assert http.retry_after(StatusError(503, headers)) is None


def test_an_exception_without_an_answer_has_no_wait() -> None:
    """A connection error carries no headers."""
    assert http.retry_after(ConnectionError()) is None


def wait(status: int, **headers: str) -> float | None:
    """What is read; an underscore in a name stands for a dash. The answer is of DATE, which is 1445412480."""
    return http.retry_after(StatusError(status, {"Date": DATE} | {name.replace("_", "-"): value for name, value in headers.items()}))


@pytest.mark.parametrize(
    ("header", "value", "seconds"),
    [
        ("retry-after-ms", "250", 0.25),
        ("x-ms-retry-after-ms", "1500", 1.5),
        ("x-amz-retry-after", "3000", 3.0),
        ("RateLimit", '"default";r=0;t=30', 30.0),
        ("RateLimit", '"burst";r=5;t=9, "daily";r=0;t=600', 600.0),
        ("RateLimit", '"a;r=9";r=0;t=30', 30.0),
        ("RateLimit", r'"a\";r=9, t=5";r=0;t=30, "b";r=7;t=2', 30.0),
        ("RateLimit", "limit=100, remaining=0, reset=45", 45.0),
        ("RateLimit-Reset", "12", 12.0),
        ("X-RateLimit-Reset", "12.5", 12.5),
        ("X-RateLimit-Reset", "1445412540", 60.0),
        ("X-RateLimit-Reset", "1445412540000", 60.0),
        ("X-Rate-Limit-Reset", "1445412540", 60.0),
        ("X-RateLimit-Reset-After", "1.25", 1.25),
        ("x-ratelimit-reset-requests", "1m30s", 90.0),
        ("x-ratelimit-reset-requests", "6m0s", 360.0),
        ("x-ratelimit-reset-tokens", "250ms", 0.25),
        ("x-ratelimit-reset-tokens", "7.66s", 7.66),
        ("x-ratelimit-reset-tokens", "1h0m1s", 3601.0),
        ("x-ratelimit-reset-tokens", "2d", 172800.0),
        ("anthropic-ratelimit-tokens-reset", "2015-10-21T07:28:40Z", 40.0),
        ("X-RateLimit-Reset", THIRTY_SECONDS_LATER, 30.0),
        ("X-RateLimit-Reset", "1445412400", 0.0),
    ],
)
def test_each_header_has_its_own_unit(header: str, value: str, seconds: float) -> None:
    """Milliseconds, seconds, durations, instants: on a 429 each is a wait in seconds."""
    assert wait(429, **{header: value}) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value", ["-5", "nan", "inf", "soon", "", "1e9", "9" * 15, "9" * 400, "2678401", "m", "5 minutes", "99999999999999", "9999-99-99"]
)
@pytest.mark.parametrize("header", ["retry-after-ms", "Retry-After", "RateLimit-Reset", "X-RateLimit-Reset", "x-ratelimit-reset-tokens"])
def test_what_makes_no_sense_is_no_wait(header: str, value: str) -> None:
    """Negative, not a number, or longer than any quota's month (2678400 s, in each header's unit)."""
    if header == "retry-after-ms" and value == "2678401":
        value += "000"
    assert wait(429, **{header: value}) is None


def test_an_instant_without_the_servers_clock_tells_nothing() -> None:
    """No clock is read here."""
    assert http.retry_after(StatusError(429, {"X-RateLimit-Reset": "1445412540"})) is None


@pytest.mark.parametrize(
    ("status", "remaining", "seconds"), [(503, "0", 12.0), (503, "3", None), (503, None, None), (429, "3", 12.0), (429, None, 12.0)]
)
def test_a_reset_matters_only_where_the_limit_is_used_up(status: int, remaining: str | None, seconds: float | None) -> None:
    """Good answers carry it, too: a 503 of a server whose limit is far says nothing of when it is well again."""
    headers = {"X-RateLimit-Reset": "12"} | ({} if remaining is None else {"X-RateLimit-Remaining": remaining})
    assert wait(status, **headers) == seconds


def test_of_several_limits_those_that_are_used_up_count() -> None:
    """Requests are left, tokens are not: the tokens' reset is the wait, and the longest of several."""
    limits = {"x-ratelimit-remaining-requests": "9", "x-ratelimit-reset-requests": "1m0s"}
    limits |= {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "3s"}
    assert wait(429, **limits) == 3.0
    assert wait(429, **(limits | {"x-ratelimit-remaining-requests": "0"})) == 60.0


def test_a_429_with_something_left_waits_for_the_first_limit() -> None:
    """The request was too dear for what is left of one of them, nobody says of which."""
    assert wait(429, RateLimit='"burst";r=2;t=9, "daily";r=70;t=600') == 9.0


def test_discords_wait_stands_beside_what_remains() -> None:
    """`reset-after` has its `remaining` without the word."""
    assert wait(503, X_RateLimit_Remaining="0", X_RateLimit_Reset_After="2.5") == 2.5
    assert wait(503, X_RateLimit_Remaining="1", X_RateLimit_Reset_After="2.5") is None


def test_retry_after_comes_before_the_limits_and_milliseconds_before_it() -> None:
    """The server's own word for this answer, at its finest."""
    assert wait(429, Retry_After="7", X_RateLimit_Reset="99") == 7.0
    assert wait(429, Retry_After="7", retry_after_ms="6500") == 6.5
    assert wait(429, Retry_After="7", retry_after_ms="soon") == 7.0


@pytest.mark.parametrize("nonsense", ["soon", "-5", "2678401", "Mon, 99 Foo", ""])
def test_a_retry_after_that_says_nothing_does_not_hide_the_limits(nonsense: str) -> None:
    """The first header that can be believed counts, not the first that is there: otherwise the service is asked far too soon."""
    assert wait(429, Retry_After=nonsense, x_ratelimit_remaining_requests="0", x_ratelimit_reset_requests="6m0s") == 360.0


def test_a_date_without_the_servers_clock_does_not_hide_the_limits() -> None:
    """Retry-After is an instant that cannot be compared, and the reset beside it a number of seconds."""
    headers = {"Retry-After": THIRTY_SECONDS_LATER, "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "30"}
    assert http.retry_after(StatusError(429, headers)) == 30.0


def test_milliseconds_that_cannot_be_do_not_hide_the_seconds() -> None:
    """A proxy that writes an instant into `retry-after-ms` says nothing; `Retry-After` beside it does."""
    assert wait(429, retry_after_ms="1445412480000", Retry_After="3") == 3.0
    assert wait(429, retry_after_ms="1445412480000", x_ms_retry_after_ms="1500") == 1.5
