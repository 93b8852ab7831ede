"""How much the log says: its settings, and lines of one kind that share a line.

A log with a line for each message hides what matters. So the first line of a kind is written immediately, or the first few, and those that
follow within `repeat_every` seconds are counted. When that time is over there is one line with the count, if there is anything to
count, and the next interval begins. After an interval without any the kind is forgotten, and its next line is a first one again. At DEBUG
every single line is written as well.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from holdgate.core.validation import seconds
from holdgate.errors import SettingsError
from holdgate.runtime.wording import lasting, one_line

if TYPE_CHECKING:
    from datetime import timedelta

log = logging.getLogger("holdgate")

# What makes lines be of one kind: what happened, to whom or what, and how. Failures are the one kind that other lines may cover.
Key = tuple[str, str, str]
FAILURE = "failure"
THROTTLED = "throttled"

# Returns the line about so many within such a time, which is shorter than the interval where a run ends in the middle of one.
Summary = Callable[[int, str], str]

# A worker meets a handful of kinds. This bounds handlers that make exception types as they go.
_KINDS = 256


@dataclass(frozen=True, slots=True)
class LogSettings:
    """How much the log says.

    - `repeat_every`: seconds above 0, or a timedelta, for which lines of one kind share one line with a count.
    - `work_every`: seconds above 0, or a timedelta, between two lines about what a run has done. None means that there are none.
    - `exception_text`: whether lines about failures quote the exception's own text, at most 200 characters. It may hold parts of the
      message, a URL with its query, a password or a token, and then everybody who reads the log has them.

    Raises SettingsError.
    """

    repeat_every: float | timedelta = 60.0  # any excerpt of a log has one, and a day of an error is 1,440 lines
    work_every: float | timedelta | None = 300.0  # a day is 288 lines, and a reader sees that it works
    exception_text: bool = False  # it may quote the message or a URL, and more people read the log

    def __post_init__(self) -> None:
        object.__setattr__(self, "repeat_every", seconds("repeat_every", self.repeat_every))
        if self.work_every is not None:
            object.__setattr__(self, "work_every", seconds("work_every", self.work_every))
        if not isinstance(self.exception_text, bool):
            raise SettingsError(f"exception_text must be True or False, got {self.exception_text!r}")


class _Kind:
    """One kind of line: since when, how many were written and how many not, and what the line about those says."""

    __slots__ = ("count", "level", "since", "summary", "written")

    def __init__(self, level: int, since: float) -> None:
        self.level = level
        self.since = since
        self.written = 0
        self.count = 0
        self.summary: Summary = lambda count, within: f"{count} in {within}"


class Folding:
    """Writes lines, those of one kind at most once per `every` seconds. For one event loop; `now` returns monotonic seconds."""

    def __init__(self, every: float, now: Callable[[], float]) -> None:
        self.every = every
        self._now = now
        self._kinds: dict[Key, _Kind] = {}
        self._timer: asyncio.TimerHandle | None = None

    def write(
        self,
        key: Key,
        line: str,
        summary: Summary,
        *,
        level: int = logging.WARNING,
        singly: int = 1,
        extra: dict[str, Any] | None = None,
    ) -> None:
        """Write a line now, or count it. `summary` returns the line about so many of this kind within such a time, as in "1 min"; this one
        is the last of them.

        The first `singly` of a kind are written. `extra` are the fields of the record (log.py). None means no fields.
        """
        kind = self._kinds.get(key)
        if kind is not None and kind.written >= singly:
            kind.count += 1
            kind.summary = summary
            log.debug("%s", one_line(line), extra=extra)
            return
        if kind is None and len(self._kinds) >= _KINDS:
            self.flush()
        kind = self._kinds.setdefault(key, _Kind(level, self._now()))
        kind.written += 1
        log.log(level, "%s", one_line(line), extra=extra)
        self._arm()

    def covered(self, key: Key, count: int) -> None:
        """Forget so many of what was counted of a kind: another line has them."""
        kind = self._kinds.get(key)
        if kind is not None:
            kind.count = max(0, kind.count - count)

    def drop(self, owner: str) -> None:
        """Forget what was counted of the failures of `owner`: another line has them."""
        for key in [key for key in self._kinds if key[:2] == (FAILURE, owner)]:
            del self._kinds[key]

    def flush(self) -> None:
        """Write what was counted, and begin afresh: the run or the guard ends."""
        kinds, self._kinds = self._kinds, {}
        for kind in kinds.values():
            _sum_up(kind, self._now())
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        if self._timer is None and self._kinds:
            first = min(kind.since for kind in self._kinds.values())
            self._timer = asyncio.get_running_loop().call_later(max(0.0, first + self.every - self._now()), self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        now = self._now()
        for key, kind in list(self._kinds.items()):
            if now < kind.since + self.every:
                continue
            if kind.count:
                _sum_up(kind, now)
                kind.count, kind.since = 0, now
            else:
                del self._kinds[key]
        self._arm()


def _sum_up(kind: _Kind, now: float) -> None:
    if kind.count:
        log.log(kind.level, "%s", one_line(kind.summary(kind.count, lasting(now - kind.since))))
