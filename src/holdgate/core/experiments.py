"""What experiments may cost: they are paid for by calls that went well, so waste is bounded whatever the dependency does."""

from __future__ import annotations

# Refusals for each call that was let in. A key that is refused once in 125 calls is blocked by nobody, and a rate that has tripled is found
# within half a minute at ten calls a second.
REFUSALS_PRICE = 0.008

# Calls that may be lost to a width that is too narrow, for each call that was let in.
WORK_PRICE = 0.015

# What can be saved up, in refusals and in calls. A night of calm must not pay for an hour of experiments.
MOST_REFUSALS = 4.0
MOST_WORK = 60.0

# What a limiter starts with: it knows nothing yet, and to know nothing costs more than to ask.
FIRST_REFUSALS = 3.0
FIRST_WORK = 20.0

# The deepest debt. After it, two hundred calls pay for the next experiment.
DEBT = -2.0


class Budget:
    """Keep what has been earned by calls that were let in, and spent by experiments."""

    __slots__ = ("count", "refusals", "work")

    def __init__(self) -> None:
        self.refusals = FIRST_REFUSALS
        self.work = FIRST_WORK
        self.count = 0  # experiments so far

    def earn(self, weight: int) -> None:
        self.refusals = min(MOST_REFUSALS, self.refusals + REFUSALS_PRICE * weight)
        self.work = min(MOST_WORK, self.work + WORK_PRICE * weight)

    def spend(self, refusals: float) -> None:
        self.refusals = max(DEBT, self.refusals - refusals)

    def lose(self, work: float) -> None:
        self.work -= work
