"""Which exceptions of HTTP clients are failures. With the real clients: tests/clients."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from enum import IntEnum
from types import SimpleNamespace
from urllib.error import ContentTooShortError, HTTPError, URLError

import pytest
import requests
import urllib3

from holdgate import http
from holdgate.http import answers, exceptions


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
        URLError(ConnectionRefusedError()),
        URLError(TimeoutError("timed out")),
        ContentTooShortError("got only 1 out of 9 bytes", b""),
        urllib3.exceptions.MaxRetryError(None, "/", None),  # type: ignore[arg-type]
        urllib3.exceptions.MaxRetryError(None, "/", urllib3.exceptions.ProtocolError("cut off")),  # type: ignore[arg-type]
        urllib3.exceptions.MaxRetryError(None, "/", urllib3.exceptions.ResponseError("too many 503 error responses")),  # type: ignore[arg-type]
        urllib3.exceptions.MaxRetryError(None, "/", urllib3.exceptions.ResponseError("too many error responses")),  # type: ignore[arg-type]
        requests.ConnectionError(),
        requests.ReadTimeout(),
        requests.exceptions.ChunkedEncodingError(),
        urllib3.exceptions.ProtocolError(),
        named("ConnectTimeout", "httpx", type("TimeoutException", (Exception,), {"__module__": "httpx"})),
        named("ReadError", "httpx", type("NetworkError", (Exception,), {"__module__": "httpx"})),
        named("RemoteProtocolError", "httpx"),
        named("ConnectError", "httpx2", type("NetworkError", (Exception,), {"__module__": "httpx2"})),
        named("ConnectTimeout", "niquests.exceptions", type("Timeout", (Exception,), {"__module__": "niquests.exceptions"})),
        named("APITimeoutError", "any_sdk._errors"),
        named(
            "BadStatusLine", "aiohttp.http_exceptions", type("HttpProcessingError", (Exception,), {"__module__": "aiohttp.x", "code": 400})
        ),
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
        URLError("unknown url type: nowhere"),
        URLError(FileNotFoundError(errno.ENOENT, "no file")),
        HTTPError("", 302, "a redirect without end", None, None),  # type: ignore[arg-type]
        urllib3.exceptions.MaxRetryError(None, "/", urllib3.exceptions.ResponseError("too many redirects")),  # type: ignore[arg-type]
        urllib3.exceptions.MaxRetryError(None, "/", urllib3.exceptions.ResponseError("too many 422 error responses")),  # type: ignore[arg-type]
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


class Code(IntEnum):
    """Statuses as google-api-core has them."""

    NOT_FOUND = 404
    SERVICE_UNAVAILABLE = 503


@pytest.mark.parametrize("name", ["status_code", "status", "code", "http_status"])
def test_the_status_may_stand_on_the_exception_itself(name: str) -> None:
    """openai, aiohttp, urllib, google-api-core and stripe have different names for it."""
    down, own = Exception(), Exception()
    setattr(down, name, Code.SERVICE_UNAVAILABLE)
    setattr(own, name, 422)
    assert http.failures(down)
    assert not http.failures(own)


@pytest.mark.parametrize("code", [lambda: 503, "e3q8", 1, 111, 50_003, -1, None])
def test_a_code_that_is_no_status_leaves_it_to_the_class(code: object) -> None:
    """The code of grpcio is a method, SQLAlchemy's a text, errno and a database's numbers are no statuses of a refusal."""
    refused, other = ConnectionRefusedError(), Exception()
    refused.code = other.code = code  # type: ignore[attr-defined]
    assert http.failures(refused)
    assert not http.failures(other)


def test_an_answer_that_broke_off_is_a_failure_though_it_began_with_200() -> None:
    """A good status says nothing of the rest of the answer: the class does."""
    error = requests.ConnectionError(response=SimpleNamespace(status_code=200))  # type: ignore[arg-type]
    assert http.failures(error)


def test_a_property_that_raises_is_no_verdict() -> None:
    """A client such as httpx raises a RuntimeError for a request that was never set; the class decides then."""

    class LostError(ConnectionError):
        @property
        def response(self) -> object:
            raise RuntimeError

    assert http.failures(LostError())


@pytest.mark.parametrize(
    ("headers", "verdict"),
    [({"X-RateLimit-Remaining": "0"}, True), ({"Retry-After": "60"}, True), ({"X-RateLimit-Remaining": "17"}, False), ({}, False)],
)
def test_a_403_for_too_many_requests_is_a_failure(headers: dict[str, str], verdict: bool) -> None:
    """GitHub's API says so instead of 429; any other 403 is the message's own."""
    assert http.failures(StatusError(403, headers)) is verdict


@pytest.mark.parametrize(
    ("args", "verdict"),
    [
        ((7, "Failed to connect"), True),
        ((28, "Operation timed out"), True),
        ((22, "The requested URL returned error: 503"), True),
        ((22, "The requested URL returned error: 422"), False),
        ((22, "no number"), False),
        ((1, "Received HTTP/0.9 when not allowed"), True),
        ((1, "Protocol not supported"), False),
        ((3, "URL using bad/illegal format"), False),
        ((), False),
    ],
)
def test_pycurl_says_it_in_numbers(args: tuple[object, ...], verdict: bool) -> None:
    """One class for everything: libcurl's number tells what it was."""
    error = named("error", "pycurl")
    error.args = args
    assert http.failures(error) is verdict


