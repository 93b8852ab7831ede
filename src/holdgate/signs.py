"""Signs: by what a predicate recognises an exception as one of its client's, so that a predicate is not asked that can only say no.

A Dependency without `throttled` shows each of its failures to every known client (runtime/known_limits.py), and nearly all of them have
nothing to say: an exception of an HTTP client has no SQLSTATE. Which of them may have is settled by the exception's class, by the names of
its attributes and by the class of its first argument. In an outage these are the same for each failure, so what was found out is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import GetSetDescriptorType
from typing import NamedTuple, TypeVar

F = TypeVar("F", bound=Callable[..., object])
Predicate = Callable[[object], bool]

# How many verdicts are kept, as in network.py, and for how many attributes of one exception: what clients raise has fewer than twenty, and
# an exception with a name of its own for each key of a message would fill the memory.
_KEPT = 512
_MOST_NAMES = 32

# Of these an argument carries nothing but itself.
_BARE = frozenset({type(None), bool, int, float, str, bytes, tuple, list, dict})

# What a class has by the name of `__dict__`, if it is not a property of its own.
_PYTHONS_OWN = (GetSetDescriptorType, type(None))


class Signs(NamedTuple):
    """What an exception must have one of for a predicate to say yes.

    `attributes`: one of these names, on the exception or on its class. `classes`: a class that one of these knows. `reads_argument`: a
    first argument that is more than text, a number or a container.
    """

    attributes: frozenset[str]
    classes: tuple[Callable[[type[BaseException]], bool], ...]
    reads_argument: bool


_signs: dict[Callable[..., object], Signs] = {}


def recognised_by(
    *attributes: str, classes: Iterable[Callable[[type[BaseException]], bool]] = (), reads_argument: bool = False
) -> Callable[[F], F]:
    """Decorate a predicate: note by which signs it recognises an exception (`Signs`), whatever else it reads then."""

    def decorate(predicate: F) -> F:
        _signs[predicate] = Signs(frozenset(attributes), tuple(classes), reads_argument)
        return predicate

    return decorate


class Shortlist:
    """Finds out which of several predicates may say yes to an exception. Each must be decorated with `recognised_by`."""

    __slots__ = ("_all", "_kept")

    def __init__(self, predicates: Iterable[Predicate]) -> None:
        self._all = tuple(predicates)
        self._kept: dict[tuple[object, ...], tuple[Predicate, ...]] = {}

    def of(self, error: BaseException) -> tuple[Predicate, ...]:
        """Return those that may say yes, in their order."""
        made_with: tuple[object, ...] = error.args
        argument, names = type(made_with[0]) if made_with else None, error.__dict__
        key = (type(error), argument, *names)
        found = self._kept.get(key)
        if found is None:
            found = self._find(type(error), argument, names)
            if len(self._kept) >= _KEPT:
                self._kept.clear()
            if len(names) <= _MOST_NAMES:
                self._kept[key] = found
        return found

    def _find(self, cls: type[BaseException], argument: type | None, names: Iterable[str]) -> tuple[Predicate, ...]:
        if not _looks_up_as_usual(cls):
            return self._all
        return tuple(each for each in self._all if _may_recognise(_signs[each], cls, argument, names))


def _may_recognise(signs: Signs, cls: type[BaseException], argument: type | None, names: Iterable[str]) -> bool:
    if signs.reads_argument and argument is not None and argument not in _BARE:
        return True
    return (
        not signs.attributes.isdisjoint(names)
        or any(hasattr(cls, name) for name in signs.attributes)
        or any(knows(cls) for knows in signs.classes)
    )


def _looks_up_as_usual(cls: type[BaseException]) -> bool:
    """Return whether each attribute of such an exception is in its `__dict__` or on its class. A class may have a way of its own."""
    if cls.__getattribute__ is not BaseException.__getattribute__ or hasattr(cls, "__getattr__"):
        return False
    return all(isinstance(vars(each).get("__dict__"), _PYTHONS_OWN) for each in cls.__mro__)
