"""Which exceptions of all the known clients say "not so fast": what a Dependency asks that was given no `throttled` of its own.

Each client is known by its classes, or by what its exceptions carry, so that all can be asked about any exception. That is done for a
failure alone, and only then are these modules imported. An exception that one of them cannot read is none of its clients', whatever the
reading raises: it is a failure all the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from holdgate.http import exceptions, limits
from holdgate.presets import aws, grpc, kafka, mongo, redis, search, sql
from holdgate.told import Told

T = TypeVar("T")

_KNOWN = (exceptions.throttled, aws.throttled, grpc.throttled, sql.throttled, redis.throttled, mongo.throttled, kafka.throttled)


def throttled(answer: object) -> bool:
    """Return whether one of the known clients says so by this exception or response."""
    # Its 429 may be a full disk, which no other client means by one.
    if search.knows(answer):
        return search.throttled(answer)
    return any(_read(known, answer) for known in _KNOWN)


def told(answer: object) -> Told | None:
    """Return what one of the known clients says of the limit by this exception or response. None means nothing."""
    said = (_read(known, answer) for known in (search.told, aws.told, grpc.told, limits.told))
    return next((one for one in said if one is not None), None)


def _read(known: Callable[[object], T], answer: object) -> T | None:
    try:
        return known(answer)
    except Exception:  # noqa: BLE001 - another library's object: its attributes may be anything, and raise anything
        return None
