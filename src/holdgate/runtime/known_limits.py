"""Which exceptions of all the known clients say "not so fast": what a Dependency asks that was given no `throttled` of its own.

Each client is known by its classes, or by what its exceptions carry, so that all can be asked about any exception. That is done for a
failure alone. These modules are imported when a run starts. An exception that one of them cannot read is none of its clients', whatever the
reading raises: it is a failure all the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from holdgate.core.causes import chain_of
from holdgate.http import exceptions, limits
from holdgate.presets import aws, grpc, kafka, mongo, redis, search, sql
from holdgate.signs import Shortlist
from holdgate.told import Told, believable

A = TypeVar("A")
T = TypeVar("T")

_KNOWN = (exceptions.throttled, aws.throttled, grpc.throttled, sql.throttled, redis.throttled, mongo.throttled, kafka.throttled)
_shortlist = Shortlist(_KNOWN)


def throttled(answer: object) -> bool:
    """Return whether one of the known clients says so by this exception or response."""
    if _is_bare(answer):
        return isinstance(answer, TimeoutError) and sql.throttled(answer)
    # Its 429 may be a full disk, which no other client means by one.
    if search.knows(answer):
        return search.throttled(answer)
    asked = _read(_shortlist.of, answer) if isinstance(answer, BaseException) else None
    for known in _KNOWN if asked is None else asked:  # noqa: SIM110 - a generator for `any` costs as much as one client's answer
        if _read(known, answer):
            return True
    return False


def told(answer: object) -> Told | None:
    """Return what one of the known clients says of the limit by this exception or response. None means nothing."""
    said = (_read(known, answer) for known in (search.told, aws.told, grpc.told, limits.told))
    return next((one for one in said if one is not None), None)


def _is_bare(answer: object) -> bool:
    """Return whether an exception is one of Python's own, and carries nothing: most of an outage are, and only a pool's timeout is more."""
    return type(answer).__module__ == "builtins" and isinstance(answer, BaseException) and not answer.__dict__


def _read(known: Callable[[A], T], answer: A) -> T | None:
    try:
        return known(answer)
    except Exception:  # noqa: BLE001 - another library's object: its attributes may be anything, and raise anything
        return None


def read_told(answer: object, read: Callable[[object], Told | None] | None, broken: Callable[[Exception], None]) -> Told | None:
    """Return the first that an answer, or what an exception stands for, says of a limit by `read`; None for `read` means `told`.

    What cannot be true is left out. `broken` gets what `read` raises, which then says nothing.
    """
    links: tuple[object, ...] = (answer,)
    if isinstance(answer, BaseException):
        said, meanwhile = chain_of(answer)
        links = (*said, *meanwhile)
    for link in links:
        try:
            found = believable((told if read is None else read)(link))
        except Exception as error:  # noqa: BLE001 - a user's function may raise anything
            broken(error)
            continue
        if found is not None:
            return found
    return None
