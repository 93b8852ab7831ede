"""What experiments with the width may cost. They are paid for by calls that went well, so waste is bounded whatever the dependency does.

Theory of operation
===================

Each experiment has a price. More in flight than a cap lets in costs a refusal. A narrower width costs the work that it did not do. Both
are paid from what earlier calls have earned, and nothing is tried on credit. So the share of refusals and of lost work is a setting of
this file and no accident of a world, of its latency, or of its noise: a quick dependency is asked often and a slow one seldom.

The pace has the same principle with other coin: its next ramp comes a number of calls after its last refusal (pace.py).
"""

from __future__ import annotations

# Refusals for each call that was let in. A key that is refused once in 125 calls is blocked by nobody, and at ten calls a second a cap
# that has risen is noticed within half a minute.
REFUSALS_PRICE = 0.008

# Calls that may be lost to a width that is too narrow, for each call that was let in: a dependency does at least 99 % of what it could.
WORK_PRICE = 0.01

# What can be saved up, in refusals and in calls. A night of calm must not pay for an hour of experiments.
MOST_REFUSALS = 4.0
MOST_WORK = 60.0

# What a limiter starts with: it knows nothing yet, and to know nothing costs more than to ask.
FIRST_REFUSALS = 3.0
FIRST_WORK = 20.0

# The deepest debts: some hundred calls pay for the next experiment, however badly the last one went.
REFUSALS_DEBT = 2.0
WORK_DEBT = 30.0


class Budget:
    """Keep what was earned by calls that were let in, and spent by experiments. `count` is the number of experiments."""

    __slots__ = ("_refusals", "_work", "count")

    def __init__(self) -> None:
        self._refusals = FIRST_REFUSALS
        self._work = FIRST_WORK
        self.count = 0

    def earn(self, weight: int) -> None:
        """Add what calls of this weight pay for."""
        self._refusals = min(MOST_REFUSALS, self._refusals + REFUSALS_PRICE * weight)
        self._work = min(MOST_WORK, self._work + WORK_PRICE * weight)

    def affords_refusals(self, refusals: float) -> bool:
        """Return whether an experiment may begin that costs so many refusals."""
        return self._refusals >= refusals

    def affords_work(self) -> bool:
        """Return whether an experiment may begin that costs work."""
        return self._work > 0

    def spend(self, refusals: float) -> None:
        """Pay for refusals."""
        self._refusals = max(-REFUSALS_DEBT, self._refusals - refusals)

    def lose(self, work: float) -> None:
        """Pay for calls that a narrow width did not make."""
        self._work = max(-WORK_DEBT, self._work - work)
