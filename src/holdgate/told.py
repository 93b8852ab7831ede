"""What an answer says of the limit behind it: `Told`, and what of it can be true.

Servers say how long to wait, how many calls are left, and when the window of these calls ends. They say it in a dozen headers
(http/limits.py), and what they say may be wrong: a time that has passed, a count below 0, seconds that are milliseconds. A wait is believed
up to a bound, a window that cannot be is left out, and nothing here ever makes a caller wait for ever or not at all.
"""

from __future__ import annotations

from typing import NamedTuple, cast

# The longest wait and window that are believed, in seconds: APIs sell quotas of a month at most. More is a mistake of units, or a lie.
LONGEST = 31 * 86400.0


class Told(NamedTuple):
    """What an answer, throttled or good, says of the limit behind it. None where it says nothing.

    `retry_after` is how many seconds to wait, above 0. `remaining` is how many calls are left in the running window, from 0, and `reset`
    in how many seconds that window ends, from 0.
    """

    retry_after: float | None = None
    remaining: int | None = None
    reset: float | None = None

    @property
    def sure_wait(self) -> float | None:
        """Return how many seconds to wait before a throttled call is made again. None means that nobody knows.

        A wait that is no more than the end of a window with calls left in it is a guess: another limit has refused, which is not named.
        """
        return None if self.remaining and self.retry_after == self.reset else self.retry_after

    def after(self, earlier: Told) -> Told:
        """Return what both together say, this one being the later: its window counts, and of two times to wait the longer."""
        waits = [wait for wait in (self.retry_after, earlier.retry_after) if wait is not None]
        window = self if self.remaining is not None or self.reset is not None else earlier
        return Told(max(waits, default=None), window.remaining, window.reset)


def believable(told: Told | None) -> Told | None:
    """Return what can be true of what an answer says; None means nothing. A window that is over says nothing of the next.

    Raises TypeError for what is no Told.
    """
    if told is None:
        return None
    if not isinstance(cast("object", told), Told):
        raise TypeError(f"told must return a Told or None, got {type(told).__name__}")
    wait = told.retry_after if _is_within(told.retry_after) else None
    reset = told.reset if _is_within(told.reset) else None
    is_count = isinstance(told.remaining, int) and not isinstance(told.remaining, bool) and told.remaining >= 0
    remaining = told.remaining if is_count and (reset is not None or told.reset is None) else None
    return None if wait is reset is remaining is None else Told(wait, remaining, reset)


def _is_within(seconds: object) -> bool:
    return isinstance(seconds, int | float) and 0 < seconds <= LONGEST  # false for NaN, too
