"""What a client of a log is given to read, and how long its errors may last: checks that no client's own classes have a part in."""

from __future__ import annotations

import re
from collections.abc import Collection

from holdgate.errors import IntakeError, SettingsError

# Seconds of one error after the other that end an intake. A broker that restarts may answer for a few seconds with errors that its client
# does not know; rolling restarts of three brokers took up to 35 s.
_LASTING_AFTER = 60.0
# Seconds between two errors from which they do not belong to one streak.
_APART = 10.0


class ErrorStreak:
    """Recognise errors that last: one in every poll for a minute does not pass."""

    def __init__(self) -> None:
        self._since = 0.0
        self._last = -_APART

    def record(self, now: float) -> bool:
        """Note an error at `now` (monotonic seconds). Returns whether errors have come one after the other for a minute."""
        if now - self._last > _APART:
            self._since = now
        self._last = now
        return now - self._since >= _LASTING_AFTER


def check_given(topics: Collection[str] | None, pattern: str | None) -> None:
    """Refuse topics and a pattern that clash, or that are none. Raises SettingsError, naming both values if two clash."""
    if topics is not None and pattern is not None:
        raise SettingsError(f"topics={sorted(topics)} and pattern={pattern!r} are both given: give one of them")
    if isinstance(topics, str):
        raise SettingsError(f"topics must be a list of names, got {topics!r}: write [{topics!r}]")
    if topics is not None and not topics:
        raise SettingsError("topics must name at least one topic, got none: leave it out for a consumer that is subscribed already")
    if pattern is not None:
        _check_pattern(pattern)


def check_topics(wanted: Collection[str], existing: frozenset[str] | None, servers: str) -> None:
    """Refuse topics that do not exist. Raises IntakeError, naming them. `existing` of None means that the broker gave no list."""
    if existing is None:
        raise IntakeError(f"the broker at {servers} did not list its topics: check that it is up, and that this user may describe topics")
    missing = sorted(set(wanted) - existing)
    if missing:
        raise IntakeError(
            f"no topic {', '.join(map(repr, missing))} at {servers}: create it, correct the name, "
            "or allow this user to describe it (a topic that it may not see looks like none)"
        )


def _check_pattern(pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise SettingsError(f"pattern must be a regular expression, got {pattern!r}: {error}") from error
