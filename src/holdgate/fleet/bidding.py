"""Bidding: when a worker claims the next epoch, so that one does and not all of them.

A claim costs nothing but a line: the first one in the log wins, and the others learn so by reading it. Chance spreads them only so that
few lines are written. The spread is short when the fleet opens, because each call that is made meanwhile fails, and longer when a conductor
has gone, where a wait is on anyway.

    opening    the pooled failures say so
    vacant     the conductor has left, has given the epoch back, or an operator's hold has ended
    silent     the conductor has written nothing for three seconds of our own clock. It may only be slow, so the log decides: if its next
               verdict comes first, everybody drops the thought, and if a claim comes first, its verdict is of an old epoch
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# How long a conductor may be silent (seconds): it writes every second.
SILENT_AFTER = 3.0

# By how much claims are spread (seconds). 20 workers and a round trip of 50 milliseconds: some five claims at an opening, one or two later.
OPENING_SPREAD = 0.2
VACANT_SPREAD = 1.0

# Who has no messages cannot probe, and who has just given the epoch back has failed twice. They leave the others so much time (seconds).
LAST_CHOICE = 3.0

# A claim that has not come back by then is lost (seconds), or the log is; it is written again.
LOST_AFTER = 2.0


class Vacancy(Enum):
    """Why somebody is to claim."""

    OPENING = "opening"
    VACANT = "vacant"
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class Occasion:
    """A reason to claim the epoch after `epoch`, from `since` on. `last_choice`: others are to come first."""

    vacancy: Vacancy
    epoch: int
    since: float
    last_choice: bool


class Bid:
    """When this worker claims. `at` is the next time; None means that there is no reason to."""

    __slots__ = ("_draw", "_for", "at")

    def __init__(self, draw: Callable[[], float]) -> None:
        self._draw = draw
        self._for: tuple[Vacancy, int, float] | None = None
        self.at: float | None = None

    def consider(self, chance: Occasion | None) -> None:
        """Think of `chance` from now on. The same one again draws no new lot."""
        if chance is None:
            self._for = self.at = None
            return
        key = (chance.vacancy, chance.epoch, chance.since)
        if key == self._for:
            return
        self._for = key
        spread = OPENING_SPREAD if chance.vacancy is Vacancy.OPENING else VACANT_SPREAD
        self.at = chance.since + spread * self._draw() + (LAST_CHOICE if chance.last_choice else 0)

    def is_due(self, now: float) -> bool:
        """Return whether to claim now. The next time is after the claim would have come back."""
        if self.at is None or now < self.at:
            return False
        self.at = now + LOST_AFTER
        return True
