"""Checks of one setting at a time. Each returns the value as the machine uses it, or says what is wrong and what to write instead.

Two settings may clash, and then whoever gave both is told. A default never clashes with what somebody gave: it is a `Usual`, and gives way.
"""

from __future__ import annotations

from math import inf, isfinite
from typing import Self

from holdgate.errors import SettingsError

HUNDRED_PERCENT = 100


class Usual(float):
    """A default that gives way: `usual`, unless a setting that somebody gave leaves no room for it.

    It is a float like any other for whoever reads it, and it stays a Usual in frozen settings, so that `dataclasses.replace` works it out
    anew and does not take it for somebody's wish.
    """

    __slots__ = ("usual",)
    usual: float

    def __new__(cls, value: float, usual: float | None = None) -> Self:
        made = super().__new__(cls, value)
        made.usual = value if usual is None else usual
        return made

    def at_most(self, limit: float) -> Usual:
        """The usual value, or `limit` where that is less."""
        return Usual(min(self.usual, limit), self.usual)

    def at_least(self, limit: float) -> Usual:
        """The usual value, or `limit` where that is more."""
        return Usual(max(self.usual, limit), self.usual)


def make_room(least: float, most: float) -> tuple[float, float]:
    """A least and a greatest value: one that was left out gives way to one that was given; two that were given stay."""
    if isinstance(least, Usual):
        least = least.at_most(inf if isinstance(most, Usual) else most)
    if isinstance(most, Usual):
        most = most.at_least(least)
    return least, most


def number(name: str, value: object) -> float:
    """The value as a finite float; SettingsError for anything else, bool included: True is not one second."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SettingsError(f"{name}={value!r} is not a number")
    if not isfinite(value):
        raise SettingsError(f"{name}={value!r} is not finite; give a number that can be reached")
    return value if isinstance(value, Usual) else float(value)


def seconds(name: str, value: object) -> float:
    """A duration above zero, in seconds; takes a timedelta too."""
    if not isinstance(value, int | float):
        from datetime import timedelta  # noqa: PLC0415 - two milliseconds of each start, and only for who gives one

        if isinstance(value, timedelta):
            value = value.total_seconds()
    duration = number(name, value)
    if duration <= 0:
        raise SettingsError(f"{name}={value!r} is not a duration; give seconds above 0")
    return duration


def ratio(name: str, value: object) -> float:
    """A share in (0, 1]. Percent is the usual slip, so the text shows the ratio that was meant."""
    share = number(name, value)
    if 0 < share <= 1:
        return share
    meant = f"; write {share / 100:g} for {share:g} %" if 1 < share <= HUNDRED_PERCENT else ""
    raise SettingsError(f"{name}={value!r} is not a ratio in (0, 1]{meant}")


def count(name: str, value: object) -> int:
    """A whole number from 1."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise SettingsError(f"{name}={value!r} is not a whole number")
    if value < 1:
        raise SettingsError(f"{name}={value!r} is below 1, the least that makes sense")
    return value
