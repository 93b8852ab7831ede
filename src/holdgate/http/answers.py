"""What the answer on an exception says: its status and its headers, wherever a client keeps them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

from holdgate.network import attribute

# On the answer: httpx, requests, the SDKs built on them | aiohttp's and urllib3's. On the exception itself: SDKs | aiohttp, kubernetes |
# urllib, google-api-core | stripe. grpcio's `code` is a method and SQLAlchemy's a text; neither is taken for a status.
_ON_THE_ANSWER = ("status_code", "status")
_ON_THE_EXCEPTION = ("status_code", "status", "code", "http_status")

# What a server refuses with: 4xx and 5xx. Plain numbers and no HTTPStatus: reading one from the enumeration costs more than the rest.
_FIRST = 400
_LAST = 599


def status_of(error: BaseException) -> int | None:
    """The status with which the server refused (4xx or 5xx); None when there was no answer, or one that is no refusal.

    An answer may begin with 200 and break off: what that means, the exception's class says.
    """
    try:
        return _status(error, getattr)
    except Exception:  # noqa: BLE001 - a property raised: one at a time then, so that it hides no other
        return _status(error, attribute)


def _status(error: BaseException, read: Callable[[object, str, None], object]) -> int | None:
    response = read(error, "response", None)
    # Not `if response`: a requests.Response with an error status is false.
    if response is not None:
        for name in _ON_THE_ANSWER:
            status = read(response, name, None)
            if isinstance(status, int) and _FIRST <= status <= _LAST:
                return status
    for name in _ON_THE_EXCEPTION:
        status = read(error, name, None)
        if isinstance(status, int) and _FIRST <= status <= _LAST:
            return status
    return None


def headers_of(error: BaseException) -> dict[str, str]:
    """The answer's headers by lower-case name; a mapping of any client's, or none. The first of several values counts."""
    headers = attribute(attribute(error, "response"), "headers")
    return by_name(attribute(error, "headers") if headers is None else headers)


def by_name(headers: object) -> dict[str, str]:
    """A mapping of headers by lower-case name. The first of several values counts."""
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
