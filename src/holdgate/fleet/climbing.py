"""Climbing: how the limit of a fleet's ramp grows, by the results of all workers and by how long their calls took.

Theory of operation
===================

The stages are those of core/ramp.py. A circuit alone pays for one step too many with the calls of one worker; a fleet pays with those of
all, and everybody stands still until the next probe. So a fleet looks at what comes before the failures: calls that take longer.

    light     calls take about as long as usual. The limit grows as in a circuit alone
    crowded   they take half as long again: they wait for each other, and more in parallel make them wait longer. An eighth more
    full      they take three times as long: the dependency does all that it can. The limit stays until that has changed

The race that this is for: a cache is cold, so there are 7 places where 160 calls have been usual. Eight in parallel are all good, and so
are sixteen, which take three times as long. Thirty-two take longer than their callers wait: all fail, and the dependency has worked for
nobody. Here the limit stays at sixteen, and rises as the cache warms.

"As usual" is what the conductor's own calls have taken so far, or what the quickest stage of this ramp has, if that is more: a dependency
that is usually crowded is not taken for ill, and one that answers slowly from the first call on is not taken for crowded. A dependency that
stays slower than it was would keep the limit for ever, so after some seconds it grows in any case.

A ramp that has broken is remembered for as long as the outage lasts: the next one takes small steps from half of its limit up to twice its
limit. So does that of a conductor that takes over, which has not seen how long calls took before.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from holdgate.core.ramp import Ramp

if TYPE_CHECKING:
    from holdgate.core.settings import RampSettings

# From how many times the usual duration on calls are crowded, and the dependency is full. With as many calls as it has places they take as
# long as usual, and with three times as many three times as long; callers mostly give up later than that.
CROWDED = 1.5
FULL = 3.0

# A step among crowded calls is this part of the limit. A stage is as long as its calls, so the steps slow down with them.
SMALL_STEPS = 8

# From so many times the limit on from which it takes small steps, it doubles again: twice where it broke, things are not as they were.
OUTGROWN = 4

# The longest time without a step (seconds): a fleet that gets no further for twice as long goes by the workers' own rules.
HOLDS = 10.0


class PooledRamp(Ramp):
    """The ramp of a fleet, as its conductor keeps it: `Ramp`, which looks at durations, too.

    - `usual`: how many seconds a good call takes. None means that it is not known.
    - `gentle_from`: from this limit on it takes small steps. None means that it begins without such a limit.
    """

    __slots__ = ("_grew_at", "_judged_at", "_least", "_timed", "_took", "_usual", "crowding", "sample")

    def __init__(
        self, settings: RampSettings, full: int, relapses: int = 0, *, usual: float | None = None, gentle_from: int | None = None
    ) -> None:
        self._usual = usual or 0.0
        self._least = inf  # the mean of the quickest stage
        self._grew_at = self._judged_at = -inf
        self.crowding = 1.0  # how many times the usual duration the calls of the last stage took
        self.sample = full  # so many results of a stage are reported: enough, where that is less than the limit
        super().__init__(settings, full, relapses)
        if gentle_from is not None:
            self._threshold = gentle_from

    def _begin_stage(self, now: float) -> None:
        super()._begin_stage(now)
        self._timed = 0
        self._took = 0.0

    @property
    def _has_enough(self) -> bool:
        return self.results >= self.settings.minimum_verdicts and self._weight >= min(self.limit, self.sample)

    def time(self, good: int, seconds: float) -> None:
        """Note that `good` calls of this stage took so many seconds together. 0 seconds: nobody has said."""
        if seconds > 0:
            self._timed += good
            self._took += seconds

    def conclude(self, now: float, overdue: int) -> bool:
        """Judge the stage and begin the next one, as `Ramp.conclude` does."""
        if self._grew_at == -inf:
            self._grew_at = now
        self._judged_at = now
        self.crowding = self._crowding()
        return super().conclude(now, overdue)

    def _crowding(self) -> float:
        if not self._timed:
            return 1.0
        mean = self._took / self._timed
        self._least = min(self._least, mean)
        return mean / max(self._usual, self._least)

    def _grown(self) -> int:
        if self.crowding >= FULL and self._judged_at - self._grew_at < HOLDS:
            return self.limit
        self._grew_at = self._judged_at
        if self.crowding >= CROWDED or self._threshold <= self.limit < OUTGROWN * self._threshold:
            return self.limit + max(1, self.limit // SMALL_STEPS)
        grown = max(self.limit + 1, int(self.limit * self.settings.growth))
        return grown if self.limit >= self._threshold or grown <= self._threshold else max(self.limit + 1, int(self._threshold))
