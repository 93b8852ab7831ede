"""The words and marks of the tables for a terminal: durations, numbers, and somebody else's text as one line."""

from __future__ import annotations

_NAME_AT_MOST = 60
# What comes sooner is now (seconds).
_OVER = 0.5

NONE = "\N{EN DASH}"
SHUT, RAMP, OVERRIDDEN, FINE = "■", "◪", "◆", "□"
_COLOURS = {SHUT: "red", RAMP: "yellow", OVERRIDDEN: "magenta", FINE: "green"}


def colour(mark: str) -> str:
    """Return the colour that repeats what a mark says."""
    return _COLOURS[mark]


def short(seconds: float) -> str:
    """Return a duration as tables have it: "22s", "14m02s", "3h05m", "2d04h"."""
    whole = max(0, round(seconds))
    for unit, length, below, part in (("d", 86400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1)):
        if whole >= length:
            return f"{whole // length}{unit}{whole % length // part:02d}{below}"
    return f"{whole}s"


def soon(seconds: float) -> str:
    """Return when that is: "in 22s", or "now" for what is over."""
    return "now" if seconds < _OVER else f"in {short(seconds)}"


def clean(text: str, most: int = _NAME_AT_MOST) -> str:
    """Return a text of somebody else's as one printable line of at most so many characters."""
    shown = text if text.isprintable() else "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
    return shown if len(shown) <= most else shown[: most - 3] + "..."


def plural(number: int, word: str) -> str:
    """Return "1 queue" or "3 queues", and nothing for none."""
    return "" if not number else f"{number} {word}" if number == 1 else f"{number} {word}s"


def listed(shown: list[str], of: int) -> str:
    """Return a list in one line, and how many more than these there are."""
    more = of - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def waiting(here: int, backlog: int | None) -> str:
    """Return how many messages wait: at the broker, or where that is not known (None), in this process."""
    if backlog is not None:
        return str(backlog)
    return f"{here} here" if here else NONE


def ordinal(number: int) -> str:
    """Return "1st", "2nd", "3rd" and so on."""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
