"""What an exception says: itself, and the exceptions that it stands for.

A client wraps what went wrong (`raise ApiError(...) from error`), a task group bundles it, and Python notes what was being handled when
something else was raised. Two rings of exceptions, and the second says less:

- `said`: the exception itself, the causes that it was raised `from`, the members of groups, and exceptions that it carries as an
  argument or in an attribute. Somebody put them there on purpose.
- `meanwhile`: what was being handled when one of those was raised (`__context__`), unless `from` said otherwise. It may be the reason,
  and it may be an accident: `except KeyError: await create(key)` that raises ConnectionError is no KeyError.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import NamedTuple, TypeGuard, TypeVar

E = TypeVar("E", bound=BaseException)

# Clients that keep the error in an attribute and may raise `from None`: urllib3 and urllib (reason), google-api-core (cause), azure-core
# (inner_exception), SQLAlchemy (orig).
_CARRIED_AS = ("reason", "cause", "inner_exception", "orig")

# More than this is not looked at: a task group of ten thousand children that all failed would take the event loop's time, tens of
# milliseconds, and what a thousand of them say is said.
_MOST = 1000


class Chain(NamedTuple):
    """The two rings of one exception; each exception is in one of them, once, nearest first."""

    said: Sequence[BaseException]
    meanwhile: Sequence[BaseException]


def chain_of(exception: BaseException) -> Chain:
    """Both rings of an exception; `said` begins with the exception itself. Never more than a thousand exceptions in all."""
    met = {id(exception)}
    said = [exception]
    _complete(said, met)
    meanwhile: list[BaseException] = []
    found = _contexts(said, met)
    while found:
        _complete(found, met)
        meanwhile += found
        found = _contexts(found, met)
    return Chain(said, meanwhile)


def find(exception: BaseException, kinds: type[E] | tuple[type[E], ...]) -> E | None:
    """The nearest of these types that it stands for, itself included; what was only being handled comes last. None: there is none."""
    said, meanwhile = chain_of(exception)
    return next((link for link in (*said, *meanwhile) if isinstance(link, kinds)), None)


def is_plain(exception: BaseException) -> bool:
    """Whether it clearly stands for nothing but itself, as most exceptions do: then its chain need not be made."""
    return (
        exception.__cause__ is None
        and (exception.__context__ is None or exception.__suppress_context__)
        and not exception.__dict__
        and (not exception.args or not _carried(exception))
        and not isinstance(exception, BaseExceptionGroup)
    )


def named(exception: BaseException, name_of: Callable[[type], str] = attrgetter("__name__")) -> str:
    """Its type, and the types of what it stands for, in words for a log: `ApiError from ConnectError`, `ExceptionGroup of TimeoutError`."""
    root = _root(exception)
    told = [exception] if root is exception else [exception, root]
    return " from ".join(_named_alone(each, name_of) for each in told)


def leaves(exception: BaseException) -> list[BaseException]:
    """The members of a group that are no groups themselves, the nearest first; of anything else itself. As many as a chain has."""
    found: list[BaseException] = [exception]
    for each in found:
        if is_group(each) and len(found) < _MOST:
            found.extend(each.exceptions)
    return [each for each in found if not is_group(each)]


def is_group(exception: BaseException) -> TypeGuard[BaseExceptionGroup[BaseException]]:
    """Whether it is an exception group."""
    return isinstance(exception, BaseExceptionGroup)


def _complete(ring: list[BaseException], met: set[int]) -> None:
    """Append all that these stand for on purpose, without what was met before; the nearest come first."""
    for exception in ring:  # it grows meanwhile
        more = _carried(exception) if exception.args or exception.__dict__ else []
        if exception.__cause__ is not None:
            more.append(exception.__cause__)
        if is_group(exception):
            more.extend(exception.exceptions)
        for each in more:
            if id(each) not in met and len(met) < _MOST:
                met.add(id(each))
                ring.append(each)


def _contexts(ring: Sequence[BaseException], met: set[int]) -> list[BaseException]:
    found: list[BaseException] = []
    for exception in ring:
        context = exception.__context__
        if context is not None and not exception.__suppress_context__ and id(context) not in met and len(met) < _MOST:
            met.add(id(context))
            found.append(context)
    return found


def _carried(exception: BaseException) -> list[BaseException]:
    """What it has as an argument, or as an attribute of its own: a property is somebody's code, and not run here."""
    found = [argument for argument in exception.args if isinstance(argument, BaseException)]
    own = exception.__dict__
    if own:
        found += [own[name] for name in _CARRIED_AS if isinstance(own.get(name), BaseException)]
    return found


def _named_alone(exception: BaseException, name_of: Callable[[type], str]) -> str:
    name = name_of(type(exception))
    if not is_group(exception):
        return name
    kinds = dict.fromkeys(name_of(type(leaf)) for leaf in leaves(exception))
    return f"{name} of {', '.join(kinds)}"


def _root(exception: BaseException) -> BaseException:
    """The end of its causes, or a group on the way there."""
    met = {id(exception)}
    while (cause := exception.__cause__) is not None and id(cause) not in met and not is_group(exception):
        met.add(id(cause))
        exception = cause
    return exception
