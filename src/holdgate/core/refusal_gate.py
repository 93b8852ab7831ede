"""The gate of a limiter: after a refusal nothing starts, and one call asks, later and later, until it is let in.

Theory of operation
===================

Slots that each obey a Retry-After come back together and are refused together. Here one call asks for all of them.

When it asks: at Retry-After if the service named one, and otherwise after a wait that doubles. A long shut is a window or a quota, and its
length is a round number of minutes far more often than not. So from half a minute on the asks fall on round minutes since it shut: 1, 2,
3, 5, 7.5, 10, 12.5 ... That is fewer than one a minute, and no quota that ends at such a mark is missed by more than a second.

Let in is also an asking call that is silent for four times as long as a refusal usually takes: refusals are quick, answers may take
seconds, and nobody need wait for one. If the refusal comes after all, it is one like any other.

A dependency that is down is asked by longer waits from the start, and silence proves nothing there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

FIRST_CALLS = 2.5  # of the pace are missed in a first wait, so that one surely has a token again
FIRST_LEAST = 0.05  # seconds: a refusal and its answer take about as long
FIRST_WAIT = 0.25  # where no pace is known: most rate limits have a token again by then, and a person does not notice
GROWTH = 2.0  # an unknown time is overshot by half of it on average, with ten asks an hour
MINUTES_FROM = 30.0  # from a wait of this length on, asks fall on round minutes
MARKS = (60.0, 120.0, 180.0, 300.0)  # and then each STRIDE
STRIDE = 150.0  # at most this long nothing is done although it could be
LEAST_GAP = 10.0  # a mark that is nearer than this is left out
JITTER = 0.1  # of a wait, and at most a second after a mark: workers that were refused together ask apart

# A Retry-After is obeyed with 2 % of jitter, and at most for an hour: a wrong header must not stop a worker for a day. One that was wrong
# again and again gives way to an eighth of the doubling wait.
RETRY_JITTER = 0.02
RETRY_AFTER_MOST = 3600.0
RETRY_AFTER_DOUBT = 8.0

# The first wait is at least one interval of the pace, at most a minute of it, and an eighth of how long the last shut lasted, at most two
# seconds of that: in front of a window it would only be refused.
LEAST_MOST = 60.0
LAST_SHARE = 8.0
LAST_MOST = 2.0

DOWN_FIRST = 1.0
DOWN_GROWTH = 1.7
DOWN_MOST = 20.0  # with a timeout of five seconds that is two calls a minute, and work goes on within half a minute

PATIENCE = 4.0  # times the usual refusal
PATIENCE_UNKNOWN = 1.0  # seconds, where no refusal has been timed: longer than nearly all take
SLOWEST_REFUSAL = 10.0  # seconds: what took longer met a process that slept, and its clock has jumped
REFUSALS = 8  # the usual time of a refusal is a mean over about this many
DEEPEST = 20  # doublings, beyond which a wait is at its bound whatever its first was


class RefusalGate:
    """Keep whether calls may start after a refusal, and when the next one asks. `asking` is the token of the call that asks; 0 is none."""

    __slots__ = (
        "_ask_at",
        "_asks",
        "_draw",
        "_lasted",
        "_least",
        "_usual",
        "asked",
        "asked_at",
        "asking",
        "is_down",
        "is_shut",
        "shut_at",
    )

    def __init__(self, draw: Callable[[], float]) -> None:
        self._draw = draw
        self.is_shut = False
        self.is_down = False
        self.shut_at = 0.0
        self.asking = 0
        self.asked = 0  # the latest that asked: its result is known by this, after its place is free
        self._asks = 0
        self.asked_at = 0.0
        self._ask_at = 0.0
        self._least = FIRST_WAIT
        self._lasted = 0.0
        self._usual = 0.0

    @property
    def patience(self) -> float:
        """How many seconds without a refusal mean that a call was let in."""
        return PATIENCE * self._usual if self._usual else PATIENCE_UNKNOWN

    def learn(self, took: float) -> None:
        """Note how long a refusal took."""
        took = min(took, SLOWEST_REFUSAL)
        self._usual += (took - self._usual) / REFUSALS if self._usual else took

    def free(self, now: float) -> int | None:
        """Return 1 if a call may ask, 0 if none may start, and None if the gate is open."""
        if not self.is_shut:
            return None
        return 0 if self.asking or now < self._ask_at else 1

    def next_at(self) -> float | None:
        """Return when time lets a call start. None means that only the result of the asking call does."""
        if not self.asking:
            return self._ask_at
        return None if self.is_down else self.asked_at + self.patience

    def is_patience_over(self, now: float) -> bool:
        """Return whether the asking call was silent for so long that it counts as let in."""
        return bool(self.asking) and not self.is_down and now >= self.asked_at + self.patience

    def shut(self, now: float, *, is_down: bool, retry_after: float | None = None, pace: float | None = None) -> None:
        """Let nothing start. `pace` is in starts a second; None means that it is not known."""
        self.is_shut, self.is_down = True, is_down
        self.shut_at = now
        self.asking = self.asked = self._asks = 0
        first = FIRST_WAIT if pace is None else max(FIRST_LEAST, min(FIRST_WAIT, FIRST_CALLS / pace), min(LEAST_MOST, 1 / pace))
        self._least = max(first, min(LAST_MOST, self._lasted / LAST_SHARE))
        self._wait(now, retry_after)

    def ask(self, token: int, now: float) -> None:
        """Note that this call asks."""
        self.asking = self.asked = token
        self.asked_at = now

    def forget(self, token: int) -> None:
        """Note that this call has ended, or never was: if it was the asking one, another may ask."""
        if token and token == self.asking:
            self.asking = 0

    def refuse(self, now: float, retry_after: float | None) -> None:
        """Wait longer: the asking call was refused."""
        self._asks += 1
        self._wait(now, retry_after)

    def open(self, now: float) -> None:
        """Let calls start again."""
        self._lasted = now - self.shut_at
        self.is_shut = False
        self.asking = self.asked = 0

    def _wait(self, now: float, retry_after: float | None) -> None:
        doublings = min(self._asks, DEEPEST)
        if self.is_down:
            self._ask_at = now + min(DOWN_MOST, DOWN_FIRST * DOWN_GROWTH**doublings) * (1 + JITTER * self._draw())
            return
        wait = self._least * GROWTH**doublings
        if retry_after is not None and retry_after > 0:
            asked = max(min(retry_after, RETRY_AFTER_MOST), min(wait / RETRY_AFTER_DOUBT, STRIDE))
            self._ask_at = now + asked * (1 + RETRY_JITTER * self._draw())
        elif wait > MINUTES_FROM:
            self._ask_at = self.shut_at + _next_mark(now - self.shut_at + LEAST_GAP) + self._draw()
        else:
            self._ask_at = now + wait * (1 + JITTER * self._draw())


def _next_mark(after: float) -> float:
    for mark in MARKS:
        if mark > after:
            return mark
    return (after // STRIDE + 1) * STRIDE
