"""The exceptions that an exception stands for: its causes, the members of a group, and what was being handled when it was raised.

A client wraps what went wrong (`raise ApiError(...) from error`), a task group bundles it, and Python keeps what was being handled when
something else was raised. `chain_of` sorts them into two lists, named after Python's explicit and implicit chaining. The second is the
weaker evidence:

- `explicit`: the exception itself, the causes that it was raised `from`, the members of groups, and exceptions that it carries as an
  argument or in an attribute. Code put them there on purpose.
- `implicit`: what was being handled when one of those was raised (`__context__`), unless `from` has suppressed it. It may be the reason,
  and it may be an accident: `except KeyError: await create(key)` that raises ConnectionError is not a KeyError.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import NamedTuple, TypeGuard, TypeVar, cast

E = TypeVar("E", bound=BaseException)

# Attributes in which clients keep the error, though they may raise `from None`: urllib3 and urllib (reason), google-api-core (cause),
# azure-core (inner_exception), SQLAlchemy (orig).
_CARRIED_AS = ("reason", "cause", "inner_exception", "orig")

# How many exceptions are looked at. A task group of ten thousand failed children would take tens of milliseconds of the event loop's time,
# and nine thousand more would say nothing new.
_MOST = 1000


class Chain(NamedTuple):
    """What one exception stands for. Each exception is in one of the two lists, once, and the nearest come first."""

    explicit: Sequence[BaseException]
    implicit: Sequence[BaseException]


def chain_of(exception: BaseException) -> Chain:
    """Return what an exception stands for, a thousand exceptions at most. `explicit` begins with the exception itself."""
    seen = {id(exception)}
    explicit = [exception]
    _add_explicit(explicit, seen)
    implicit: list[BaseException] = []
    found = _contexts(explicit, seen)
    if not found:
        return Chain(explicit, found)
    while found:
        _add_explicit(found, seen)
        implicit += found
        found = _contexts(found, seen)
    return Chain(explicit, implicit)


def find(exception: BaseException, kinds: type[E] | tuple[type[E], ...]) -> E | None:
    """Return the nearest exception of these types, `exception` itself included and implicit ones last. None means that there is none."""
    explicit, implicit = chain_of(exception)
    return next((link for link in (*explicit, *implicit) if isinstance(link, kinds)), None)


def is_plain(exception: BaseException) -> bool:
    """Return whether it clearly stands for itself alone, as most exceptions do: then its chain need not be made."""
    return (
        exception.__cause__ is None
        and (exception.__context__ is None or exception.__suppress_context__)
        and not exception.__dict__
        and (not exception.args or not _carried(exception))
        and not isinstance(exception, BaseExceptionGroup)
    )


def named(exception: BaseException, name_of: Callable[[type], str] = attrgetter("__name__")) -> str:
    """Return its type and that of its root cause, for a log: `ApiError from ConnectError`, `ExceptionGroup of TimeoutError`."""
    root = _root(exception)
    shown = [exception] if root is exception else [exception, root]
    return " from ".join(_named_alone(each, name_of) for each in shown)


def leaves(exception: BaseException) -> list[BaseException]:
    """Return the members of a group that are not groups themselves, the nearest first. Any other exception is its own leaf.

    As with `chain_of`, a group of very many is not looked through to its end. One that shows no member is its own leaf, too.
    """
    found: list[BaseException] = [exception]
    for each in found:
        if is_group(each) and len(found) < _MOST:
            found.extend(each.exceptions)
    return [each for each in found if not is_group(each)] or [exception]


def is_group(exception: BaseException) -> TypeGuard[BaseExceptionGroup[BaseException]]:
    """Return whether it is an exception group."""
    return isinstance(exception, BaseExceptionGroup)


def _add_explicit(ring: list[BaseException], seen: set[int]) -> None:
    """Append everything that these stand for explicitly and that was not seen before, the nearest first."""
    for exception in ring:  # the list grows while it is read
        more: Sequence[BaseException] = _carried(exception) if exception.args or exception.__dict__ else ()
        cause = exception.__cause__
        if cause is not None:
            more = [*more, cause] if more else [cause]
        if isinstance(exception, BaseExceptionGroup):
            members = cast("BaseExceptionGroup[BaseException]", exception).exceptions
            more = [*more, *members] if more else members
        for each in more:
            if id(each) not in seen and len(seen) < _MOST:
                seen.add(id(each))
                ring.append(each)


def _contexts(ring: Sequence[BaseException], seen: set[int]) -> list[BaseException]:
    found: list[BaseException] = []
    for exception in ring:
        context = exception.__context__
        if context is not None and not exception.__suppress_context__ and id(context) not in seen and len(seen) < _MOST:
            seen.add(id(context))
            found.append(context)
    return found


def _carried(exception: BaseException) -> list[BaseException]:
    """Return the exceptions among its arguments and instance attributes. Properties are not read, because they are other people's code."""
    found: list[BaseException] = []
    for argument in exception.args:  # loops, because a comprehension costs more than one round of either
        if isinstance(argument, BaseException):
            found.append(argument)  # noqa: PERF401 - see above
    own = exception.__dict__
    if own:
        for name in _CARRIED_AS:
            carried = own.get(name)
            if isinstance(carried, BaseException):
                found.append(carried)
    return found


def _named_alone(exception: BaseException, name_of: Callable[[type], str]) -> str:
    name = name_of(type(exception))
    if not is_group(exception):
        return name
    kinds = dict.fromkeys(name_of(type(leaf)) for leaf in leaves(exception))
    return f"{name} of {', '.join(kinds)}"


def _root(exception: BaseException) -> BaseException:
    """Return the last of its causes, or the first group among them."""
    seen = {id(exception)}
    while (cause := exception.__cause__) is not None and id(cause) not in seen and not is_group(exception):
        seen.add(id(cause))
        exception = cause
    return exception