@pytest.mark.parametrize(
    ("body", "verdict"),
    [
        ({"type": "error", "error": {"type": "overloaded_error"}}, True),
        ({"type": "server_error"}, True),
        ({"type": "error", "error": {"type": "invalid_request_error"}}, False),
        ({"error": "nonsense"}, False),
        ("overloaded_error", False),
    ],
)
def test_a_stream_may_say_that_the_server_cannot_go_on(body: object, verdict: bool) -> None:
    """The answer began with 200; the SDKs keep the event in `body`."""
    error = named("APIError", "openai")
    error.body = body  # type: ignore[attr-defined]
    assert http.failures(error) is verdict


class Plain(Exception):
    """A class that has no answer of its own."""


class LooksUp(Exception):
    """A class that finds its status in a way of its own."""

    def __getattr__(self, name: str) -> object:
        if name == "status_code":
            return 503
        raise AttributeError(name)


def test_what_is_known_of_a_class_is_not_said_of_an_answer() -> None:
    """The verdict on a class is kept, for exceptions on which nobody has set anything."""
    assert not http.failures(Plain())
    assert not http.failures(Plain())
    answered = Plain()
    answered.response = SimpleNamespace(status_code=503)  # type: ignore[attr-defined]
    assert http.failures(answered)
    assert http.status_of(answered) == 503
    assert not http.failures(Plain())


def test_a_class_that_looks_attributes_up_itself_is_asked_each_time() -> None:
    """Nothing is set on its exceptions, and yet they have a status."""
    assert http.status_of(LooksUp()) == 503
    assert http.failures(LooksUp())


def test_the_number_of_an_error_is_looked_at_each_time() -> None:
    """Two OSErrors of one class, on which nothing is set: a full disk, and a network that is down."""
    assert not http.failures(OSError(errno.ENOSPC, "full"))
    assert http.failures(OSError(errno.ENETDOWN, "down"))


def test_classes_that_are_made_as_they_go_do_not_pile_up() -> None:
    """There are clients that do, such as botocore; what is kept of their classes has a bound."""
    for number in range(1500):
        assert not http.failures(named(f"Made{number}", "somewhere"))
    assert len(exceptions._verdicts) <= 512
    assert len(answers._bare) <= 512


class Attempted:
    """The last attempt in tenacity's RetryError: a future that is done."""

    def __init__(self, result: object = None, error: Exception | None = None) -> None:
        self.failed = error is not None
        self._result = result
        self._error = error

    def result(self) -> object:
        if self._error is not None:
            raise self._error
        return self._result


@pytest.mark.parametrize(("status", "verdict"), [(503, True), (429, True), (404, False), (200, False)])
def test_an_answer_that_was_tried_again_for_its_status_decides(status: int, verdict: bool) -> None:
    """With `retry_if_result` tenacity raises without any error of the client: the last answer is all that there is."""
    error = named("RetryError", "tenacity")
    error.last_attempt = Attempted(SimpleNamespace(status_code=status, headers={"Retry-After": "7"}))  # type: ignore[attr-defined]

    assert http.failures(error) is verdict
    assert http.throttled(error) is (status == 429)
    assert http.retry_after(error) == 7


def test_an_attempt_that_failed_is_no_answer() -> None:
    """Its error is the cause, which is judged by itself."""
    error = named("RetryError", "tenacity")
    error.last_attempt = Attempted(error=ValueError())  # type: ignore[attr-defined]

    assert not http.failures(error)
    assert http.status_of(error) is None


@pytest.mark.parametrize(
    ("name", "is_throttled"),
    [
        ("InternalServerError", False),
        ("BadGateway", False),
        ("ServiceUnavailable", False),
        ("GatewayTimeoutError", False),
        ("RateLimitExceeded", True),
        ("TooManyRequests", True),
    ],
)
def test_a_status_may_be_in_the_name_alone(name: str, is_throttled: bool) -> None:
    """Some SDKs, such as hvac, keep no number; where there is one, it decides."""
    numbered = named(name, "some_sdk")
    numbered.status_code = 404  # type: ignore[attr-defined]

    assert http.failures(named(name, "some_sdk"))
    assert http.throttled(named(name, "some_sdk")) is is_throttled
    assert not http.failures(numbered)
    assert not http.throttled(numbered)


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        ("soap:Server", True),
        ("Server", True),
        ("s:Server.Database", True),
        ("{http://www.w3.org/2003/05/soap-envelope}Receiver", True),
        ("soap:Client", False),
        ("env:Sender", False),
        (None, False),
    ],
)
def test_a_soap_fault_says_whose_it_is(code: str | None, verdict: bool) -> None:
    """A client's fault comes with status 500, too, and zeep keeps the code alone."""
    error = named("Fault", "zeep.exceptions")
    error.code = code  # type: ignore[attr-defined]

    assert http.failures(error) is verdict


def test_a_server_that_speaks_no_http_is_a_failure_of_curl_cffi() -> None:
    """It has one class for that and for a bad URL."""
    kind = type("InvalidSchema", (Exception,), {"__module__": "curl_cffi.requests.exceptions"})

    assert http.failures(kind("Failed to perform, curl: (1) Received HTTP/0.9 when not allowed."))
    assert not http.failures(kind("Failed to perform, curl: (1) Protocol nowhere not supported."))
