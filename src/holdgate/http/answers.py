"""The answer that an exception carries, or that is a client's response itself: its status and headers, wherever a client keeps them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

from holdgate.network import attribute

# Attributes of the answer: httpx, requests and the SDKs built on them | aiohttp and urllib3. Attributes of the exception itself: SDKs |
# aiohttp, kubernetes | urllib, google-api-core | stripe. grpcio's `code` is a method and SQLAlchemy's a str; neither is taken for a status.
_ON_THE_ANSWER = ("status_code", "status")
_ON_THE_EXCEPTION = ("status_code", "status", "code", "http_status")

# The statuses of refusals, 4xx and 5xx. Plain numbers, because to read one from the HTTPStatus enumeration costs more than the rest.
_FIRST = 400
_LAST = 599

# tenacity's, which holds the last attempt.
_GAVE_UP = "RetryError"
_LAST_ATTEMPT = "last_attempt"

# Where an exception may have an answer or a part of it. `body` is for exceptions.py.
ANYWHERE = ("response", "body", *_ON_THE_EXCEPTION, _LAST_ATTEMPT)

# How many verdicts on classes are kept, as in network.py.
_KEPT = 512
_bare: dict[type[BaseException], bool] = {}


def has_no_answer(error: BaseException) -> bool:
    """Return whether it can have no answer: nothing was set on it, and its class has none of these names.

    Most failures are of such a class, and to miss five attributes of each takes longer than all the rest.
    """
    if error.__dict__:
        return False
    cls = type(error)
    is_bare = _bare.get(cls)
    if is_bare is None:
        if len(_bare) >= _KEPT:
            _bare.clear()
        # A class of the user's own may look attributes up in its own way.
        plain = cls.__getattribute__ is BaseException.__getattribute__ and not hasattr(cls, "__getattr__")
        is_bare = _bare[cls] = plain and not any(hasattr(cls, name) for name in ANYWHERE)
    return is_bare


def status_of(error: object) -> int | None:
    """Return the status with which the server refused (4xx or 5xx). None means that there was no answer, or one that is not a refusal.

    An answer may begin with 200 and break off. What that means depends on the exception's class.
    """
    if isinstance(error, BaseException) and has_no_answer(error):
        return None
    try:
        return _status(error, getattr)
    except Exception:  # noqa: BLE001 - a property raised: each is read by itself then, so that it does not hide the others
        return _status(error, attribute)


def _status(error: object, read: Callable[[object, str, None], object]) -> int | None:
    response = read(error, "response", None)
    if response is None and type(error).__name__ == _GAVE_UP:
        response = _last_answer(error)
    # Not `if response`: a requests.Response with an error status is falsy.
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


def _last_answer(error: object) -> object:
    """Return the answer of the last attempt in tenacity's RetryError, if it was tried again because of that answer (`retry_if_result`).

    None means that it is no such error, or that the attempt has failed, and then that is its cause.
    """
    attempt: Any = attribute(error, _LAST_ATTEMPT) if type(error).__module__.partition(".")[0] == "tenacity" else None
    return None if attempt is None or attempt.failed else attempt.result()


def headers_of(error: object) -> dict[str, str]:
    """Return the answer's headers by lower-case name, from the mapping of any client. The first of several values counts."""
    response = attribute(error, "response")
    if response is None and type(error).__name__ == _GAVE_UP:
        response = _last_answer(error)
    headers = attribute(response, "headers")
    return by_name(attribute(error, "headers") if headers is None else headers)


def by_name(headers: object) -> dict[str, str]:
    """Return headers by lower-case name. The first of several values counts."""
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
