"""Checks of one setting at a time. Each returns the value as the machine uses it, or says what is wrong and what to write instead."""

from __future__ import annotations

from datetime import timedelta
from math import isfinite

from holdgate.errors import SettingsError

HUNDRED_PERCENT = 100


def number(name: str, value: object) -> float:
    """The value as a finite float; SettingsError for anything else, bool included: True is not one second."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SettingsError(f"{name}={value!r} is not a number")
    if not isfinite(value):
        raise SettingsError(f"{name}={value!r} is not finite; give a number that can be reached")
    return float(value)


def seconds(name: str, value: object) -> float:
    """A duration above zero, in seconds; takes a timedelta too."""
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
