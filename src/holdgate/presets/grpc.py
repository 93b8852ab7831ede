"""Which exceptions of gRPC clients are the dependency's failures, and the server's push-back: grpcio (plain and `grpc.aio`) and grpclib.

The status code decides, as in HTTP (the codes' meanings: https://grpc.io/docs/guides/status-codes/):

- UNAVAILABLE, DEADLINE_EXCEEDED: not there, out of time. As 503, 504.
- RESOURCE_EXHAUSTED: too much for now, as 429: throttled, unless one message is too large.
- INTERNAL, UNKNOWN, DATA_LOSS: the server broke. As 500; UNKNOWN is what a Python server says when its method raised.
- ABORTED is not: two transactions were in each other's way, the server is well, and tried again the message passes.
- CANCELLED is not: mostly our own side cancelled. A server that is stopped in the middle of a call says UNAVAILABLE or nothing.
- UNAUTHENTICATED and UNIMPLEMENTED are not, as 401 and 404 are not.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from holdgate import network
from holdgate.network import attribute, known_as
from holdgate.signs import recognised_by
from holdgate.slips import passed_uncalled
from holdgate.told import LONGEST, Told, believable

_EXHAUSTED = "RESOURCE_EXHAUSTED"
_CODES = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", _EXHAUSTED, "INTERNAL", "UNKNOWN", "DATA_LOSS"})
# A message above the limit is RESOURCE_EXHAUSTED as well, and no time makes it smaller.
_TOO_LARGE = "larger than max"

# Where there is no code: a channel that did not become ready, a stream that ended early.
_is_no_answer = known_as({"grpc": {"FutureTimeoutError"}, "grpclib": {"StreamTerminatedError", "ProtocolError"}})

# gRPC's proposal A6: milliseconds; negative: do not try again by yourself, which says nothing of when.
_PUSHBACK = "grpc-retry-pushback-ms"


@passed_uncalled("failures=grpc.failures")
def failures(error: BaseException) -> bool:
    """Return whether a gRPC client's exception is the server's failure, by its status code; a message that is too large is its own."""
    code = _code(error)
    if code is None:
        return network.failures(error) or _is_no_answer(type(error))
    return code in _CODES and _TOO_LARGE not in _details(error)


@recognised_by("code", "status")
@passed_uncalled("throttled=grpc.throttled")
def throttled(error: object) -> bool:
    """Return whether a server says "not so fast": RESOURCE_EXHAUSTED, and not because one message is too large.

    A Dependency without `throttled` asks this by itself.
    """
    return _code(error) == _EXHAUSTED and _TOO_LARGE not in _details(error)


@passed_uncalled("told=grpc.told")
def told(error: object) -> Told | None:
    """Return what a client's exception says of a limit: how long its server asks to wait. None means nothing."""
    return believable(Told(_pushback(error)))


@passed_uncalled("retry_after=grpc.retry_after")
def retry_after(error: BaseException) -> float | None:
    """Return the seconds that the server asks to wait, from `grpc-retry-pushback-ms` in its trailing metadata.

    None means that it does not say.
    """
    return _pushback(error)


def _pushback(error: object) -> float | None:
    for name, value in _metadata(error):
        if name == _PUSHBACK and str(value).isdecimal():
            wait = int(value) / 1000
            return wait if wait <= LONGEST else None
    return None


def _code(error: object) -> str | None:
    """Return the code's name. grpcio has a method `code()`, grpclib an attribute `status`; each gives an enumeration of its own."""
    for name in ("code", "status"):
        code = _said(error, name)
        text = attribute(code, "name")
        if isinstance(text, str):
            return text
    return None


def _details(error: object) -> str:
    return str(_said(error, "details") or "")


def _metadata(error: object) -> Iterable[tuple[str, Any]]:
    return cast("Iterable[tuple[str, Any]]", _said(error, "trailing_metadata") or ())


def _said(error: object, name: str) -> object:
    value = attribute(error, name)
    if not callable(value):
        return value
    try:
        return value()
    except Exception:  # noqa: BLE001 - a call that is not over yet has no code; a verdict must not end in another library's error
        return None
