"""Checks of single settings. Each returns the value as the code uses it, or raises SettingsError with what the value must be.

Two settings may clash. If a user gave both, an error names both. If one of them is a default, there is no error: such a default is a
`Usual`, and gives way to the value that was given.
"""

from __future__ import annotations

from math import inf, isfinite
from typing import Self

from holdgate.errors import SettingsError

HUNDRED_PERCENT = 100


class Usual(float):
    """A default that gives way to other settings: `usual`, or the nearest value that a given setting leaves room for.

    To read it is to read a float. It stays a Usual in frozen settings, so that `dataclasses.replace` computes it again from the new values
    instead of taking it for one that was given.
    """

    __slots__ = ("usual",)
    usual: float

    def __new__(cls, value: float, usual: float | None = None) -> Self:
        made = super().__new__(cls, value)
        made.usual = value if usual is None else usual
        return made

    def at_most(self, limit: float) -> Usual:
        """Return the usual value, or `limit` if that is less."""
        return Usual(min(self.usual, limit), self.usual)

    def at_least(self, limit: float) -> Usual:
        """Return the usual value, or `limit` if that is more."""
        return Usual(max(self.usual, limit), self.usual)


def make_room(least: float, most: float) -> tuple[float, float]:
    """Return a least and a greatest value that fit each other: a default gives way to a given value, and two given values stay."""
    if isinstance(least, Usual):
        least = least.at_most(inf if isinstance(most, Usual) else most)
    if isinstance(most, Usual):
        most = most.at_least(least)
    return least, most


def number(name: str, value: object) -> float:
    """Return the value as a finite float. A bool is refused: True is not one second."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SettingsError(f"{name} must be a number, got {value!r}")
    try:
        found = float(value)
    except OverflowError:  # a whole number of hundreds of digits
        found = inf
    if not isfinite(found):
        raise SettingsError(f"{name} must be a finite number, got {value!r}")
    return value if isinstance(value, Usual) else found


def seconds(name: str, value: object) -> float:
    """Return a duration above 0 in seconds. A timedelta is converted."""
    if not isinstance(value, int | float):
        from datetime import timedelta  # noqa: PLC0415 - two milliseconds of each start, and only for who gives one

        if isinstance(value, timedelta):
            value = value.total_seconds()
    duration = number(name, value)
    if duration <= 0:
        raise SettingsError(f"{name} must be seconds above 0, got {value!r}")
    return duration


def ratio(name: str, value: object) -> float:
    """Return a ratio in (0, 1]. Percent is the usual mistake, so the error shows the ratio that was probably meant."""
    share = number(name, value)
    if 0 < share <= 1:
        return share
    meant = f": write {share / 100:g} for {share:g} %" if 1 < share <= HUNDRED_PERCENT else ""
    raise SettingsError(f"{name} must be a ratio in (0, 1], got {value!r}{meant}")


def count(name: str, value: object) -> int:
    """Return a whole number from 1."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise SettingsError(f"{name} must be a whole number, got {value!r}")
    if value < 1:
        raise SettingsError(f"{name} must be at least 1, got {value!r}")
    return value
