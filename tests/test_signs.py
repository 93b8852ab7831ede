"""By what a predicate recognises an exception, and who is asked about one."""

from __future__ import annotations

import gc
import weakref
from types import SimpleNamespace

import pytest

from holdgate.signs import Shortlist, recognised_by


class Client(Exception):
    """What a client raises, known by its class."""


class Told(Exception):
    """One whose class has an attribute."""

    code = None


class Slotted(Exception):
    """One that keeps an attribute outside of its `__dict__`."""

    __slots__ = ("code",)


@recognised_by("code", "status")
def by_code(error: object) -> bool:
    return getattr(error, "code", None) is not None


@recognised_by(classes=[lambda cls: issubclass(cls, Client)])
def by_class(error: object) -> bool:
    return isinstance(error, Client)


@recognised_by(reads_argument=True)
def by_argument(error: object) -> bool:
    return hasattr(error, "args")


def asked(error: BaseException) -> list[str]:
    """By name, who is asked."""
    return [each.__name__ for each in Shortlist([by_code, by_class, by_argument]).of(error)]


def with_attribute(name: str) -> Exception:
    error = ValueError()
    setattr(error, name, 1)
    return error


@pytest.mark.parametrize(
    ("error", "names"),
    [
        (ValueError(), []),
        (ValueError("text"), []),
        (with_attribute("reason"), []),
        (with_attribute("status"), ["by_code"]),
        (Told(), ["by_code"]),
        (Slotted(), ["by_code"]),
        (Client(), ["by_class"]),
        (type("Heir", (Client,), {})(), ["by_class"]),
        (ValueError(SimpleNamespace()), ["by_argument"]),
        (ValueError("text", SimpleNamespace()), []),
    ],
)
def test_who_sees_no_sign_is_not_asked(error: BaseException, names: list[str]) -> None:
    """An attribute on the exception or on its class, the class, or what it was made with."""
    assert asked(error) == names


def test_each_exception_of_a_class_is_looked_at() -> None:
    """What is kept of one says nothing of another with other attributes, or another argument."""
    shortlist = Shortlist([by_code, by_argument])
    assert shortlist.of(ValueError("text")) == ()
    assert shortlist.of(with_attribute("code")) == (by_code,)
    assert shortlist.of(ValueError(SimpleNamespace())) == (by_argument,)
    assert shortlist.of(ValueError("text")) == ()


@pytest.mark.parametrize(
    "own",
    [
        {"__getattribute__": object.__getattribute__},
        {"__getattr__": lambda self, name: 503},
        {"__dict__": property(lambda self: {})},
    ],
    ids=["__getattribute__", "__getattr__", "__dict__"],
)
def test_all_are_asked_about_a_class_with_a_way_of_its_own(own: dict[str, object]) -> None:
    """Its attributes may be anywhere."""
    kind = type("Own", (Exception,), own)
    assert asked(kind()) == ["by_code", "by_class", "by_argument"]
    assert asked(type("Heir", (kind,), {})()) == ["by_code", "by_class", "by_argument"]


def test_a_mixin_is_nothing_unusual() -> None:
    """Its `__dict__` is Python's."""
    mixin = type("Mixin", (), {})
    assert asked(type("Mixed", (mixin, Exception), {})()) == []
    assert asked(type("Mixed", (Exception, mixin), {})()) == []


def test_what_is_kept_is_bounded() -> None:
    """A process may make classes as it goes, and an exception may have an attribute for each of a million keys."""
    shortlist = Shortlist([by_code])

    def ask(number: int, attributes: int) -> weakref.ref[type]:
        kind = type(f"Made{number}", (Client,), {})
        error = kind()
        error.__dict__.update({f"key{number}": number for number in range(attributes)})
        assert shortlist.of(error) == ()
        return weakref.ref(kind)

    kept = [ask(number, attributes=0) for number in range(1200)]
    none = [ask(number, attributes=100) for number in range(10)]
    gc.collect()
    assert 0 < sum(kind() is not None for kind in kept) <= 512
    assert not any(kind() for kind in none)
