"""Which exceptions of an HTTP client are the dependency's failures, and when its server wants to be asked again.

It imports no client. An exception is read by what it carries (`exc.response.status_code`, `exc.response.status`, `exc.status`) and, where
there was no answer, by its class: httpx, aiohttp, requests and urllib3 are known by the names of their modules and classes.
"""

from __future__ import annotations

import errno
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# The server is there and says "not now": it gave up waiting for us, or it has had too much. Every other 4xx is the request's own fault.
_NOT_NOW = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})

# Classes that mean "no answer", by the first part of their module's name. A subclass is found by its ancestors. What a client raises
# about the request itself (a bad URL, too many redirects, a body that is no JSON) is not here.
_NO_ANSWER = {
    "httpx": frozenset({"TimeoutException", "NetworkError", "RemoteProtocolError", "ProxyError"}),
    "httpcore": frozenset({"TimeoutException", "NetworkError", "RemoteProtocolError", "ProxyError"}),
    "aiohttp": frozenset({"ClientConnectionError", "ClientPayloadError"}),
    "requests": frozenset({"ConnectionError", "Timeout", "ChunkedEncodingError", "RetryError"}),
    "urllib3": frozenset({"TimeoutError", "MaxRetryError", "NewConnectionError", "ProtocolError", "ProxyError", "SSLError"}),
    "urllib": frozenset({"URLError"}),
    "http": frozenset({"BadStatusLine", "IncompleteRead"}),
    "socket": frozenset({"gaierror", "herror"}),
    "ssl": frozenset({"SSLError"}),
}

# What the operating system says of a network. An OSError of a file, a full disk or a permission is no failure of the dependency.
_NETWORK_ERRORS = frozenset(
    {
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ENETRESET,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ETIMEDOUT,
        errno.EADDRNOTAVAIL,
        errno.ENOTCONN,
    }
)

# RFC 9110, 10.2.3: delay-seconds are digits. A decimal fraction is not allowed there, but servers send it.
_SECONDS = re.compile(r"[0-9]{1,15}(\.[0-9]+)?")


def failures(error: BaseException) -> bool:
    """Whether an HTTP client's exception is the dependency's failure: 408, 429, 5xx, or no answer at all (connection errors, timeouts).

    With a status the status alone decides, so a 422 is the message's own. An OSError that is no network's is not a failure.
    """
    status = _status(error)
    if status is not None:
        return status in _NOT_NOW or status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return isinstance(error, ConnectionError | TimeoutError) or _is_network_error(error) or _is_no_answer(error)


def retry_after(error: BaseException) -> float | None:
    """The seconds after which the server wants to be asked again, from the Retry-After header of the answer; None when it does not say.

    Both forms are read. A date is compared with the answer's own Date header, the server's clock with itself: this machine's clock may be
    wrong, and no clock is read here. Without a Date header a date tells nothing (None). A date that has passed is 0.0.
    """
    headers = _headers(error)
    wanted = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(wanted):
        return float(wanted)
    then, sent = _timestamp(wanted), _timestamp(headers.get("date", ""))
    return None if then is None or sent is None else max(0.0, then - sent)


def _status(error: BaseException) -> int | None:
    response = getattr(error, "response", None)
    for holder, name in ((response, "status_code"), (response, "status"), (error, "status")):
        # Not `if response`: a requests.Response with an error status is false.
        status = getattr(holder, name, None)
        if isinstance(status, int) and HTTPStatus.CONTINUE <= status < 600:  # noqa: PLR2004 - past the last class of status codes
            return status
    return None


def _is_network_error(error: BaseException) -> bool:
    if not isinstance(error, OSError):
        return False
    # asyncio gives a bare OSError without a number when every address of a host refused.
    return error.errno in _NETWORK_ERRORS or (type(error) is OSError and error.errno is None)


def _is_no_answer(error: BaseException) -> bool:
    return any(ancestor.__name__ in _NO_ANSWER.get(ancestor.__module__.partition(".")[0], ()) for ancestor in type(error).__mro__)


def _headers(error: BaseException) -> dict[str, str]:
    """The answer's headers by lower-case name; a mapping of any client's, or none. The first of several values counts."""
    headers = getattr(getattr(error, "response", None), "headers", None)
    if headers is None:
        headers = getattr(error, "headers", None)
    found: dict[str, str] = {}
    for name, value in _items(headers):
        found.setdefault(_text(name).lower(), _text(value))
    return found


def _items(headers: Any) -> Iterator[tuple[Any, Any]]:
    items = getattr(headers, "items", None)
    if callable(items):
        yield from cast("Iterable[tuple[Any, Any]]", items())


def _text(value: object) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _timestamp(date: str) -> float | None:
    # Twelve milliseconds to import, and a process that meets a date has an HTTP client, which has imported it already.
    from email.utils import parsedate_to_datetime  # noqa: PLC0415

    try:
        return parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError):
        return None
