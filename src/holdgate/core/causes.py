"""The exceptions that an exception stands for: its causes, the members of a group, and what was being handled when it was raised.

A client wraps what went wrong (`raise ApiError(...) from error`), a task group bundles it, and Python keeps what was being handled when
something else was raised. `chain_of` sorts them into two lists, named after Python's explicit and implicit chaining. The second is the
weaker evidence:

- `explicit`: the exception itself, the causes that it was raised `from`, the members of groups, and exceptions that it carries as an
  argument or in an attribute, alone or in a list, tuple, set or dict. Code put them there on purpose.
- `implicit`: what was being handled when one of those was raised (`__context__`), unless `from` has suppressed it. It may be the reason,
  and it may be an accident: `except KeyError: await create(key)` that raises ConnectionError is not a KeyError.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from itertools import islice
from operator import attrgetter
from typing import Any, NamedTuple, TypeGuard, TypeVar, cast

E = TypeVar("E", bound=BaseException)
T = TypeVar("T")

# Where several errors stand together, as in `raise ChargesFailed("2 of 3", errors)` after `gather(..., return_exceptions=True)`, in
# Elasticsearch's `errors`, and in Cassandra's, which are by host. By exact type, for other people's containers are their code.
_TOGETHER = frozenset({list, tuple, set, frozenset, dict})

# How many exceptions are looked at. A task group of ten thousand failed children would take tens of milliseconds of the event loop's time,
# and nine thousand more would say nothing new.
_MOST = 1000


class Chain(NamedTuple):
    """What one exception stands for. Each exception is in one of the two lists, once, and the nearest come first."""

    explicit: Sequence[BaseException]
    implicit: Sequence[BaseException]


def chain_of(exception: BaseException) -> Chain:
    """Return what an exception stands for, a thousand exceptions at most. `explicit` begins with the exception itself."""
    return reading(_chain_of, exception)


def _chain_of(exception: BaseException) -> Chain:
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
    return reading(_is_plain, exception)


def _is_plain(exception: BaseException) -> bool:
    return (
        exception.__cause__ is None
        and (exception.__context__ is None or exception.__suppress_context__)
        and not isinstance(exception, BaseExceptionGroup)
        and not ((exception.args or exception.__dict__) and _carried(exception))
    )


def named(exception: BaseException, name_of: Callable[[type], str] = attrgetter("__name__")) -> str:
    """Return its type and that of its root cause, for a log: `ApiError from ConnectError`, `ExceptionGroup of TimeoutError`.

    Two of one name are named once: httpx raises its ReadTimeout from httpcore's.
    """
    return " from ".join(dict.fromkeys(_named_alone(each, name_of) for each in (exception, reading(_root, exception))))


# -- what cannot be read ----------------------------------------------------------------------------------------------------------------

# What everything here, Python's traceback and `isinstance` read of an exception, as Python itself has it: no class has a part in it.
# BaseException has a `__getattribute__` of its own up to CPython 3.13, and object's from 3.14 on.
_PYTHONS_OWN: dict[str, Any] = {
    name: vars(BaseException)[name] for name in ("args", "__cause__", "__context__", "__suppress_context__", "__traceback__", "__dict__")
} | {"__class__": property(type), "__getattribute__": BaseException.__getattribute__}
_PYTHONS_OWN_OF_GROUPS = _PYTHONS_OWN | {"exceptions": vars(BaseExceptionGroup)["exceptions"]}


def reading(read: Callable[[BaseException], T], exception: BaseException) -> T:
    """Return what `read` finds out about an exception, whatever its class has made of its attributes.

    If reading raises, the exceptions that raise lose their own reading (`make_readable`), and `read` has a second try. That costs nothing
    where it does not.
    """
    try:
        return read(exception)
    except Exception:  # noqa: BLE001 - a property or a `__getattribute__` is other people's code
        make_readable(exception)
        return read(exception)


def make_readable(exception: BaseException) -> None:
    """Let what an exception stands for be read where its class raises instead: an `args` that is a property, say.

    An error in the reading of an error would end the run, and the next one, because the message comes again. So an exception that raises
    gets a class of the same name between its own and itself, with Python's own attributes. A class that allows no heir stays as it is.
    """
    ahead, seen = [exception], {id(exception)}
    for each in ahead:  # the list grows while it is read
        own = _PYTHONS_OWN_OF_GROUPS if issubclass(type(each), BaseExceptionGroup) else _PYTHONS_OWN
        try:
            for name in own:
                getattr(each, name)
            links = _links(each)
        except Exception:  # noqa: BLE001 - as in `reading`
            _put_between(each, own)
            links = _links(each)
        for link in links:
            if issubclass(type(link), BaseException) and id(link) not in seen and len(seen) < _MOST:
                seen.add(id(link))
                ahead.append(link)


def _links(exception: BaseException) -> list[Any]:
    members = exception.exceptions if is_group(exception) else ()
    return [exception.__cause__, exception.__context__, *_carried(exception), *members]


def _put_between(exception: BaseException, own: dict[str, Any]) -> None:
    """Put a class with these attributes between an exception and its class."""
    kind = type(exception)
    metaclass: Any = type(kind)
    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__, "__slots__": ()}
    with suppress(Exception):
        vars(object)["__class__"].__set__(exception, metaclass(kind.__name__, (kind,), {**names, **own}))


# -- groups -----------------------------------------------------------------------------------------------------------------------------


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
    """Return the exceptions among its arguments and instance attributes, and those in the lists, tuples, sets and dicts among them.

    Clients keep the error in attributes of any name, though they may raise `from None`. Properties are not read, because they are other
    people's code.
    """
    found: list[BaseException] = []
    own = exception.__dict__
    given = () if isinstance(exception, BaseExceptionGroup) else exception.args  # a group has its members there once more
    values: tuple[object, ...] = (*given, *own.values()) if own else given
    for value in values:
        kind = type(value)  # not `isinstance`, which asks a proxy of other people what it is
        if issubclass(kind, BaseException):
            found.append(cast("BaseException", value))
        elif kind in _TOGETHER:
            found += _members(cast("Collection[object]", value))
    return found


def _members(container: Collection[object]) -> list[BaseException]:
    """Return the exceptions in a list, tuple or set, or among the values of a dict. A thousand of its members are looked at."""
    values = cast("dict[object, object]", container).values() if type(container) is dict else container
    return [cast("BaseException", value) for value in islice(values, _MOST) if issubclass(type(value), BaseException)]


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
