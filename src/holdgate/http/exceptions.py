"""Which exceptions of an HTTP client are the dependency's failures, and which of these say that it has too many calls for now.

If there is a status, it decides. Otherwise the class does: every client has names of its own for "no answer".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import cast

from holdgate import network
from holdgate.http.answers import ANYWHERE, has_no_answer, headers_of, status_of
from holdgate.http.waits import wait_of
from holdgate.network import ANY_MODULE, Names, attribute, known_as
from holdgate.signs import recognised_by
from holdgate.slips import passed_uncalled

# The server is there and means "not now": it gave up waiting for us, or it has too many requests. Every other 4xx is the request's fault.
_TOO_MANY_REQUESTS = 429
_NOT_NOW = frozenset({408, _TOO_MANY_REQUESTS})
_SERVER_ERRORS = 500
_FORBIDDEN = 403
_UNAVAILABLE = 503

# 429 by name.
_TOO_MANY_NAMES = frozenset({"TooManyRequests", "TooManyRequestsError", "RateLimitError", "RateLimitExceeded"})

# What a client raises about the request itself (a bad URL, too many redirects, a body that is not JSON) is missing on purpose.
_HTTPX = frozenset({"TimeoutException", "NetworkError", "RemoteProtocolError", "ProxyError"})
_REQUESTS = frozenset({"ConnectionError", "Timeout", "ChunkedEncodingError", "RetryError"})
_URLLIB3 = frozenset({"TimeoutError", "MaxRetryError", "NewConnectionError", "ProtocolError", "ProxyError", "SSLError", "EmptyPoolError"})
_NO_ANSWER: Names = {
    "httpx": _HTTPX,
    "httpx2": _HTTPX,
    "httpcore": _HTTPX,
    "httpcore2": _HTTPX,
    "aiohttp": {"ClientConnectionError", "ClientPayloadError"},
    "requests": _REQUESTS,
    "niquests": _REQUESTS | {"MultiplexingError"},
    "urllib3": _URLLIB3,
    "urllib3_future": _URLLIB3,
    "urllib": {"URLError"},
    "http": {"BadStatusLine", "IncompleteRead", "LineTooLong", "UnknownProtocol"},
    "pycurl": {"error"},
    "curl_cffi": {"ConnectionError", "Timeout", "IncompleteRead", "HTTPError", "InvalidSchema"},
    "tornado": {"HTTPTimeoutError", "HTTPStreamClosedError"},
    "azure": {"ServiceRequestError", "ServiceResponseError", "IncompleteReadError"},
    "google": {"RetryError", "TransportError"},
    "zeep": {"Fault"},
    # Vault is sealed, or a node that stands by.
    "hvac": {"VaultDown"},
    # Unmistakable in any SDK: openai, anthropic and those made by the same generator, stripe; and the names of statuses, with those that
    # keep no number (hvac).
    ANY_MODULE: {
        *("APIConnectionError", "APITimeoutError"),
        *("InternalServerError", "BadGateway", "BadGatewayError", "ServiceUnavailable", "ServiceUnavailableError"),
        *("GatewayTimeout", "GatewayTimeoutError"),
        *_TOO_MANY_NAMES,
    },
}

# A server that sends no valid HTTP gave no answer. aiohttp's parser puts a status of its own on these, 400, which no server has sent.
_NONSENSE: Names = {"aiohttp": {"HttpProcessingError"}}

_is_nonsense = known_as(_NONSENSE)
_is_no_answer = known_as(_NO_ANSWER)
_is_too_many = known_as({ANY_MODULE: _TOO_MANY_NAMES})

# Verdicts on classes, as many as network.py keeps. In an outage each failure brings the same few along, groups and wrappers among them.
_KEPT = 512
_verdicts: dict[type[BaseException], bool] = {}

# The types of error events that OpenAI's and Anthropic's servers send in a streamed answer where they mean 429, 500, 503, 504 or 529.
_STREAMED_429 = frozenset({"rate_limit_error", "rate_limit_exceeded"})
_STREAMED = _STREAMED_429 | {"overloaded_error", "api_error", "timeout_error", "server_error"}

# libcurl's numbers (https://curl.se/libcurl/c/libcurl-errors.html): could not resolve (5, 6) or connect (7), no HTTP (8), HTTP/2 broke
# (16, 92), cut short (18), timed out (28), TLS (35, 60), nothing came (52), could not send (55) or receive (56), HTTP/3 (95, 96), a
# proxy (97). Not here: an unknown protocol (1), a bad URL (3), too many redirects (47).
_CURL_NO_ANSWER = frozenset({5, 6, 7, 8, 16, 18, 28, 35, 52, 55, 56, 60, 92, 95, 96, 97})
# CURLE_UNSUPPORTED_PROTOCOL means a bad URL, or, with this text, a server that does not speak HTTP.
_CURL_NONSENSE = (1, "HTTP/0.9")
# CURLE_HTTP_RETURNED_ERROR, raised with FAILONERROR: the status is in the text alone.
_CURL_STATUS = 22
_LAST_NUMBER = re.compile(r"(\d{3})\D*$")
# urllib3's texts for an answer that it was configured to retry: "too many 503 error responses", "too many redirects".
_TOO_MANY = re.compile(r"too many (?:(\d{3}) )?error responses")
_RETRIED_STATUS = "ResponseError"
# A fault's code has a prefix, or a namespace in braces.
_SOAP_CODE = re.compile("[:}]")


@passed_uncalled("failures=http.failures")
def failures(error: BaseException) -> bool:
    """Return whether an exception is the dependency's failure: 408, 429, 5xx, or no answer at all (connection errors, timeouts).

    If there is a status, it alone decides, so a 422 is the message's own. A 403 with a time to wait, or with a limit that is used up,
    counts as a 429 (GitHub's API). An OSError that is not about the network is not a failure. What `throttled` matches is here as well,
    because it is not the message's own; a Dependency asks `throttled` besides.
    """
    verdict = None if error.__dict__ else _verdicts.get(type(error))
    if verdict is None:
        verdict = _is_failure(error)
        _keep_verdict(error, verdict)
    return verdict


def _keep_verdict(error: BaseException, verdict: bool) -> None:
    """Keep the verdict on an exception that nothing but its class has told: no answer, no error number, no text that was looked at."""
    if has_no_answer(error) and not isinstance(error, OSError) and not _is_no_answer(type(error)):
        if len(_verdicts) >= _KEPT:
            _verdicts.clear()
        _verdicts[type(error)] = verdict


def _is_failure(error: BaseException) -> bool:
    if _is_nonsense(type(error)):
        return True
    status = status_of(error)
    if status is not None:
        return is_not_now(status) or (status == _FORBIDDEN and _is_limit(error))
    if network.failures(error):
        return True
    return _is_by(error) if _is_no_answer(type(error)) else _is_in_stream(error, _STREAMED)


@recognised_by(*ANYWHERE, classes=[_is_no_answer])
@passed_uncalled("throttled=http.throttled")
def throttled(answer: object) -> bool:
    """Return whether a server says "not so fast": 429, or a 403 with a time to wait or with a limit that is used up.

    `answer` is a client's exception, or its response. A Dependency without `throttled` asks this by itself.
    """
    status = status_of(answer)
    if status is not None:
        return status == _TOO_MANY_REQUESTS or (status == _FORBIDDEN and _is_limit(answer))
    if not isinstance(answer, BaseException):
        return False
    return _status_in_text(answer) == _TOO_MANY_REQUESTS or _is_too_many(type(answer)) or _is_in_stream(answer, _STREAMED_429)


@passed_uncalled("throttled=http.asks_to_wait")
def asks_to_wait(answer: object) -> bool:
    """Return whether a server is `throttled`, or says 503 together with a time to wait (Retry-After).

    For services that shed load so, as gateways and cloud storages do. Of others a 503 with Retry-After is an outage with a known end, for
    which a circuit is the better answer.
    """
    if throttled(answer):
        return True
    headers = headers_of(answer)
    return bool(headers) and status_of(answer) == _UNAVAILABLE and wait_of(headers, _UNAVAILABLE) is not None


def is_not_now(status: int) -> bool:
    """Return whether a status means that the server cannot answer now: 408, 429, 5xx."""
    return status >= _SERVER_ERRORS or status in _NOT_NOW


def _is_limit(answer: object) -> bool:
    headers = headers_of(answer)
    return "retry-after" in headers or headers.get("x-ratelimit-remaining", "").strip() == "0"


def _is_in_stream(error: BaseException, types: frozenset[str]) -> bool:
    """Return whether an answer that began with 200 has an event of such an error in its stream. The SDKs keep the event in `body`."""
    body = None if has_no_answer(error) else attribute(error, "body")
    while isinstance(body, Mapping):
        event = cast("Mapping[str, object]", body)
        if event.get("type") in types:
            return True
        body = event.get("error")
    return False


def _is_by(error: BaseException) -> bool:
    """Return whether an exception that a client raises for several reasons is a failure this time."""
    judge = _JUDGES.get((type(error).__module__.partition(".")[0], type(error).__name__))
    return judge is None or judge(error)


def _status_in_text(error: BaseException) -> int | None:
    """Return the status that only the text of an exception has: libcurl's, and of urllib3 what it was told to try again."""
    if not _is_no_answer(type(error)):
        return None
    said = None
    if error.args[:1] == (_CURL_STATUS,):
        said = _LAST_NUMBER.search(str(error.args[-1]))
    elif type(reason := attribute(error, "reason")).__name__ == _RETRIED_STATUS:
        said = _TOO_MANY.search(str(reason))
    return None if said is None or said[1] is None else int(said[1])


def _is_curl(error: BaseException) -> bool:
    number, text = (*error.args, None, None)[:2]
    if number == _CURL_STATUS:
        status = _status_in_text(error)
        return status is not None and is_not_now(status)
    return number in _CURL_NO_ANSWER or (number == _CURL_NONSENSE[0] and _CURL_NONSENSE[1] in str(text))


def _is_servers_fault(error: BaseException) -> bool:
    """Return whether a SOAP fault is one of the server's (SOAP 1.1, 4.4.1) or receiver's (1.2): `soap:Server`, `s:Server.Database`."""
    code = attribute(error, "code")
    return isinstance(code, str) and _SOAP_CODE.split(code)[-1].partition(".")[0] in {"Server", "Receiver"}


def _is_reason(error: BaseException) -> bool:
    """Return whether the reason is a failure. `URLError` and `MaxRetryError` also wrap bad URLs and endless redirects."""
    reason = attribute(error, "reason")
    if reason is None:
        return True
    if type(reason).__name__ == _RETRIED_STATUS:
        said = _TOO_MANY.search(str(reason))
        return said is not None and (said[1] is None or is_not_now(int(said[1])))
    return isinstance(reason, BaseException) and failures(reason)


_JUDGES: Mapping[tuple[str, str], Callable[[BaseException], bool]] = {
    # A bad URL, or a server that does not speak HTTP.
    ("curl_cffi", "InvalidSchema"): lambda error: _CURL_NONSENSE[1] in str(error),
    ("zeep", "Fault"): _is_servers_fault,
    ("pycurl", "error"): _is_curl,
    ("urllib", "URLError"): _is_reason,
    # Its status was checked before, so this is a redirect that leads nowhere.
    ("urllib", "HTTPError"): lambda _: False,
    ("urllib3", "MaxRetryError"): _is_reason,
    ("urllib3_future", "MaxRetryError"): _is_reason,
}
