"""What a text in a Spring Boot file means: durations, shares, numbers, switches, and placeholders.

The forms are those of Spring's `DurationStyle` (a whole number with a unit, milliseconds without one, or ISO 8601) and of Java's
`Duration.parse`.
"""

from __future__ import annotations

import re

# Java counts seconds in 64 bits, which are 18 whole digits.
_SIMPLE = re.compile(r"\+?(\d{1,18})([a-zA-Z]{0,2})")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "": 1e-3}
_ISO = re.compile(
    r"\+?P(?:(\d{1,18})D)?(?:T(?:(\d{1,18})H)?(?:(\d{1,18})M)?(?:(\d{1,18}(?:[.,]\d{0,9})?)S)?)?",
    re.IGNORECASE,
)
_PLACEHOLDER = re.compile(r"\$\{([^${}:]+)(?::([^${}]*))?\}")
# YAML allows underscores between digits.
_WHOLE = re.compile(r"\+?\d{1,9}(?:_?\d){0,9}")
_LARGEST = 2**31 - 1
_ON, _OFF = frozenset({"true", "on", "yes", "1"}), frozenset({"false", "off", "no", "0"})
# So many placeholders within placeholders are a loop, or nobody's file.
_DEEPEST = 10


def duration(text: str) -> float:
    """Return the seconds. Raises ValueError for what is no duration."""
    simple = _SIMPLE.fullmatch(text.replace("_", "") if _WHOLE.fullmatch(text) else text)
    if simple is not None and simple[2].lower() in _SECONDS:
        return round(int(simple[1]) * _SECONDS[simple[2].lower()], 9)
    iso = _ISO.fullmatch(text)
    if iso is not None and any(iso.groups()):
        days, hours, minutes, seconds = (float((part or "0").replace(",", ".")) for part in iso.groups())
        return days * 86400 + hours * 3600 + minutes * 60 + seconds
    raise ValueError("must be a duration such as 500ms, 10s or PT1M30S, or milliseconds")


def percent(text: str) -> float:
    """Return the percents, above 0 and up to 100. Raises ValueError."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number <= 100:  # noqa: PLR2004 - a percent
        raise ValueError("must be percents above 0 and up to 100")
    return number


def number(text: str) -> float:
    """Return a number from 0. Raises ValueError."""
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found < float("inf"):
        raise ValueError("must be a number from 0")
    return found


def count(text: str) -> int:
    """Return a whole number from 1, up to Java's largest int, which many write for "no bound". Raises ValueError."""
    if not _WHOLE.fullmatch(text) or int(text) < 1:
        raise ValueError("must be a whole number from 1")
    if int(text) > _LARGEST:
        raise ValueError(f"must be at most {_LARGEST}")
    return int(text)


def switch(text: str) -> bool:
    """Return what a switch is set to. Raises ValueError."""
    if text.lower() in _ON | _OFF:
        return text.lower() in _ON
    raise ValueError("must be true or false")


def without_placeholders(text: str) -> tuple[str, tuple[str, ...], str | None]:
    """Return a text with the defaults of its placeholders, the names of those, and the name of one without a default, or None."""
    names: list[str] = []
    for _ in range(_DEEPEST):
        found = _PLACEHOLDER.search(text)
        if found is None:
            break
        if found[2] is None:
            return text, tuple(names), found[1]
        names.append(found[1])
        text = text[: found.start()] + found[2] + text[found.end() :]
    return text.strip(), tuple(names), None
