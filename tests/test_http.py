"""Which exceptions of HTTP clients are failures, and what a server's Retry-After says."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from types import SimpleNamespace

import pytest
import requests
import urllib3

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


def named(name: str, module: str, *ancestors: type[Exception]) -> Exception:
    """An exception of a client that is not installed here."""
    return type(name, ancestors or (Exception,), {"__module__": module})()


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 599])
def test_a_server_that_cannot_now_is_a_failure(status: int) -> None:
    """408, 429 and 5xx are failures, whoever carries the status."""
    assert http.failures(StatusError(status))
    assert http.failures(AiohttpError(status))


@pytest.mark.parametrize("status", [200, 301, 400, 401, 404, 407, 409, 422, 499])
def test_a_bad_request_is_the_messages_own(status: int) -> None:
    """Any other status is not a failure of the dependency."""
    assert not http.failures(StatusError(status))
    assert not http.failures(AiohttpError(status))


def test_the_status_of_the_answer_comes_before_the_class() -> None:
    """A connection error with an answer is judged by the answer."""
    error = ConnectionError()
    error.response = SimpleNamespace(status_code=404)  # type: ignore[attr-defined]
    assert not http.failures(error)


def test_an_answer_may_call_it_status() -> None:
    """`response.status` is read where there is no `status_code`."""
    error = Exception()
    error.response = SimpleNamespace(status=503)  # type: ignore[attr-defined]
    assert http.failures(error)


def test_a_false_answer_of_requests_is_read() -> None:
    """requests.Response is false for an error status; it must not be taken for no answer."""
    response = requests.Response()
    response.status_code = 503
    assert not response
    assert http.failures(requests.HTTPError(response=response))


@pytest.mark.parametrize("status", [0, 42, 600, 999, "503", None, 503.0])
def test_what_is_no_status_is_not_read_as_one(status: object) -> None:
    """A status outside 100 to 599 or of another type says nothing."""
    assert not http.failures(AiohttpError(status))


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(),
        ConnectionResetError(),
        BrokenPipeError(),
        TimeoutError(),
        socket.gaierror(),
        ssl.SSLError(),
        OSError("Multiple exceptions: refused, refused"),
        OSError(errno.ENETUNREACH, "unreachable"),
        requests.ConnectionError(),
        requests.ReadTimeout(),
        requests.exceptions.ChunkedEncodingError(),
        urllib3.exceptions.ProtocolError(),
        named("ConnectTimeout", "httpx", type("TimeoutException", (Exception,), {"__module__": "httpx"})),
        named("ReadError", "httpx", type("NetworkError", (Exception,), {"__module__": "httpx"})),
        named("RemoteProtocolError", "httpx"),
        named(
            "ServerDisconnectedError", "aiohttp.client_exceptions", type("ClientConnectionError", (Exception,), {"__module__": "aiohttp.x"})
        ),
    ],
    ids=repr,
)
def test_no_answer_is_a_failure(error: Exception) -> None:
    """Connection errors and timeouts of Python and of the known clients are failures."""
    assert http.failures(error)


@pytest.mark.parametrize(
    "error",
    [
        ValueError(),
        FileNotFoundError(errno.ENOENT, "no file"),
        PermissionError(errno.EACCES, "denied"),
        OSError(errno.ENOSPC, "disk full"),
        requests.exceptions.InvalidURL(),
        requests.exceptions.JSONDecodeError("no json", "", 0),
        named("UnsupportedProtocol", "httpx"),
        named("InvalidURL", "aiohttp"),
        named("NetworkError", "elsewhere"),
        asyncio.CancelledError(),
    ],
    ids=repr,
)
def test_the_rest_is_no_failure(error: BaseException) -> None:
    """Files, disks, bad URLs, bad bodies and other libraries' names are not the dependency's."""
    assert not http.failures(error)


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
