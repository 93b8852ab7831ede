"""Which exceptions of an HTTP client are the dependency's failures.

With a status the status decides, whatever the class. Without one, the class: every client has its own names for "no answer".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import cast

from holdgate import network
from holdgate.http.answers import headers_of, status_of
from holdgate.network import ANY_MODULE, Names, attribute, known_as

# The server is there and says "not now": it gave up waiting for us, or it has had too much. Every other 4xx is the request's own fault.
_NOT_NOW = frozenset({408, 429})
_SERVER_ERRORS = 500
_FORBIDDEN = 403

# What a client raises about the request itself (a bad URL, too many redirects, a body that is no JSON) is not here.
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
    "curl_cffi": {"ConnectionError", "Timeout", "IncompleteRead", "HTTPError"},
    "tornado": {"HTTPTimeoutError", "HTTPStreamClosedError"},
    "azure": {"ServiceRequestError", "ServiceResponseError", "IncompleteReadError"},
    "google": {"RetryError", "TransportError"},
    # Unmistakable in any SDK: openai, anthropic and those made by the same generator, stripe.
    ANY_MODULE: {"APIConnectionError", "APITimeoutError"},
}

# A server that talks nonsense gave no answer. aiohttp's parser puts a status of its own on these, 400, that no server sent.
_NONSENSE: Names = {"aiohttp": {"HttpProcessingError"}}

# What OpenAI's and Anthropic's servers say in the middle of a streamed answer when they mean 429, 500, 503, 504 or 529.
_STREAMED = frozenset({"overloaded_error", "api_error", "rate_limit_error", "timeout_error", "server_error", "rate_limit_exceeded"})

# libcurl's numbers (https://curl.se/libcurl/c/libcurl-errors.html): could not resolve (5, 6) or connect (7), no HTTP (8), HTTP/2 broke
# (16, 92), cut short (18), timed out (28), TLS (35, 60), nothing came (52), could not send (55) or receive (56), HTTP/3 (95, 96), a
# proxy (97). Not here: an unknown protocol (1), a bad URL (3), too many redirects (47).
_CURL_NO_ANSWER = frozenset({5, 6, 7, 8, 16, 18, 28, 35, 52, 55, 56, 60, 92, 95, 96, 97})
# CURLE_UNSUPPORTED_PROTOCOL is a bad URL's, and a server's that does not speak HTTP.
_CURL_NONSENSE = (1, "HTTP/0.9")
# CURLE_HTTP_RETURNED_ERROR, of FAILONERROR: the status is in the text alone.
_CURL_STATUS = 22
_LAST_NUMBER = re.compile(r"(\d{3})\D*$")
# urllib3's own words for an answer that it was told to retry: "too many 503 error responses", "too many redirects".
_TOO_MANY = re.compile(r"too many (?:(\d{3}) )?error responses")
_RETRIED_STATUS = "ResponseError"


def failures(error: BaseException) -> bool:
    """Whether an HTTP client's exception is the dependency's failure: 408, 429, 5xx, or no answer at all (connection errors, timeouts).

    With a status the status alone decides, so a 422 is the message's own. A 403 that says how long to wait, or that a limit is used up, is
    a 429 by another name (GitHub's API). An OSError that is no network's is not a failure.
    """
    if _is_nonsense(type(error)):
        return True
    status = status_of(error)
    if status is not None:
        return is_not_now(status) or (status == _FORBIDDEN and _is_limit(error))
    if network.failures(error):
        return True
    return _is_by(error) if _is_no_answer(type(error)) else _is_in_stream(error)


def is_not_now(status: int) -> bool:
    """Whether a status says that the server cannot now: 408, 429, 5xx."""
    return status >= _SERVER_ERRORS or status in _NOT_NOW


_is_nonsense = known_as(_NONSENSE)
_is_no_answer = known_as(_NO_ANSWER)


def _is_limit(error: BaseException) -> bool:
    headers = headers_of(error)
    return "retry-after" in headers or headers.get("x-ratelimit-remaining", "").strip() == "0"


def _is_in_stream(error: BaseException) -> bool:
    """An answer that began with 200 and says in its stream of events that the server cannot go on; the SDKs keep the event in `body`."""
    body = attribute(error, "body")
    while isinstance(body, Mapping):
        event = cast("Mapping[str, object]", body)
        if event.get("type") in _STREAMED:
            return True
        body = event.get("error")
    return False


def _is_by(error: BaseException) -> bool:
    """What an exception says that a client uses for more than one thing."""
    judge = _JUDGES.get((type(error).__module__.partition(".")[0], type(error).__name__))
    return judge is None or judge(error)


def _is_curl(error: BaseException) -> bool:
    number, text = (*error.args, None, None)[:2]
    if number == _CURL_STATUS:
        said = _LAST_NUMBER.search(str(text))
        return said is not None and is_not_now(int(said[1]))
    return number in _CURL_NO_ANSWER or (number == _CURL_NONSENSE[0] and _CURL_NONSENSE[1] in str(text))


def _is_reason(error: BaseException) -> bool:
    """`URLError` and `MaxRetryError` wrap whatever went wrong; a URL that cannot be is among it, and redirects without end."""
    reason = attribute(error, "reason")
    if reason is None:
        return True
    if type(reason).__name__ == _RETRIED_STATUS:
        said = _TOO_MANY.search(str(reason))
        return said is not None and (said[1] is None or is_not_now(int(said[1])))
    return isinstance(reason, BaseException) and failures(reason)


_JUDGES: Mapping[tuple[str, str], Callable[[BaseException], bool]] = {
    ("pycurl", "error"): _is_curl,
    ("urllib", "URLError"): _is_reason,
    # Its status was looked at before: what is left is a redirect that leads nowhere.
    ("urllib", "HTTPError"): lambda _: False,
    ("urllib3", "MaxRetryError"): _is_reason,
    ("urllib3_future", "MaxRetryError"): _is_reason,
}
